"""What this machine has of what a benchmark needs, up to an episode that is really played. Each with its remedy."""

import importlib.util
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.benchmarks.contract import Protocol
from workbench.benchmarks.machine import Check, core, extra, installed_requirements
from workbench.benchmarks.remote.simulators import SIMULATORS
from workbench.benchmarks.rules import Rules, benchmarks, rules_of
from workbench.errors import UserError

STILL_STEPS = 5
PATIENCE = 30
"""Seconds that another Python may take to say its version."""


@dataclass(frozen=True)
class Report:
    """`checks` are of what is needed; `others` say how each benchmark stands where none was named."""

    checks: tuple[Check, ...]
    others: tuple[Check, ...] = ()

    @property
    def sound(self) -> bool:
        return all(check.ok for check in self.checks)


def examine(benchmark: str | None, root: Path) -> Report:
    """Look at all that `benchmark` needs; where none is named, at the core, and shortly at each benchmark.

    Raises UserError for an unknown name.
    """
    if benchmark is None:
        return Report(core(root), tuple(summary(name) for name in benchmarks()))
    rules = rules_of(benchmark)
    needed = (*core(root), *parts(rules))
    return Report((*needed, episode(benchmark)) if all(check.ok for check in parts(rules)) else needed)


def parts(rules: Rules) -> tuple[Check, ...]:
    """What a benchmark needs besides the core: its extra, its files, its own Python."""
    found = [] if rules.extra is None else [extra(rules.extra, installed_requirements())]
    if rules.world in FILES:
        found.append(FILES[rules.world]())
    if not plays_here(rules.world):
        found.append(outside(rules.world, os.environ))
    return tuple(found)


def summary(benchmark: str) -> Check:
    """How a benchmark stands, without playing it."""
    lacking = ", ".join(check.name for check in parts(rules_of(benchmark)) if not check.ok)
    told = f"lacks {lacking}" if lacking else "its parts are here"
    return Check(benchmark, not lacking, told, f"workbench doctor {benchmark}" if lacking else "")


def plays_here(world: str) -> bool:
    """Whether a world's simulator runs in this process: it is then a package beside this file."""
    return importlib.util.find_spec(f"workbench.benchmarks.{world}") is not None


def outside(world: str, environment: Mapping[str, str]) -> Check:
    """The Python, or the running servers, of a world whose simulator plays in another process."""
    named, variable, server = (
        f"python of {world}",
        f"WORKBENCH_PYTHON_{world.upper()}",
        f"WORKBENCH_SERVER_{world.upper()}",
    )
    if servers := environment.get(server):
        return Check(named, True, f"servers at {servers}")
    remedy = f"Make an environment with {SIMULATORS[world].needs}, and set {variable} to its python."
    if not (given := environment.get(variable)):
        return Check(named, False, f"{variable} is not set", remedy)
    say = [given, "-c", "import platform; print(platform.python_version())"]
    try:
        done = subprocess.run(say, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(named, False, f"{variable}={given} does not start ({type(error).__name__})", remedy)
    if done.returncode:
        return Check(named, False, f"{variable}={given} is no Python", remedy)
    return Check(named, True, f"{done.stdout.strip()}, {given}")


def episode(benchmark: str) -> Check:
    """An expert's episode, or a few still steps where there is no expert, really played."""
    rules = rules_of(benchmark)
    protocol = Protocol.model_validate({"benchmark": benchmark, "tasks": rules.tasks[:1], "initial_states": 1})
    try:
        return _expert(protocol) if rules.expert else _still(protocol)
    except UserError as error:
        return Check("episode", False, "cannot be played", str(error))
    except Exception as error:  # a simulator may raise anything, and that is then what was found
        told = f"{type(error).__name__}: {error}"
        return Check("episode", False, told, f"The simulator of {benchmark} fails here: install it anew, or report it.")


def _expert(protocol: Protocol) -> Check:
    from workbench.evaluate import play_expert

    began = time.perf_counter()
    (played,) = play_expert(protocol)
    outcome, seconds = played.outcome, time.perf_counter() - began
    told = f"{outcome.instruction!r} in {outcome.steps} steps, {seconds:.1f} s"
    if outcome.success:
        return Check("episode", True, f"the expert solved {told}")
    remedy = "The physics differ from those that the expert was made for: compare the simulator's version."
    return Check("episode", False, f"the expert did not solve {told}", remedy)


def _still(protocol: Protocol) -> Check:
    from workbench.benchmarks.registry import open_env

    began = time.perf_counter()
    env = open_env(protocol, 1)
    try:
        still = np.zeros((1, len(env.rules.actions)))
        still[0, -1] = -1.0 if env.rules.gripper == "binary" else 0.0
        observation, info = env.reset(options={"starts": list(protocol.manifest())})
        for _ in range(STILL_STEPS):
            observation, *_ = env.step(still)
    finally:
        env.close()
    told = f"{STILL_STEPS} still steps of {info['task_description'][0]!r}, {time.perf_counter() - began:.1f} s"
    if np.ptp(observation["pixels"]) == 0:
        return Check("episode", False, f"{told}, but the picture is of one colour", "Try another MUJOCO_GL.")
    if not np.isfinite(observation["agent_pos"]).all():
        return Check("episode", False, f"{told}, but the state is not finite", "Compare the simulator's version.")
    return Check("episode", True, told)


def _libero_files() -> Check:
    from workbench.benchmarks.libero.files import ASSETS, find_assets

    try:
        return Check("scene files", True, str(find_assets()))
    except UserError as error:
        named = os.environ.get(ASSETS)
        return Check("scene files", False, f"{ASSETS}={named} will not do" if named else "not found", str(error))


FILES: Mapping[str, Callable[[], Check]] = {"libero": _libero_files}
"""Worlds whose simulator needs files that no package has."""
