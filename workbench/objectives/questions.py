"""Answers to questions about the pictures of demonstrations, said by the language model (arXiv:2601.03309, §4.3)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workbench.backbones.contract import Backbone
from workbench.objectives.contract import Given, Objective
from workbench.objectives.moments import Moments, Signals
from workbench.objectives.turn import own_head, turn_loss
from workbench.policy import Policy
from workbench.skills.contract import Known, Turn
from workbench.skills.facts import is_file, skill_names
from workbench.skills.files import read_questions
from workbench.skills.places import levels, places
from workbench.skills.registry import ASK

# B moments  H, W pixels


class Questions(Objective):
    """A turn about each moment, of one of some skills drawn anew for each.

    Raises UserError where the data do not say what is where.
    """

    def __init__(self, given: Given, skills: Sequence[str]) -> None:
        super().__init__()
        known_of(given.moments, given.backbone)
        self.backbone = given.backbone
        self.skills = tuple(skills)
        self.head = own_head(given.policy, given.backbone)

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        random = np.random.default_rng(int(torch.randint(2**31, ())))
        known, rows = known_of(signals.source, self.backbone), signals.rows_B.tolist()
        turns = turns_about(known, rows, self.skills, random)
        image_BHWC = pictures(known, turns).to(signals.device)
        questions, answers = [turn.question for turn in turns], [turn.answer for turn in turns]
        return {"answers": turn_loss(policy, image_BHWC, questions, answers, self.backbone)}


def known_of(moments: Moments, backbone: Backbone) -> Known:
    return Known(moments.frames, moments.scenes, places(backbone), levels(backbone))


def turns_about(known: Known, rows: Sequence[int], skills: Sequence[str], random: np.random.Generator) -> list[Turn]:
    """One turn about each of these frames."""
    return [ASK[skills[int(random.integers(len(skills)))]](known, row, random) for row in rows]


def pictures(known: Known, turns: Sequence[Turn]) -> Tensor:
    """`[B, H, W, 3]` uint8."""
    return torch.from_numpy(np.stack([known.picture(turn) for turn in turns]))


class WrittenQuestions(Objective):
    """Turns of a file, drawn anew at each step, as many as there are moments; what these show is not looked at.

    Raises UserError for a file that cannot be used.
    """

    def __init__(self, given: Given, file: Path) -> None:
        super().__init__()
        self.backbone = given.backbone
        self.written = read_questions(file)
        self.head = own_head(given.policy, given.backbone)

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        drawn = [self.written[i] for i in torch.randint(len(self.written), (len(signals.frames),)).tolist()]
        side = policy.vision.card.side
        image_BHWC = torch.from_numpy(np.stack([turn.image(side) for turn in drawn])).to(signals.device)
        questions, answers = [turn.question for turn in drawn], [turn.answer for turn in drawn]
        return {"answers": turn_loss(policy, image_BHWC, questions, answers, self.backbone)}

    def told(self) -> Mapping[str, float]:
        return {"questions": len(self.written)}


def questions(given: Given) -> Objective:
    """Of the skill behind the colon, of all of them, or of a file."""
    if is_file(given.choice):
        return WrittenQuestions(given, Path(given.choice).expanduser())
    return Questions(given, skill_names(given.choice))
