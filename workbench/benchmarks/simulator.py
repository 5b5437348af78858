"""MuJoCo, imported for the OpenGL platform that this machine has: EGL, or OSMesa where no EGL device starts.

The package picks its OpenGL loader by MUJOCO_GL at import, once a process, and fails with a library's traceback where
that platform is missing, even for physics alone. So the choice is made before; `rendering` then opens the context.
"""

import ctypes
import os

EGL_PLATFORM_DEVICE = 0x313F
OSMESA = ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")


def _loads(*names: str) -> ctypes.CDLL | None:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _egl_starts() -> bool:
    """Whether some EGL device initialises (EGL_EXT_device_enumeration, EGL_EXT_platform_device)."""
    egl = _loads("libEGL.so.1")
    if egl is None:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    query, display = egl.eglGetProcAddress(b"eglQueryDevicesEXT"), egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not query or not display:
        return False
    devices, count = (ctypes.c_void_p * 16)(), ctypes.c_int(0)
    ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(query)(
        16, devices, ctypes.byref(count)
    )
    egl.eglInitialize.argtypes = [ctypes.c_void_p] * 3
    open_display = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(display)
    opened = [open_display(EGL_PLATFORM_DEVICE, devices[i], None) for i in range(count.value)]
    return any(egl.eglInitialize(found, None, None) for found in opened if found)


_choice = os.environ.pop("MUJOCO_GL", None)
if _choice is None and not _egl_starts() and _loads(*OSMESA) is not None:
    _choice = "osmesa"
if _choice == "osmesa" and _loads(*OSMESA) is not None:
    os.environ["MUJOCO_GL"] = _choice

import mujoco  # noqa: E402

if _choice is not None:
    os.environ["MUJOCO_GL"] = _choice

__all__ = ["mujoco"]
