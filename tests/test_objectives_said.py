"""What a language model is taught to say of pictures holds in unseen episodes, and only where it is true."""

import copy
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.collect import collect
from workbench.data.lerobot import open_dataset
from workbench.objectives.moments import Moments, Signals
from workbench.objectives.questions import known_of, pictures, turns_about
from workbench.objectives.turn import turn_loss
from workbench.plan import Budget
from workbench.policy import Policy
from workbench.pretraining.questions import BINS
from workbench.recipes import Expert
from workbench.skills.contract import Turn
from workbench.spec import Spec
from workbench.training.imitate import ActionScale
from workbench.training.train import train

CPU = torch.device("cpu")
STEPS = 30
"""Of a short training: the embedded backbone knows how to point already, and unlearns it where pictures are others'."""


def moments_of(recipe: Expert, folder: Path, backbone: Backbone) -> Moments:
    dataset = open_dataset(collect(recipe, folder))
    frames, statistics = dataset.frames(range(len(dataset.episodes))), dataset.statistics
    return Moments(frames, ActionScale(statistics["action"]), state=statistics["observation.state"], backbone=backbone)


def turns_of(moments: Moments, backbone: Backbone, rows: list[int], seed: int) -> list[Turn]:
    return turns_about(known_of(moments, backbone), rows, ("pointing",), np.random.default_rng(seed))


def said(policy: Policy, moments: Moments, backbone: Backbone, turns: list[Turn], *, roll: int = 0) -> torch.Tensor:
    """The loss of these turns; with `roll`, about the pictures of others."""
    image_BHWC = pictures(known_of(moments, backbone), turns).roll(roll, dims=0)
    return turn_loss(policy, image_BHWC, [turn.question for turn in turns], [turn.answer for turn in turns], backbone)


def unseeing(taught: list[Turn], judged: list[Turn], backbone: Backbone) -> float:
    """The loss of who says every token as often as it stands at its place in the answers that were taught."""
    known, asked = (backbone.answers([turn.answer for turn in turns]).ids_BT for turns in (taught, judged))
    counts = [Counter(place.tolist()) for place in known.T]
    shares = [
        [(count[token] + 0.1) / (len(known) + 0.1 * BINS) for token in place.tolist()]
        for count, place in zip(counts, asked.T, strict=True)
    ]
    return float(-np.log(shares).mean())


@pytest.mark.slow
def test_pointing_holds_in_episodes_that_were_not_seen_and_not_where_pictures_are_permuted(tmp_path: Path):
    policy, backbone = build(Spec(), 0, chunk=4, root=Path())
    recipe = Expert(tasks=("reach",), episodes=40, split="injection", privileged=True)
    taught = moments_of(recipe, tmp_path / "taught", backbone)
    held_out = moments_of(recipe.model_copy(update={"split": "selection", "episodes": 12}), tmp_path / "held", backbone)
    judged = turns_of(held_out, backbone, list(range(len(held_out.image))) * 2, 1)
    trivial = unseeing(turns_of(taught, backbone, list(range(len(taught.image))) * 4, 2), judged, backbone)

    def learned(*, roll: int) -> float:
        own, speaking = copy.deepcopy((policy, backbone))  # together: what it says with are its embeddings

        def loss(signals: Signals) -> dict[str, torch.Tensor]:
            turns = turns_of(taught, backbone, signals.rows_B.tolist(), int(signals.rows_B.sum()))
            return {"answers": said(own, taught, speaking, turns, roll=roll)}

        batches = islice(taught.batches(16, seed=0, device=CPU), STEPS)
        for _ in train(own, batches, loss=loss, budget=Budget(steps=STEPS, learning_rate=1e-3, warmup_steps=5)):
            pass
        with torch.no_grad():
            return float(said(own.eval(), held_out, speaking, judged))

    found, destroyed = learned(roll=0), learned(roll=1)
    print(f"trivial {trivial:.3f} held out {found:.3f} permuted {destroyed:.3f}")
    assert found < 0.8 * trivial and destroyed > 0.95 * trivial
