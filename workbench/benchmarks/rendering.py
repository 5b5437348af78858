"""Offscreen OpenGL for MuJoCo: EGL first, OSMesa where EGL is missing, and a plain sentence where both are.

The render mode is part of every protocol: without shadows and multisampling a 64-pixel frame costs
a tenth of MuJoCo's default and looks different, so the two are never mixed in one table.
"""

import importlib
import os
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.benchmarks.simulator import mujoco
from workbench.errors import UserError, unknown

RENDER_MODE = "no-shadows no-multisampling"

REMEDY = (
    "MuJoCo cannot render here: neither EGL nor OSMesa gives an OpenGL context ({reason}). "
    "Install one of them, e.g. 'apt-get install libegl1 libegl-mesa0' (or 'libosmesa6'), then try again."
)


PLATFORMS = ("egl", "osmesa")


@dataclass(frozen=True)
class View:
    """Where a free camera stands, in MuJoCo's convention: degrees and metres, field of view 45°."""

    azimuth: float
    elevation: float
    distance: float
    lookat: tuple[float, float, float]

    def project(self, points_M3: np.ndarray) -> np.ndarray:
        """Image coordinates `[M, 2]` of points in metres: 0 … 1, x to the right, y down."""
        azimuth, elevation = np.deg2rad(self.azimuth), np.deg2rad(self.elevation)
        forward = np.array(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        )
        right = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
        up = np.cross(right, forward)
        away = points_M3 - (np.asarray(self.lookat) - self.distance * forward)
        depth = away @ forward
        half = np.tan(np.deg2rad(45.0) / 2)
        x, y = away @ right / depth / half, away @ up / depth / half
        return np.stack([0.5 + x / 2, 0.5 - y / 2], axis=-1)


def _import_context(platform: str) -> Any:
    """MuJoCo's context class for `platform`; forgets PyOpenGL's earlier choice, which it makes once a process."""
    for name in [n for n in sys.modules if n == "OpenGL" or n.startswith("OpenGL.")]:
        del sys.modules[name]
    os.environ["PYOPENGL_PLATFORM"] = platform
    context: Any = importlib.import_module(f"mujoco.{platform}").GLContext
    context._context = None  # its __del__ reads this, also after an __init__ that failed before setting it
    return context


def open_context(side: int) -> tuple[Any, str]:
    """A current OpenGL context for frames of `side` pixels, and the platform that gave it."""
    wanted = os.environ.get("MUJOCO_GL", "").lower().strip()
    if wanted and wanted not in PLATFORMS:
        raise unknown("offscreen OpenGL platform (in the environment variable MUJOCO_GL)", wanted, PLATFORMS)
    reasons = []
    for platform in [wanted] if wanted else PLATFORMS:
        try:
            context = _import_context(platform)(side, side)
            context.make_current()
            return context, platform
        except (ImportError, AttributeError, RuntimeError, OSError) as error:
            reasons.append(f"{platform}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    raise UserError(REMEDY.format(reason="; ".join(reasons)))


class Camera:
    """Renders uint8 RGB frames `[side, side, 3]` of one model, from a free camera or one of the model's own.

    In the default mode without shadows and multisampling; `full` draws both, as MuJoCo does if nothing is said.
    """

    def __init__(self, model: mujoco.MjModel, side: int, *, full: bool = False):
        model.vis.global_.offwidth = model.vis.global_.offheight = side
        if not full:
            model.vis.quality.offsamples = 0
            model.vis.quality.shadowsize = 0
            model.light_castshadow[:] = 0
        self.side = side
        self.model = model
        self.context, self.platform = open_context(side)
        self.scene = mujoco.MjvScene(model, maxgeom=1000)
        self.options = mujoco.MjvOption()
        self.view = mujoco.MjvCamera()
        self.draw = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        self.draw.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.draw)

    def aim(self, view: View) -> None:
        """Point the free camera."""
        self.view.azimuth, self.view.elevation, self.view.distance = view.azimuth, view.elevation, view.distance
        self.view.lookat[:] = view.lookat

    def fix(self, name: str) -> None:
        """Look through the model's camera of this name."""
        self.view.type = mujoco.mjtCamera.mjCAMERA_FIXED.value
        self.view.fixedcamid = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_CAMERA.value, name)

    def frame(self, data: mujoco.MjData, *, model: mujoco.MjModel | None = None) -> np.ndarray:
        """The scene of `data` as seen by `self.view`, uint8 `[side, side, 3]`, top row first.

        `model` is the scene's, where it is another one of the same meshes and textures.
        """
        box = self._render(data, model)
        pixels = np.empty((self.side, self.side, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, box, self.draw)
        return pixels[::-1]

    def depth(self, data: mujoco.MjData) -> np.ndarray:
        """Metres along the view to what each pixel of that scene shows, float32 `[side, side]`, top row first."""
        box = self._render(data)
        buffer = np.empty((self.side, self.side), np.float32)
        mujoco.mjr_readPixels(None, buffer, box, self.draw)
        extent, clip = self.model.stat.extent, self.model.vis.map
        near, far = clip.znear * extent, clip.zfar * extent
        return (near * far / (near + buffer[::-1] * (far - near))).astype(np.float32)  # 1 is near and 0 is far

    def _render(self, data: mujoco.MjData, model: mujoco.MjModel | None = None) -> mujoco.MjrRect:
        self.context.make_current()
        mujoco.mjv_updateScene(
            model or self.model, data, self.options, None, self.view, mujoco.mjtCatBit.mjCAT_ALL.value, self.scene
        )
        box = mujoco.MjrRect(0, 0, self.side, self.side)
        mujoco.mjr_render(box, self.scene, self.draw)
        return box

    def close(self) -> None:
        self.context.make_current()  # what is freed is the current context's, which may be another camera's
        self.draw.free()
        self.context.free()
