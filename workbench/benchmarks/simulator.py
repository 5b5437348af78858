"""MuJoCo, imported without its own choice of an OpenGL platform: `rendering` makes that choice.

The package reads MUJOCO_GL at import and fails with a library's traceback where that platform is missing or unknown,
even for physics alone.
"""

import os

_CHOICE = os.environ.pop("MUJOCO_GL", None)

import mujoco  # noqa: E402

if _CHOICE is not None:
    os.environ["MUJOCO_GL"] = _CHOICE

__all__ = ["mujoco"]
