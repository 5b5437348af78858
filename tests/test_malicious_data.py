"""Data and questions that mean harm, each opened by the real door: nothing runs, nothing outside is read."""

import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import lerobot_by_hand
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import test_calvin
import test_libero
import test_robomimic
from commands import refusal
from demonstrations import CAMERA, DATA, episodes, write
from lerobot_by_hand import write_v21, write_v30
from PIL import Image
from rlds_files import stored_checksum, tensor, write_metadata, write_shards
from traps import Door, Runs, Trap, change, spring

from workbench.data.description import describe
from workbench.data.formats import open_any
from workbench.skills.files import read_questions


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    (tmp_path / "planted").mkdir()
    return Trap(tmp_path / "planted", tmp_path / "it-ran")


def opened(path: Path, camera: str | None = None) -> Door:
    """Open it, and read every episode of it."""

    def door() -> object:
        dataset = open_any(path, camera)
        return [dataset.episode(facts.index) for facts in dataset.episodes]

    return door


# --- LeRobot

FILES = "chunk-{chunk_index:03d}/file-{file_index:03d}"


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("data_path", f"../data/{FILES}.parquet"),
        ("data_path", f"data/../../data/{FILES}.parquet"),
        ("data_path", f"ABSOLUTE/data/{FILES}.parquet"),
        ("video_path", f"../videos/{{video_key}}/{FILES}.mp4"),
        ("video_path", f"ABSOLUTE/videos/{{video_key}}/{FILES}.mp4"),
    ],
)
def test_a_dataset_reads_no_file_outside_its_folder(trap: Trap, key: str, place: str):
    root = write_v30(trap.folder / "set")
    for folder in ("data", "videos"):
        (root / folder).rename(trap.folder / folder)
    change(root / "meta/info.json", **{key: place.replace("ABSOLUTE", str(trap.folder))})
    if key == "video_path":
        (trap.folder / "data").rename(root / "data")
    spring(trap, opened(root, lerobot_by_hand.CAMERAS[0]), str(root / "meta/info.json"))


def test_neither_does_one_of_the_older_version_or_one_whose_camera_is_a_path(trap: Trap):
    root = write_v21(trap.folder / "set")
    older = "chunk-{episode_chunk:03d}/episode_{episode_index:06d}"
    (root / "data").rename(trap.folder / "data")
    change(root / "meta/info.json", data_path=f"../data/{older}.parquet")
    spring(trap, opened(root, lerobot_by_hand.CAMERAS[0]), "info.json")
    root = write_v21(trap.folder / "other")
    text = (root / "meta/info.json").read_text()
    (root / "meta/info.json").write_text(text.replace(lerobot_by_hand.CAMERAS[0], "../../../videos/x"))
    spring(trap, opened(root, "../../../videos/x"), "info.json")


@pytest.mark.parametrize(
    "place", ["{chunk_index.__class__.__mro__}", "{chunk_index:9999999999d}", "{chunk_index!r}", "{0}", "{"]
)
def test_a_path_is_filled_in_with_numbers_and_nothing_else(trap: Trap, place: str):
    root = write_v30(trap.folder / "set")
    change(root / "meta/info.json", data_path=f"data/{place}.parquet")
    spring(trap, opened(root), "info.json: data_path")


def test_counts_and_brackets_without_end_cost_nothing(trap: Trap):
    root = write_v30(trap.folder / "set")
    change(root / "meta/info.json", total_tasks=10**15)
    spring(trap, opened(root, lerobot_by_hand.CAMERAS[0]), "tasks.parquet")
    change(root / "meta/info.json", total_tasks=2, total_episodes=10**15)
    spring(trap, opened(root, lerobot_by_hand.CAMERAS[0]), "meta/episodes")
    trap.deep(root / "meta/info.json", '{"codebase_version": "v3.0", "a": {}}')
    spring(trap, opened(root), "info.json")
    older = write_v21(trap.folder / "older")
    (older / "meta/tasks.jsonl").write_text('{"task_index": "x", "task": []}\n')
    spring(trap, opened(older, lerobot_by_hand.CAMERAS[0]), "tasks.jsonl")
    trap.deep(older / "meta/episodes.jsonl")
    spring(trap, opened(older, lerobot_by_hand.CAMERAS[0]), "episodes.jsonl")


def bomb() -> bytes:
    """A PNG of some hundred bytes that says it has 3.6 gigapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_a_picture_of_gigapixels_is_not_unpacked(trap: Trap):
    root = write(trap.folder / "set", episodes())
    table = pq.read_table(root / DATA)
    cells = table.column(CAMERA).to_pylist()
    cells[0]["bytes"] = bomb()
    place = table.column_names.index(CAMERA)
    pq.write_table(table.set_column(place, table.field(place), pa.array(cells, table.field(place).type)), root / DATA)
    spring(trap, opened(root), "episode 0, frame 0")
    spring(trap, opened(folder(trap, "000.png", bomb())), "000.png")
    (trap.folder / "b.png").write_bytes(bomb())
    file = questions(trap, "b.png")
    spring(trap, lambda: read_questions(file)[0].image(8), "b.png")


# --- numpy's files: CALVIN, a folder of episodes


def folder(trap: Trap, name: str, content: bytes) -> Path:
    """A folder of one episode, one of whose files is this."""
    episode = trap.folder / "folder" / "episode_000"
    (episode / "frames").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(episode / "frames/000.png")
    (episode / "instruction.txt").write_text("lift")
    np.save(episode / "actions.npy", np.zeros((1, 7)))
    (episode / ("frames" if name.endswith("png") else ".") / name).write_bytes(content)
    return episode.parent


def header(*shape: int) -> bytes:
    from io import BytesIO

    written = BytesIO()
    np.lib.format.write_array_header_1_0(written, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return written.getvalue()


def test_objects_in_an_array_are_not_loaded(trap: Trap):
    objects = np.array([Runs(trap.command)] * 15, dtype=object)
    root = folder(trap, "x.npy", b"")
    np.save(root / "episode_000" / "actions.npy", objects, allow_pickle=True)
    spring(trap, opened(root), "actions.npy")
    split = test_calvin.write(trap.folder / "calvin" / "training")
    test_calvin.damage(split, 12, robot_obs=objects)
    spring(trap, opened(split), "episode_0000012.npz")
    np.save(split / test_calvin.LANGUAGE, objects, allow_pickle=True)
    spring(trap, opened(split), "auto_lang_ann.npy")


def test_an_array_larger_than_any_machine_is_refused(trap: Trap):
    spring(trap, opened(folder(trap, "actions.npy", header(2**50, 7))), "actions.npy")
    split = test_calvin.write(trap.folder / "calvin" / "training")
    whole = header(2**25) + bytes(2**28)
    for content, says in ((header(2**50), str(2**50)), (whole, "unpacked larger than 256 MiB")):
        with zipfile.ZipFile(split / "episode_0000012.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("rel_actions.npy", b"")
            archive.writestr("robot_obs.npy", content)
        spring(trap, opened(split), "episode_0000012.npz is no whole file of numpy's")
        spring(trap, opened(split), says)


def test_a_segment_of_a_trillion_frames_ends_at_the_first_that_is_not_there(trap: Trap):
    split = test_calvin.write(trap.folder / "calvin" / "training")
    record = test_calvin.annotations()
    record["info"]["indx"] = [(10, 10**12)] * len(record["info"]["indx"])
    np.save(split / test_calvin.LANGUAGE, np.array(record, dtype=object), allow_pickle=True)
    np.save(split / "ep_start_end_ids.npy", np.array([[10, 10**13]]))
    spring(trap, opened(split), "episode_0000017.npz")


# --- HDF5

ACTIONS = "data/{}/actions"


def link_away(file: h5py.File, name: str, other: Path) -> None:
    del file[name]
    file[name] = h5py.ExternalLink(str(other), name)


def link_by_two_steps(file: h5py.File, name: str, other: Path) -> None:
    del file[name]
    file["away"] = h5py.ExternalLink(str(other), "/")
    file[name] = h5py.SoftLink(f"/away/{name}")


def store_away(file: h5py.File, name: str, other: Path) -> None:
    shape = file[name].shape  # pyright: ignore[reportAttributeAccessIssue]
    del file[name]
    file.create_dataset(name, shape, "f8", external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def look_away(file: h5py.File, name: str, other: Path) -> None:
    shape = file[name].shape  # pyright: ignore[reportAttributeAccessIssue]
    del file[name]
    layout = h5py.VirtualLayout(shape, "f8")
    layout[:] = h5py.VirtualSource(str(other), name, shape)
    file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("away", [link_away, link_by_two_steps, store_away, look_away])
@pytest.mark.parametrize("maker", [test_libero, test_robomimic], ids=["libero", "robomimic"])
def test_hdf5_reads_no_other_file(trap: Trap, maker: Any, away: Callable[[h5py.File, str, Path], None]):
    path, other = (maker.write(trap.folder / name) for name in ("a_demo.hdf5", "other.hdf5"))
    with h5py.File(path, "a") as file:
        away(file, ACTIONS.format(list(maker.LENGTHS)[0]), other)
    spring(trap, opened(path), str(path))


@pytest.mark.parametrize("name", ["data", "data/{}", "data/{}/obs", "mask", "mask/train"])
def test_no_group_of_it_is_a_link(trap: Trap, name: str):
    path, other = (test_robomimic.write(trap.folder / name) for name in ("a.hdf5", "other.hdf5"))
    with h5py.File(path, "a") as file:
        link_away(file, name.format(list(test_robomimic.LENGTHS)[0]), other)
    spring(trap, opened(path), str(path))


def test_an_attribute_of_brackets_is_refused(trap: Trap):
    path = test_libero.write(trap.folder / "a_demo.hdf5", env_args="[" * 30_000)
    spring(trap, opened(path), str(path))


# --- RLDS, descriptions, questions


def test_a_record_of_an_exbibyte_and_features_without_end_are_refused(trap: Trap):
    root = trap.folder / "x" / "1.0.0"
    write_metadata(root, "x", {"action": tensor((7,))}, {"train": [1]})
    (file,) = write_shards(root, "x", "train", [[b"abc"]])
    whole, length = file.read_bytes(), struct.pack("<Q", 2**60)
    file.write_bytes(length + stored_checksum(length))
    spring(trap, opened(root), file.name)
    file.write_bytes(whole)
    (root / "features.json").write_text('{"sequence":{"feature":' * 5000 + "{}" + "}}" * 5000)
    spring(trap, opened(root), "features.json")


def test_a_description_of_brackets_is_refused(trap: Trap):
    file = trap.deep(trap.folder / "d.toml", "name = {}")
    spring(trap, lambda: describe(str(file)), "d.toml")


def questions(trap: Trap, picture: str) -> Path:
    said = [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "a block"}]
    file = trap.folder / "q.json"
    file.write_text(json.dumps([{"image": picture, "conversations": said}]))
    return file


@pytest.mark.parametrize("picture", ["../secret.png", "a/../../secret.png", "ABSOLUTE/secret.png"])
def test_questions_show_no_picture_outside_their_folder(trap: Trap, picture: str):
    Image.new("RGB", (4, 4)).save(trap.folder.parent / "secret.png")
    file = questions(trap, picture.replace("ABSOLUTE", str(trap.folder.parent)))
    spring(trap, lambda: read_questions(file)[0].image(8), "q.json")


def test_choices_are_a_list_and_no_program(trap: Trap):
    file = trap.folder / "q.json"
    row = {"question": "a", "choices": f"[__import__('os').system({trap.command!r})]", "correct_answer": 0}
    for choices in (row["choices"], "(" * 5000 + ")" * 5000):
        file.write_text(json.dumps([row | {"choices": choices, "image": "a.png"}]))
        spring(trap, lambda: read_questions(file), "q.json")
    trap.deep(file)
    spring(trap, lambda: read_questions(file), "q.json")


def test_the_command_line_says_one_sentence(trap: Trap):
    root = write_v30(trap.folder / "set")
    change(root / "meta/info.json", data_path=f"../data/{FILES}.parquet")
    assert "is not within" in refusal("data", "inspect", str(root), "--camera", lerobot_by_hand.CAMERAS[0])
