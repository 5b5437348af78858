"""Studies whose effects are planted: outcomes drawn from logits with seed effects and episode difficulties."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ablations.bottleneck import ArmRecord, SlotFact, StudyRecord
from workbench.plan import Inputs
from workbench.spec import SLOTS

TASKS = ("reach", "lift")


def facts(**changed: SlotFact) -> dict[str, SlotFact]:
    """A pretrained model that is trained in full, but for `changed`."""
    base = {slot: SlotFact("pretrained", "full") for slot in SLOTS} | {"head": SlotFact("random", "full")}
    return base | changed


def pretrained(moved: str) -> SlotFact:
    return SlotFact("pretrained", moved)


def random(moved: str) -> SlotFact:
    return SlotFact("random", moved)


def injected(moved: str, *stages: str, run: str = "0123456789ab") -> SlotFact:
    return SlotFact(f"run:{run}", moved, stages or ("behaviour-cloning",))


def only(*trained: str) -> dict[str, SlotFact]:
    """Everything pretrained and frozen, but for the slots named, and the new head."""
    slots = {slot: pretrained("full" if slot in trained else "frozen") for slot in SLOTS}
    return slots | {"head": random("full" if "head" in trained else "frozen")}


def chance(logit: np.ndarray | float) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(logit)))


class Draw:
    """Draws arms that play the same episodes: harder ones are harder for every arm."""

    def __init__(self, generator: np.random.Generator, *, episodes: int, seed_spread: float = 0.25) -> None:
        self.generator = generator
        self.seed_spread = seed_spread
        self.difficulty_E = generator.normal(size=episodes)

    def outcomes(self, logit: float, seeds: Sequence[int]) -> dict[int, np.ndarray]:
        shape = self.difficulty_E.shape
        shifts = {seed: self.generator.normal() * self.seed_spread for seed in seeds}
        return {
            seed: self.generator.random(shape) < chance(logit + shift + self.difficulty_E)
            for seed, shift in shifts.items()
        }


def arm(name: str, slots: Mapping[str, SlotFact], outcomes: Mapping[int, np.ndarray], **changed: Any) -> ArmRecord:
    usual: dict = dict(
        replaced=False,
        reference=None,
        inputs=Inputs(),
        retrained=False,
        otherwise=(),
        trainable_parameters=412_345,
        seconds=41.0,
        failed={},
        missing=(),
    )
    return ArmRecord(name=name, slots=slots, outcomes=outcomes, **(usual | changed))


def record(arms: Sequence[ArmRecord], **changed: Any) -> StudyRecord:
    episodes = max((outcomes.size for one in arms for outcomes in one.outcomes.values()), default=4)
    usual: dict = dict(
        study="planted",
        question="Which slot holds the policy back?",
        backbone="embedded",
        head="chunk-mlp",
        benchmark="tabletop",
        manifest="9f3c1a5be0d27744",
        selection="last step",
        budget="300 steps of 16",
        tasks=tuple(TASKS[index % len(TASKS)] for index in range(episodes)),
        contrasts=(),
        notes=(),
    )
    return StudyRecord(arms=tuple(arms), **(usual | changed))


def full_study(generator: np.random.Generator, *, seeds: int = 5, episodes: int = 100) -> StudyRecord:
    """Every role once. Planted: vision is the bottleneck, relief agrees, injection wins most of it back."""
    draw, numbers = Draw(generator, episodes=episodes), range(seeds)
    vision_kinds = {
        "freeze-vision": (-0.7, pretrained("frozen")),
        "random-vision-frozen": (-4.0, random("frozen")),
        "random-vision-trained": (-2.5, random("full")),
        "injected-frozen": (0.9, injected("frozen")),
        "injected-trained": (1.6, injected("full")),
    }
    wholes = {
        "all-trained": (1.5, facts()),
        "scratch": (-3.5, {slot: random("full") for slot in SLOTS}),
        "head-only": (-3.0, only("head")),
        "vision-and-head": (-0.5, only("vision", "head")),
        "language-and-head": (-2.0, only("language", "head")),
    }
    arms = [arm(name, slots, draw.outcomes(logit, numbers)) for name, (logit, slots) in wholes.items()]
    arms += [arm(n, facts(vision=fact), draw.outcomes(logit, numbers)) for n, (logit, fact) in vision_kinds.items()]
    for slot in ("projector", "embeddings", "language"):
        kept = facts(**{slot: pretrained("frozen")})
        arms.append(arm(f"freeze-{slot}", kept, draw.outcomes(1.3, numbers)))
    arms.append(arm("blank-image", facts(), draw.outcomes(-4.5, numbers), inputs=Inputs(image="blank")))
    arms.append(arm("blank-instruction", facts(), draw.outcomes(-1.0, numbers), inputs=Inputs(instruction="blank")))
    contrasts = (
        ("freeze cost of vision", "all-trained", "freeze-vision"),
        ("injection gain", "injected-frozen", "freeze-vision"),
    )
    return record(arms, contrasts=contrasts, notes=("One injection seed.",))
