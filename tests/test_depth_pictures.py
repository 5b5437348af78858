"""Depth pictures of HDF5 and RLDS as a description says them: in metres, as the map that the objective reads."""

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from rlds_files import Value, example, image, members, picture, tensor, text, write_metadata, write_shards
from test_libero import FILE
from test_libero import write as write_libero
from test_robomimic import LENGTHS, write

from workbench.data.dataset import Dataset
from workbench.data.depth import depth_maps, depth_of
from workbench.data.description import Depth, describe
from workbench.data.lerobot import open_dataset
from workbench.data.libero import open_libero
from workbench.data.rewrite import Rewriting, rewrite
from workbench.data.rlds import open_rlds
from workbench.data.robomimic import open_robomimic
from workbench.errors import UserError
from workbench.scene import DEPTH, DEPTH_SIDE, read_depth

HEIGHT, WIDTH = 20, 33
METRES = Depth(column="agentview_depth", form="distance", unit_m=1)


def stored(steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.2, 0.9, (steps, HEIGHT, WIDTH)).astype(np.float32)


def maps_of(metres_THW: np.ndarray) -> np.ndarray:
    """[T, S·S], pixel by pixel: each belongs to the part that its place falls into."""
    starts = [[part * edge // DEPTH_SIDE for part in range(DEPTH_SIDE + 1)] for edge in (HEIGHT, WIDTH)]
    parts = [
        metres_THW[:, top:bottom, left:right].mean(axis=(1, 2))
        for top, bottom in zip(starts[0], starts[0][1:], strict=False)
        for left, right in zip(starts[1], starts[1][1:], strict=False)
    ]
    return np.stack(parts, axis=1)


@pytest.fixture
def robomimic(tmp_path: Path) -> Path:
    path = write(tmp_path / "depth.hdf5")
    with h5py.File(path, "a") as file:
        for seed, (name, steps) in enumerate(LENGTHS.items()):
            file[f"data/{name}/obs/agentview_depth"] = stored(steps, seed)[..., None]
    return path


def map_of(dataset: Dataset, told: Depth, index: int = 0) -> np.ndarray:
    return depth_maps(dataset, index, told)[DEPTH]


def test_robomimics_depth_is_converted_with_its_description_and_read_by_the_objective(robomimic: Path, tmp_path: Path):
    described = rewrite(open_robomimic(robomimic), tmp_path / "new", [2, 0], Rewriting(describe("robomimic")))
    frames = open_dataset(described).frames([0, 1])
    wanted = np.concatenate([maps_of(stored(4, seed=2)), maps_of(stored(3, seed=0))])
    np.testing.assert_allclose(frames.extra[DEPTH], wanted, rtol=1e-6)
    assert read_depth(frames).shape == (7, DEPTH_SIDE, DEPTH_SIDE)
    assert not describe(str(described / "meta/description.toml")).depth, "it lies in a column now"
    plain = rewrite(open_robomimic(robomimic), tmp_path / "plain", [0], Rewriting())
    assert not open_dataset(plain).frames([0]).extra, "nobody said what the numbers mean"


def test_a_file_without_depth_is_converted_as_before(tmp_path: Path):
    path = write(tmp_path / "image.hdf5")
    written = rewrite(open_robomimic(path), tmp_path / "new", [0], Rewriting(describe("robomimic")))
    assert not open_dataset(written).frames([0]).extra


def test_a_z_buffer_is_a_distance_between_its_planes():
    told = Depth(column="any", form="z-buffer", near_m=0.1, far_m=5.0)
    distance = np.array([0.1, 0.5, 5.0])
    buffer = (1 / 0.1 - 1 / distance) / (1 / 0.1 - 1 / 5.0)  # OpenGL's: linear in one over the distance
    np.testing.assert_allclose(told.metres(buffer), distance)
    assert np.isnan(told.metres(np.array([-0.1, 1.1]))).all()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "a distance has unit_m"),
        ({"unit_m": 1, "far_m": 2}, "belong to a z-buffer"),
        ({"form": "z-buffer", "near_m": 1}, "a z-buffer has near_m and far_m"),
        ({"form": "z-buffer", "near_m": 2, "far_m": 2}, "is not below"),
        ({"form": "disparity", "unit_m": 1}, "'distance' or 'z-buffer'"),
    ],
)
def test_a_description_that_leaves_open_what_depth_means_is_refused(more: dict[str, Any], said: str):
    with pytest.raises(ValidationError, match=said):
        Depth.model_validate({"column": "depth", "form": "distance"} | more)


def test_liberos_depth_is_turned_as_its_pictures_are(tmp_path: Path):
    path, buffer_THW = write_libero(tmp_path / FILE), stored(4)
    with h5py.File(path, "a") as file:
        file["data/demo_0/obs/agentview_depth"] = buffer_THW[..., None]
    dataset = open_libero(path)
    told = Depth(column="agentview_depth", form="z-buffer", near_m=0.01, far_m=50)
    np.testing.assert_allclose(map_of(dataset, told), maps_of(told.metres(buffer_THW[:, ::-1, ::-1])), rtol=1e-6)
    assert depth_of(dataset, describe("libero")) is None, "the planes differ from scene to scene: nobody says them here"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((3, HEIGHT, WIDTH)), "says 0.0 at frame 0, row 0, column 0, which is no distance"),
        (np.full((3, HEIGHT, WIDTH), np.nan), "which is no distance"),
        (np.ones((3, 15, WIDTH)), "a depth map has 16 x 16 values"),
        (np.ones((2, HEIGHT, WIDTH)), r"depth pictures are \[3, H, W\]"),
        (np.ones((3, HEIGHT, WIDTH, 2)), r"depth pictures are \[3, H, W\]"),
        (np.full((3, HEIGHT, WIDTH), b"far"), "depth is numbers"),
    ],
)
def test_what_is_no_depth_is_refused_by_its_place(values: np.ndarray, said: str, robomimic: Path):
    with h5py.File(robomimic, "a") as file:
        del file["data/demo_0/obs/agentview_depth"]
        file["data/demo_0/obs/agentview_depth"] = values
    with pytest.raises(UserError, match=said):
        map_of(open_robomimic(robomimic), METRES)


def as_picture(values_HW: np.ndarray) -> bytes:
    """As TensorFlow Datasets encodes it."""
    shown = values_HW.view(np.uint8).reshape(HEIGHT, WIDTH, 4) if values_HW.dtype == np.float32 else values_HW
    encoded = io.BytesIO()
    Image.fromarray(shown).save(encoded, format="PNG")
    return encoded.getvalue()


KINDS = {
    "tensor": (tensor((HEIGHT, WIDTH, 1)), 1.0),
    "float32": (image(HEIGHT, WIDTH, channels=1, dtype="float32"), 1.0),
    "uint16": (image(HEIGHT, WIDTH, channels=1, dtype="uint16"), 0.001),
    "uint8": (image(HEIGHT, WIDTH, channels=1, dtype="uint8"), 0.01),
}


def write_rlds(root: Path, kind: str) -> np.ndarray:
    """Returns what it stores."""
    feature, unit = KINDS[kind]
    stored_THW = stored(3) if unit == 1 else np.round(stored(3) / unit).astype(kind)
    numbers = stored_THW.ravel().tolist() if kind == "tensor" else [as_picture(one) for one in stored_THW]
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    observation = members({"depth": feature, "image": image(HEIGHT, WIDTH), "state": tensor((7,))})
    steps = {"observation": observation, "action": tensor((7,)), "language_instruction": text()}
    values: dict[str, Value] = {
        "steps/observation/depth": numbers,
        "steps/observation/image": [picture(pixels)] * 3,
        "steps/observation/state": [0.5] * 21,
        "steps/action": [0.5] * 21,
        "steps/language_instruction": [b"open the drawer"] * 3,
    }
    write_metadata(root, "mine", steps, {"train": (1,)})
    write_shards(root, "mine", "train", [[example(values)]])
    return stored_THW


@pytest.mark.parametrize("kind", KINDS)
def test_depth_of_rlds_is_read_however_it_is_written(kind: str, tmp_path: Path):
    root = tmp_path / "mine" / "1.0.0"
    stored_THW, unit = write_rlds(root, kind), KINDS[kind][1]
    told = Depth(column="observation/depth", form="distance", unit_m=unit)
    dataset = open_rlds(root)
    np.testing.assert_array_equal(dataset.depth(0, "observation/depth"), stored_THW)
    np.testing.assert_allclose(map_of(dataset, told), maps_of(stored_THW * unit), rtol=1e-5)
    assert dataset.depth(0, "observation/deep") is None and dataset.cameras == ("image",)


def test_a_depth_picture_of_another_kind_than_promised_is_refused(tmp_path: Path):
    root = tmp_path / "mine" / "1.0.0"
    write_rlds(root, "uint8")
    facts = json.loads((root / "features.json").read_text())
    depth = _members(_members(facts)["steps"]["sequence"]["feature"])["observation"]
    for dtype, said in (
        ("uint16", "mode L, which is no uint16"),
        ("float64", "are float64; uint8, uint16, float32 are"),
    ):
        _members(depth)["depth"]["image"]["dtype"] = dtype
        (root / "features.json").write_text(json.dumps(facts))
        with pytest.raises(UserError, match=said):
            open_rlds(root).depth(0, "observation/depth")


def _members(node: dict[str, Any]) -> dict[str, Any]:
    return node["featuresDict"]["features"]


def test_depth_of_a_format_that_has_none_read_is_told(robomimic: Path, tmp_path: Path):
    written = open_dataset(rewrite(open_robomimic(robomimic), tmp_path / "new", [0], Rewriting()))
    described = describe("robomimic").model_copy(update={"depth": {written.camera: METRES}})
    with pytest.raises(UserError, match="is LeRobot v3.0: leave"):
        depth_of(written, described)
