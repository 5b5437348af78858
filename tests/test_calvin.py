import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from workbench.data.calvin import ACTION_NAMES, STATE_NAMES, Segment, open_calvin
from workbench.data.pickled import read_pickled_array
from workbench.data.statistics import Statistics
from workbench.errors import UserError

SEGMENTS = ((10, 13), (12, 15), (21, 21))
TEXTS = ("push the red block", "open the drawer", "lift the blue block")
TASKS = ("push_red_block_right", "open_drawer", "lift_blue_block_table")
LANGUAGE = "lang_annotations/auto_lang_ann.npy"


def step(frame: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(frame)
    return {
        "rgb_static": generator.integers(0, 256, (6, 6, 3), dtype=np.uint8),
        "rgb_gripper": generator.integers(0, 256, (4, 4, 3), dtype=np.uint8),
        "depth_static": generator.normal(size=(6, 6)).astype(np.float32),
        "actions": generator.normal(size=7),
        "rel_actions": np.append(generator.uniform(-1, 1, 6), (-1) ** frame),
        "robot_obs": generator.normal(size=15),
        "scene_obs": generator.normal(size=24),
    }


def annotations(**changes: object) -> dict:
    """As CALVIN's annotator leaves them: tuples of numpy's integers, lists of texts, an array of embeddings."""
    spans = [(np.int64(start), np.int64(end)) for start, end in SEGMENTS]
    language = {"ann": list(TEXTS), "task": list(TASKS), "emb": np.ones((3, 1, 384), np.float32)}
    return {"language": language, "info": {"episodes": [], "indx": spans}} | changes


def write(split: Path, record: object = None) -> Path:
    (split / "lang_annotations").mkdir(parents=True, exist_ok=True)
    for frame in (*range(10, 17), 20, 21):
        np.savez_compressed(split / f"episode_{frame:07d}.npz", **step(frame))
    np.save(split / "ep_start_end_ids.npy", np.array([[10, 16], [20, 21]]))
    np.save(split / LANGUAGE, record or annotations())
    return split


def damage(split: Path, frame: int, **changes: np.ndarray) -> None:
    np.savez(split / f"episode_{frame:07d}.npz", **(step(frame) | changes))


def pickled(path: Path, program: bytes) -> None:
    """An .npy file of objects with this pickle in it."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    path.write_bytes(header.getvalue() + program)


class Runs:
    """Pickled, it calls `function` when it is loaded."""

    def __init__(self, function: object, *given: object) -> None:
        self.call = (function, given)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.fixture
def split(tmp_path: Path) -> Path:
    return write(tmp_path / "task_D_D" / "training")


def test_episodes_are_the_annotated_segments_with_their_last_frame(split):
    dataset = open_calvin(split)
    assert [(e.index, e.length, e.instruction) for e in dataset.episodes] == [
        (0, 4, TEXTS[0]),
        (1, 4, TEXTS[1]),
        (2, 1, TEXTS[2]),
    ]
    assert dataset.segments[1] == Segment(start=12, end=15, instruction=TEXTS[1], task=TASKS[1])
    assert (dataset.state_names, dataset.action_names) == (STATE_NAMES, ACTION_NAMES)
    for index, (start, end) in enumerate(SEGMENTS):
        episode, steps = dataset.episode(index), [step(frame) for frame in range(start, end + 1)]
        np.testing.assert_array_equal(episode.image, [one["rgb_static"] for one in steps])
        np.testing.assert_array_equal(episode.state, np.float32([one["robot_obs"] for one in steps]))
        np.testing.assert_array_equal(episode.action, np.float32([one["rel_actions"] for one in steps]))
    assert dataset.episode(0).action[:, 6].tolist() == [1, -1, 1, -1]


def test_the_gripper_camera_is_chosen_by_its_name(split):
    dataset = open_calvin(split, "rgb_gripper")
    assert dataset.cameras == ("rgb_static", "rgb_gripper")
    np.testing.assert_array_equal(dataset.episode(2).image, [step(21)["rgb_gripper"]])


def test_the_data_sets_folder_is_its_training_split(split):
    assert open_calvin(split.parent).digest == open_calvin(split).digest
    with pytest.raises(UserError, match="Neither .* is a split of CALVIN"):
        open_calvin(split / "lang_annotations")


def test_statistics_are_those_of_the_segments(split):
    dataset = open_calvin(split)
    frames = [frame for start, end in SEGMENTS for frame in range(start, end + 1)]
    exact = Statistics.from_values(np.float32([step(frame)["rel_actions"] for frame in frames]))
    assert dataset.statistics["action"].to_json() == exact.to_json()
    assert dataset.statistics["observation.state"].mean.shape == (15,)


def test_only_the_asked_episode_is_read_and_a_damaged_frame_is_named(split):
    dataset = open_calvin(split)
    path = split / "episode_0000014.npz"
    path.write_bytes(path.read_bytes()[:-40])
    assert len(dataset.episode(0).image) == 4 and len(dataset.episode(2).image) == 1
    with pytest.raises(UserError, match="episode_0000014.npz is no whole file"):
        dataset.vectors(1)


def test_pictures_are_not_read_for_vectors(split):
    dataset = open_calvin(split)
    damage(split, 14, rgb_static=np.zeros((6, 6, 4), np.uint8))
    assert len(dataset.vectors(1).action) == 4
    with pytest.raises(UserError, match=r"'rgb_static' of .*episode_0000014.npz is uint8 \[6, 6, 4\]"):
        dataset.episode(1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rel_actions": np.full(7, np.nan)}, r"action of episode 1 \(.*12.npz to .*15.npz\) .* is nan at frame 2"),
        ({"robot_obs": np.zeros(14)}, r"'robot_obs' of .* is float64 \[14\] at frame 2; 15 numbers"),
        ({"robot_obs": np.array([None] * 15)}, r"episode_0000014.npz is no whole file of numpy's without pickles"),
    ],
)
def test_damaged_steps_are_told_when_the_split_is_opened(split, changes, told):
    damage(split, 14, **changes)
    with pytest.raises(UserError, match=told):
        open_calvin(split)


def test_a_missing_step_and_a_missing_column_are_told(split):
    np.savez(split / "episode_0000014.npz", rel_actions=np.zeros(7))
    with pytest.raises(UserError, match="episode_0000014.npz has no 'robot_obs'. It has: rel_actions"):
        open_calvin(split)
    (split / "episode_0000014.npz").unlink()
    with pytest.raises(UserError, match="There is no file .*episode_0000014.npz"):
        open_calvin(split)


@pytest.mark.parametrize(
    ("spans", "told"),
    [
        ([(10, 13), (12, 15)], "has 2 segments, 3 instructions and 3 tasks"),
        ([(10, 13), (15, 12), (21, 21)], r"has a segment \[15, 12\]"),
        ([(10, 13), (12, 20), (21, 21)], r"12 to 20 \('open the drawer'\) of .* is not within one recording"),
        ([(10, 13), (12.5, 15), (21, 21)], r"has a segment \[12.5, 15\]"),
    ],
)
def test_annotations_that_do_not_fit_are_told(split, spans, told):
    write(split, annotations(info={"indx": spans}))
    with pytest.raises(UserError, match=told):
        open_calvin(split)


def test_annotations_of_another_shape_are_told(split):
    write(split, annotations(info={}))
    with pytest.raises(UserError, match="has no info → indx"):
        open_calvin(split)


def test_spans_may_be_an_array_and_pickles_may_be_numpy_1s(split):
    record = annotations(info={"indx": np.array(SEGMENTS)})
    array = np.empty((), object)
    array[()] = record
    program = pickle.dumps(array, protocol=3)
    assert b"numpy._core.multiarray" in program
    expected = open_calvin(split).segments
    for spelled in (program, program.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")):
        pickled(split / LANGUAGE, spelled)
        assert open_calvin(split).segments == expected


def test_arrays_within_keep_their_kind_order_and_byte_order(tmp_path):
    arrays = [
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(["drawer", "é"]),
        np.array([True, False]),
    ]
    np.save(tmp_path / "all.npy", {"arrays": arrays, "scalar": np.float32(0.5)})
    (record,) = read_pickled_array(tmp_path / "all.npy").entries()
    assert [array.entries() for array in record["arrays"]] == [array.tolist() for array in arrays]
    assert record["scalar"] == 0.5


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_pickle_does_nothing_and_is_refused(split, tmp_path, protocol):
    mark = tmp_path / "owned"
    for runs in (Runs(os.mkdir, str(mark)), Runs(eval, f"__import__('os').mkdir({str(mark)!r})")):
        pickled(split / LANGUAGE, pickle.dumps(runs, protocol=protocol))
        with pytest.raises(UserError, match=r"it asks to load \w+\.(mkdir|eval).*Nothing in it was run"):
            open_calvin(split)
        assert not mark.exists()
        pickle.loads(pickle.dumps(runs, protocol=protocol))
        assert mark.exists()
        mark.rmdir()


@pytest.mark.parametrize(
    "name", ["numpy\nfromfile", "numpy\nload", "builtins\ngetattr", "numpy._core.multiarray\narray"]
)
def test_nothing_but_what_arrays_are_made_of_is_admitted(tmp_path, name):
    pickled(tmp_path / "bad.npy", b"c" + name.encode() + b"\n.")
    with pytest.raises(UserError, match="it asks to load " + name.replace("\n", r"\.")):
        read_pickled_array(tmp_path / "bad.npy")


def test_what_a_pickle_does_to_its_makers_is_gone_with_it(tmp_path):
    # GLOBAL numpy.ndarray, then BUILD with (None, {"__call__": 1}): attributes are set on what GLOBAL gave.
    pickled(tmp_path / "bad.npy", b"cnumpy\nndarray\n(N}X\x08\x00\x00\x00__call__K\x01stb.")
    with pytest.raises(UserError, match="holds a function"):
        read_pickled_array(tmp_path / "bad.npy")
    np.save(tmp_path / "good.npy", {"a": 1})
    assert read_pickled_array(tmp_path / "good.npy").entries() == [{"a": 1}]


def test_numpy_is_never_handed_a_foreign_state(tmp_path):
    # An array whose dtype says objects and whose content says bytes: numpy would follow them as pointers.
    state = b"(K\x01)cnumpy\ndtype\n(X\x02\x00\x00\x00O8I00\nI01\ntR\x89C\x00t"
    pickled(tmp_path / "bad.npy", b"cnumpy._core.multiarray\n_reconstruct\n(tR" + state + b"b.")
    with pytest.raises(UserError, match="is damaged .*an array of objects without a list"):
        read_pickled_array(tmp_path / "bad.npy")


@pytest.mark.parametrize("content", [b"", b"not numpy's", b"\x93NUMPY\x01\x00"])
def test_annotations_that_are_no_numpy_file_are_told(split, content):
    (split / LANGUAGE).write_bytes(content)
    with pytest.raises(UserError, match="auto_lang_ann.npy is damaged"):
        open_calvin(split)


def test_annotations_that_were_torn_are_told(split):
    (split / LANGUAGE).write_bytes((split / LANGUAGE).read_bytes()[:-200])
    with pytest.raises(UserError, match="auto_lang_ann.npy is damaged"):
        open_calvin(split)
    np.save(split / LANGUAGE, np.zeros(3))
    with pytest.raises(UserError, match="it holds float64, not objects"):
        open_calvin(split)
    (split / LANGUAGE).unlink()
    with pytest.raises(UserError, match="There is no file .*auto_lang_ann.npy"):
        open_calvin(split)
