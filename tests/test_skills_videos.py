"""Questions about videos, as ViCA-322K has them: a grid of frames is shown, and nothing else is read or run."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from PIL import Image

from workbench.data.lerobot_video_file import VideoFile, encoder
from workbench.errors import UserError
from workbench.skills.files import read_questions
from workbench.skills.videos import Video

SIDE = 64


def written(folder: Path, video: str) -> Path:
    """A row as ViCA's own has it, and one of two turns."""
    triangle = [
        {"from": "human", "value": "<image>\nHow far apart are stove, fireplace, and table?"},
        {"from": "gpt", "value": "3.5 meters, 1.6 meters and 5.1 meters."},
    ]
    talk = [*triangle, {"from": "human", "value": "How many chairs are there?"}, {"from": "gpt", "value": "4"}]
    file = folder / "conversation.json"
    file.write_text(json.dumps([{"video": video, "conversations": said} for said in (triangle, talk)]))
    return file


def greys(count: int) -> np.ndarray:
    """Frames uint8 [T, H, W, 3], each of one grey, brighter and brighter."""
    return np.stack([np.full((32, 48, 3), 20 + 200 * step // max(1, count - 1), np.uint8) for step in range(count)])


def film(path: Path, count: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = VideoFile((32, 48), 1)
    file.append(greys(count))
    path.write_bytes(file.close())
    return path


def cells(image: np.ndarray) -> np.ndarray:
    """The grey of each of the nine frames, in the order of reading."""
    edges = np.linspace(0, len(image), 4).astype(int)
    spans = list(zip(edges, edges[1:], strict=False))
    return np.array([image[a + 2 : b - 2, c + 2 : d - 2].mean() for a, b in spans for c, d in spans])


def test_vicas_conversations_are_asked_turn_by_turn_about_a_grid_of_the_videos_frames(tmp_path: Path):
    film(tmp_path / "arkitscenes" / "47115148.mp4", 17)
    found = read_questions(written(tmp_path, "arkitscenes/47115148.mp4"))
    assert [turn.answer for turn in found] == [*["3.5 meters, 1.6 meters and 5.1 meters."] * 2, "4"]
    assert found[0].question == "How far apart are stove, fireplace, and table?"
    image = found[0].image(SIDE)
    assert image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8
    np.testing.assert_allclose(cells(image), greys(17)[::2, 0, 0, 0], atol=4)


def test_a_folder_of_frames_is_a_video_too_and_a_short_one_is_shown_again(tmp_path: Path):
    (tmp_path / "scene").mkdir()
    for step in np.random.default_rng(0).permutation(9):
        Image.fromarray(greys(9)[step]).save(tmp_path / "scene" / f"{step:03d}.png")
    (tmp_path / "scene" / "pose.txt").write_text("no picture")
    (turn, *_) = read_questions(written(tmp_path, "scene"))
    np.testing.assert_allclose(cells(turn.image(SIDE)), greys(9)[:, 0, 0, 0], atol=1)
    for step in range(3, 9):
        (tmp_path / "scene" / f"{step:03d}.png").unlink()
    np.testing.assert_allclose(cells(turn.image(SIDE)), np.repeat(greys(9)[:3, 0, 0, 0], 3), atol=1)


def test_one_frame_fills_the_grid(tmp_path: Path):
    image = Video(film(tmp_path / "one.mp4", 1)).image(SIDE)
    np.testing.assert_allclose(cells(image), np.full(9, 20), atol=4)


def test_of_a_video_that_was_cut_only_what_is_left_is_shown(tmp_path: Path):
    """Its first nine frames are in the file, since others are made from them, and the file says not to show them."""
    with av.open(tmp_path / "whole.mp4", "w") as whole:
        stream = whole.add_stream(encoder(), 1, options={"g": "30", "bf": "0", "sc_threshold": "0"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for frame in greys(30):
            whole.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        whole.mux(stream.encode(None))
    with av.open(tmp_path / "whole.mp4") as source, av.open(tmp_path / "cut.mp4", "w") as cut:
        stream = cut.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size and packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts = (time - 9 * (packet.duration or 0) for time in (packet.pts, packet.dts))
                packet.stream = stream
                cut.mux(packet)
    shown = cells(Video(tmp_path / "cut.mp4").image(SIDE))
    np.testing.assert_allclose(shown, greys(30)[9:, 0, 0, 0][np.linspace(0, 20, 9).round().astype(int)], atol=5)


@pytest.mark.parametrize("video", ["../secret.mp4", "a/../../secret.mp4", "ABSOLUTE/secret.mp4"])
def test_no_video_outside_the_files_folder_is_shown(video: str, tmp_path: Path):
    (tmp_path / "set").mkdir()
    film(tmp_path / "secret.mp4", 2)
    with pytest.raises(UserError, match="is not within the file's folder"):
        read_questions(written(tmp_path / "set", video.replace("ABSOLUTE", str(tmp_path))))


def test_a_playlist_that_is_called_a_video_leads_nowhere(tmp_path: Path):
    film(tmp_path / "secret.mp4", 2)
    for text in ("ffconcat version 1.0\nfile secret.mp4\n", "#EXTM3U\n#EXTINF:1,\nsecret.mp4\n"):
        (tmp_path / "list.mp4").write_text(text)
        with pytest.raises(UserError, match="cannot be read"):
            Video(tmp_path / "list.mp4").image(SIDE)


def test_a_missing_an_empty_and_a_broken_video_are_said(tmp_path: Path):
    (turn, *_) = read_questions(written(tmp_path, "gone.mp4"))
    with pytest.raises(UserError, match="gone.mp4 cannot be read"):
        turn.image(SIDE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no pictures"):
        Video(tmp_path / "empty").image(SIDE)
    with pytest.raises(UserError, match="has no pictures"):
        Video(_sound(tmp_path / "sound.mp4")).image(SIDE)
    whole = film(tmp_path / "whole.mp4", 30).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cut.mp4"):
        Video(tmp_path / "cut.mp4").image(SIDE)


def _sound(path: Path) -> Path:
    """An MP4 file of a second of silence."""
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux([*stream.encode(silence), *stream.encode(None)])
    return path
