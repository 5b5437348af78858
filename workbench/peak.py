"""The largest memory of a process while it did one thing, on Linux: a worker does several, one after the other."""

import re
from pathlib import Path

ITSELF = Path("/proc/self")
FORGET = "5"
"""What tells the kernel to forget the largest resident set so far (proc_pid_clear_refs(5))."""


def forget_peak(process: Path = ITSELF) -> bool:
    """Whether the largest memory so far was forgotten, so that `peak_mib` is of what comes; elsewhere it cannot be."""
    try:
        (process / "clear_refs").write_text(FORGET)
    except OSError:
        return False
    return True


def peak_mib(process: Path = ITSELF) -> int:
    """MiB of the largest resident set since it was forgotten: tensors, data, libraries, all that the process has."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", (process / "status").read_text(), re.MULTILINE)
    assert found, "every process has one on Linux"
    return int(found[1]) // 1024
