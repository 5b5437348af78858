"""Where a run comes from: code, versions, machine, command and times. Stored with each run, part of no id."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from workbench.revision import revision

PACKAGES = ("torch", "transformers", "timm", "peft", "mujoco", "numpy")


def machine() -> dict[str, Any]:
    """What a figure may depend on: code, versions, processor, threads."""
    return {
        "revision": revision(),
        "python": platform.python_version(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def hardware() -> dict[str, Any]:
    """What a time depends on beside that: the host, its processor, its cores, its GPUs."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "gpus": gpus,
    }


def command() -> str:
    """The command that this process, or the one that started it, was given."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def now() -> str:
    """The time, to the second, with its zone."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _processor() -> str:
    """As Linux names it; its architecture where that is not told."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
