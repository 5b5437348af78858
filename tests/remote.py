"""Simulators in processes of their own, as tests need them."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from workbench.benchmarks.contract import Protocol, Start
from workbench.benchmarks.remote.client import RemoteEnv
from workbench.benchmarks.remote.peer import SERVER, TOKEN
from workbench.benchmarks.remote.simulators import SIMULATORS, Simulator

HERE = Path(__file__).parent
TABLETOP = Simulator("tabletop", HERE / "sim_tabletop.py", "the workbench", rows=2, patience=20.0)
TINY = Simulator("tiny", HERE / "sim_tiny.py", "nothing at all", rows=4, patience=10.0)
SECRET = "a token that tests give away"

os.environ[TABLETOP.python_variable] = os.environ[TINY.python_variable] = sys.executable


def start(initial_state: int) -> Start:
    return Start("reach", initial_state, 1)


def adapter(world: str) -> ModuleType:
    """The file that a world's Python would run, here: it imports no simulator before it plays."""
    path = SIMULATORS[world].adapter
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def tiny(count: int = 1, **changes: float | str | Path) -> Iterator[RemoteEnv]:
    env = RemoteEnv(Protocol(), count, replace(TINY, **changes))
    try:
        yield env
    finally:
        env.close()


@contextmanager
def server(adapter: Path = TINY.adapter) -> Iterator[int]:
    """The port of a server that stays."""
    process = subprocess.Popen(
        [sys.executable, SERVER, adapter, "--stay"],
        env={**os.environ, TOKEN: SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.kill()
        process.communicate()
