"""What this machine has of what every benchmark needs: Python, packages, cores, a picture, room. With its remedies."""

import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from workbench.errors import UserError

DISTRIBUTION = "vla-workbench"
ROOM = 5
"""GB that a study's runs may take."""
BALL = '<mujoco><worldbody><light pos="0 0 2"/><geom size=".2" rgba=".9 .5 .2 1"/></worldbody></mujoco>'


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: whether it is as it should be, what was found, and else what to do."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def core(root: Path) -> tuple[Check, ...]:
    """What every benchmark needs; runs lie in `root`."""
    asked = installed_requirements()
    return (python(), *packages(asked), cores(), gpu(), rendering(), disk(root))


def installed_requirements() -> list[str] | None:
    """What the installed distribution asks for, extras included; None where it is not installed."""
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None


def python() -> Check:
    """Whether this Python is one that the installed distribution asks for."""
    here = platform.python_version()
    try:
        wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    except metadata.PackageNotFoundError:
        return Check("python", True, here)
    fits = SpecifierSet(wanted).contains(here, prereleases=True)
    return Check("python", fits, f"{here}, {wanted} is asked for", "" if fits else f"Install Python {wanted}.")


def packages(requirements: Sequence[str] | None) -> tuple[Check, ...]:
    """One check for all packages that are as asked for, and one for each that is not."""
    if requirements is None:
        return (Check("packages", False, f"{DISTRIBUTION} is not installed here", "pip install -e ."),)
    asked = [one for one in map(Requirement, requirements) if one.marker is None or one.marker.evaluate()]
    fitting = ", ".join(f"{one.name} {_version(one.name)}" for one in asked if _fits(one))
    return (Check("packages", True, fitting), *(_unfit(one) for one in asked if not _fits(one)))


def extra(name: str, requirements: Sequence[str] | None) -> Check:
    """Whether all packages of the distribution's extra are installed."""
    remedy = f"pip install '{DISTRIBUTION}[{name}]'"
    marked = [one for one in map(Requirement, requirements or ()) if one.marker]
    asked = [one for one in marked if one.marker and one.marker.evaluate({"extra": name}) and not one.marker.evaluate()]
    if not asked:
        return Check(f"extra {name}", False, f"the installed {DISTRIBUTION} knows no extra {name!r}", remedy)
    if wrong := [_unfit(one).found for one in asked if not _fits(one)]:
        return Check(f"extra {name}", False, "; ".join(wrong), remedy)
    return Check(f"extra {name}", True, ", ".join(f"{one.name} {_version(one.name)}" for one in asked))


def cores() -> Check:
    """How many there are, and how many torch uses."""
    import torch

    variable = os.environ.get("OMP_NUM_THREADS")
    told = f"OMP_NUM_THREADS={variable}" if variable else "OMP_NUM_THREADS is not set"
    return Check("cores", True, f"{os.cpu_count()}, of which torch uses {torch.get_num_threads()} ({told})")


def gpu() -> Check:
    """The GPU that torch sees; none is no fault."""
    import torch

    if not torch.cuda.is_available():
        return Check("gpu", True, f"none that torch {torch.__version__} sees: it computes on the CPU")
    return Check("gpu", True, torch.cuda.get_device_name())


def rendering() -> Check:
    """Whether a lit ball comes out of MuJoCo as anything but black."""
    try:
        from workbench.benchmarks.rendering import Camera, View
        from workbench.benchmarks.simulator import mujoco

        model = mujoco.MjModel.from_xml_string(BALL)
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        camera = Camera(model, 32)
    except (UserError, ImportError, OSError, RuntimeError) as error:
        remedy = f"{error} Unset MUJOCO_GL to let it be chosen." if os.environ.get("MUJOCO_GL") else str(error)
        return Check("rendering", False, "nothing can be drawn", remedy)
    camera.aim(View(azimuth=90, elevation=-30, distance=1, lookat=(0, 0, 0)))
    frame = camera.frame(data)
    camera.close()
    if frame.max() == 0:
        remedy = "Another OpenGL platform may do better: set MUJOCO_GL to egl or osmesa."
        return Check("rendering", False, f"{camera.platform} gives a black picture", remedy)
    return Check("rendering", True, f"MuJoCo {mujoco.__version__} through {camera.platform}")


def disk(root: Path) -> Check:
    """Room where runs are kept."""
    there = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        return Check("disk", False, f"{there} is no folder that can be written", "Choose another one with --root.")
    free = shutil.disk_usage(there).free / 1e9
    remedy = "" if free >= ROOM else f"Free {ROOM} GB, or choose a folder on another disk with --root."
    return Check("disk", free >= ROOM, f"{free:.0f} GB free in {there}", remedy)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _fits(requirement: Requirement) -> bool:
    version = _version(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _unfit(requirement: Requirement) -> Check:
    version = _version(requirement.name)
    wanted = f"{requirement.name}{requirement.specifier}"
    found = f"{requirement.name} is missing" if version is None else f"{requirement.name} {version} is not {wanted}"
    return Check(requirement.name, False, found, f"pip install '{wanted}'")
