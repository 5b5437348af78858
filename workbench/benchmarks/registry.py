"""From a protocol to the simulator that plays it: one row a world."""

from workbench.benchmarks.contract import Protocol
from workbench.benchmarks.env import BenchmarkEnv
from workbench.benchmarks.rules import camera_size, rules_of

FILMED = 256
"""Pixels of a film's shorter side, at least."""


def open_env(protocol: Protocol, count: int) -> BenchmarkEnv:
    """`count` rows of the protocol's benchmark. Raises UserError, with the remedy, where its simulator is missing."""
    rules = rules_of(protocol.benchmark)
    match rules.world:
        case "tabletop":
            from workbench.benchmarks.tabletop.env import TabletopVectorEnv

            return TabletopVectorEnv(protocol, count)
        case "metaworld":
            from workbench.benchmarks.metaworld.env import MetaWorldEnv

            return MetaWorldEnv(protocol, count)
        case "libero":
            from workbench.benchmarks.libero.env import LiberoEnv

            return LiberoEnv(protocol, count)
        case "calvin" | "simpler" | "maniskill" | "libero_plus":
            from workbench.benchmarks.remote.client import RemoteEnv
            from workbench.benchmarks.remote.simulators import SIMULATORS

            return RemoteEnv(protocol, count, SIMULATORS[rules.world])
        case world:
            raise AssertionError(f"no world named {world}")


def open_film_env(protocol: Protocol) -> BenchmarkEnv:
    """One row for filming: the same camera, drawn larger."""
    name = protocol.camera.rpartition(" ")[0]
    width, height = (
        side * max(1, FILMED // min(camera_size(protocol.camera))) for side in camera_size(protocol.camera)
    )
    return open_env(protocol.model_copy(update={"camera": f"{name} {width}x{height}"}), 1)
