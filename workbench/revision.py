"""Which code made a run: the commit of the checkout that it ran from, and whether that was changed."""

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path


@cache
def revision() -> str:
    """Twelve digits of the commit, `+` behind them where tracked files differ; the package's version without git."""
    house = Path(__file__).parent.parent
    try:
        commit = _git(house, "rev-parse", "--short=12", "HEAD")
        changed = _git(house, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return f"version {version('vla-workbench')}"
    return f"{commit}{'+' if changed else ''}"


def _git(house: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=house, capture_output=True, text=True, check=True)
    return done.stdout.strip()
