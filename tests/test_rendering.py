"""Frames are rendered without shadows and multisampling, and where OpenGL is missing, one sentence says what to do."""

import ctypes.util
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from workbench.benchmarks.rendering import RENDER_MODE, Camera, open_context
from workbench.benchmarks.simulator import mujoco
from workbench.benchmarks.tabletop.world import BLOCKS, CAMERA, World, sample_layout

SIDE = 64
OPEN = """
from workbench.benchmarks.rendering import open_context
from workbench.errors import UserError
try:
    context, platform = open_context(64)
except UserError as error:
    print(error)
    raise SystemExit(2)
print("opened", platform)
context.free()
"""
"""What a user's process does first."""


@pytest.fixture(scope="module")
def camera() -> Iterator[Camera]:
    camera = Camera(World().model, SIDE)
    camera.aim(CAMERA)
    yield camera
    camera.close()


def hide_all_but(world: World, shown: int) -> None:
    for i, geom in enumerate(world.object_geoms):
        world.model.geom_rgba[geom] = [0.9, 0.0, 0.0, 1.0 if i == shown else 0.0]


def open_in_another_process(**environment: str) -> subprocess.CompletedProcess:
    inherited = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    return subprocess.run(
        [sys.executable, "-c", OPEN], env=inherited | environment, capture_output=True, text=True, timeout=60
    )


def redness(frame: np.ndarray) -> np.ndarray:
    """0 where the grey table is seen, 1 where the red thing is, between where the two were mixed in one pixel."""
    red, green = frame[..., 0].astype(float), frame[..., 1].astype(float)
    share = (red - green) / red.clip(1)
    return share / share.max()


def test_the_context_has_no_samples_and_no_shadow_map(camera):
    assert RENDER_MODE == "no-shadows no-multisampling"
    assert camera.draw.offSamples == 0 and camera.draw.shadowSize == 0
    assert not camera.model.light_castshadow.any()
    assert (camera.draw.offWidth, camera.draw.offHeight) == (SIDE, SIDE)


def by_default(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """The same view as MuJoCo draws it when nothing is switched off: the control of the test below."""
    defaults = mujoco.MjModel.from_xml_string("<mujoco/>").vis.quality
    model.vis.quality.offsamples, model.vis.quality.shadowsize = defaults.offsamples, defaults.shadowsize
    model.light_castshadow[:] = 1
    camera = Camera.__new__(Camera)
    camera.model, camera.side = model, SIDE
    camera.context, _ = open_context(SIDE)
    camera.scene, camera.options, camera.view = (
        mujoco.MjvScene(model, maxgeom=200),
        mujoco.MjvOption(),
        mujoco.MjvCamera(),
    )
    camera.draw = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, camera.draw)
    camera.aim(CAMERA)
    frame = camera.frame(data)
    camera.close()
    return frame


def test_edges_are_hard_and_nothing_throws_a_shadow():
    world = World()
    camera = Camera(world.model, SIDE)
    camera.aim(CAMERA)
    data = world.place(sample_layout(np.random.default_rng(0)))
    hide_all_but(world, BLOCKS)
    ours = camera.frame(data)
    camera.close()
    theirs = by_default(world.model, data)
    mixed = [int(((redness(frame) > 0.2) & (redness(frame) < 0.8)).sum()) for frame in (ours, theirs)]
    assert mixed[0] == 0, "a pixel is table or plate, never both"
    assert mixed[1] > 10, "the control, MuJoCo's default, does mix them"
    table = [frame[redness(frame) < 0.1].astype(float).sum(-1) for frame in (ours, theirs)]
    dark = [int((levels < 0.8 * np.median(levels)).sum()) for levels in table]
    assert dark[0] < dark[1], "the control has the gripper's shadow on the table"


def test_the_same_scene_gives_the_same_pixels_whatever_was_rendered_between(camera):
    world = World()
    own = Camera(world.model, SIDE)
    own.aim(CAMERA)
    layout = sample_layout(np.random.default_rng(3))
    world.paint(layout.colours, holding=False)
    data = world.place(layout)
    first = own.frame(data).copy()
    other = world.place(sample_layout(np.random.default_rng(4)))
    assert not np.array_equal(own.frame(other), first)
    camera.frame(mujoco.MjData(camera.model))  # another context is current now
    again = own.frame(data)
    own.close()
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.uint8 and first.shape == (SIDE, SIDE, 3)


def test_pictures_are_upright_and_their_colours_are_red_green_blue():
    world = World()
    camera = Camera(world.model, SIDE)
    camera.aim(CAMERA)
    layout = sample_layout(np.random.default_rng(0))
    far = type(layout)(
        np.array([[0.1, 0.12], [-0.1, -0.12], [0.0, 0.0]]), layout.plates_xy, layout.gripper_xyz, layout.colours
    )
    data = world.place(far)
    hide_all_but(world, 0)
    rows, columns = np.nonzero(redness(camera.frame(data)) > 0.5)
    camera.close()
    assert rows.mean() < SIDE / 2 < columns.mean()  # y away from the camera is up, x is to the right


def test_without_egl_and_osmesa_one_sentence_names_the_remedy():
    done = open_in_another_process(__EGL_VENDOR_LIBRARY_FILENAMES=os.devnull)
    assert "Traceback" not in done.stderr, done.stderr
    if ctypes.util.find_library("OSMesa"):
        assert done.stdout.strip() == "opened osmesa"  # the fallback
    else:
        assert done.returncode == 2
        assert "neither EGL nor OSMesa" in done.stdout
        assert "apt-get install libegl1" in done.stdout and "libosmesa6" in done.stdout


def test_a_platform_asked_for_is_the_one_used_or_said_to_be_missing():
    done = open_in_another_process(MUJOCO_GL="osmesa")
    assert "Traceback" not in done.stderr, done.stderr
    if ctypes.util.find_library("OSMesa"):
        assert done.stdout.strip() == "opened osmesa"
    else:
        assert done.returncode == 2 and "libosmesa6" in done.stdout and "opened" not in done.stdout


def test_an_unknown_platform_is_refused_by_name():
    done = open_in_another_process(MUJOCO_GL="elg")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "'elg'" in done.stdout and "'egl'" in done.stdout and "MUJOCO_GL" in done.stdout


def test_a_camera_that_is_closed_takes_nothing_from_another_one():
    world = World()
    data = world.place(sample_layout(np.random.default_rng(0)))
    kept, closed = Camera(world.model, SIDE), Camera(world.model, SIDE)
    kept.aim(CAMERA)
    before = kept.frame(data)  # and so its context is the current one
    closed.close()
    assert np.array_equal(kept.frame(data), before) and before.std() > 10
    kept.close()
