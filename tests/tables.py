"""The tabletop's rows and rules, as many and as small as a test needs."""

from workbench.benchmarks.contract import Protocol
from workbench.benchmarks.rules import rules_of
from workbench.benchmarks.tabletop.env import TabletopVectorEnv

RULES = rules_of("tabletop-v1")
REACH = Protocol(tasks=("reach",))


def tables(count: int, side: int = 64) -> TabletopVectorEnv:
    """`count` rows whose pictures are `side` pixels wide."""
    return TabletopVectorEnv(REACH.model_copy(update={"camera": f"front {side}x{side}"}), count)
