"""Which caption goes with this picture? The sigmoid loss of SigLIP (arXiv:2303.15343, §3), on captions of places.

Instructions are no captions: no picture of the table says which of its blocks is asked for. What is said here can be
seen: "the gripper at the top left, a red block in the centre, …".
"""

from collections.abc import Mapping
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.objectives.contract import Given, Objective, Pooled
from workbench.objectives.moments import Signals
from workbench.policy import Policy
from workbench.scene import COLOURS, Scenes

# B moments  M things  P phrases of a caption  H shared width

SHARED = 64
TEMPERATURE = 10.0
"""Its first value (§3.1)."""
BIAS = -3.0
"""The log odds of one match in some twenty captions; the paper's -10 are those of one in 32,000 (§3.1)."""
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
PLACES = len(ROWS) * len(COLUMNS)


class ImageText(Objective):
    """A yes or no for every pair of picture and caption of the batch; summed over captions, as in the paper.

    Captions that are the same go with every picture of theirs. The text tower is the objective's own, trained beside
    the encoder and dropped: of each phrase an embedding of its name times one of its place, and their sum. With one of
    its own for each phrase, captions are sooner learned by heart.
    """

    def __init__(self, given: Given) -> None:
        super().__init__()
        self.phrases = _phrases(given.moments.scenes.kinds)
        self.see = Pooled(given.sizes.dim, SHARED)
        self.name = nn.Embedding(len(self.phrases) // PLACES, SHARED)
        self.place = nn.Embedding(PLACES, SHARED)
        self.log_temperature = nn.Parameter(torch.tensor(TEMPERATURE).log())
        self.bias = nn.Parameter(torch.tensor(BIAS))

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        said_BP = self._numbered(captions(signals.scenes)).to(signals.device)
        seen_BH = functional.normalize(self.see(policy.vision(signals.image_BHWC)).float(), dim=-1)
        said_BPH = self.name(said_BP // PLACES) * self.place(said_BP % PLACES)
        read_BH = functional.normalize(said_BPH.sum(dim=1).float(), dim=-1)
        odds_BB = self.log_temperature.exp() * seen_BH @ read_BH.T + self.bias
        sign_BB = torch.where((said_BP[:, None] == said_BP).all(dim=-1), 1.0, -1.0)
        return {"image-text": -functional.logsigmoid(sign_BB * odds_BB).sum(dim=1).mean()}

    def _numbered(self, said: list[tuple[str, ...]]) -> Tensor:
        return torch.tensor([sorted(self.phrases[phrase] for phrase in caption) for caption in said])


def captions(scenes: Scenes) -> list[tuple[str, ...]]:
    """A phrase for the gripper and for each thing: ("the gripper top left", "a red block middle centre", …)."""
    at_NP2 = np.concatenate([scenes.tip_N2[:, None], scenes.at_NM2], axis=1)
    third_NP2 = np.clip(at_NP2 * 3, 0, 2).astype(int)
    return [
        tuple(
            f"{'the gripper' if thing == 0 else 'a ' + scenes.name(frame, thing - 1)} {ROWS[row]} {COLUMNS[column]}"
            for thing, (column, row) in enumerate(third_NP2[frame])
        )
        for frame in range(len(scenes))
    ]


def _phrases(kinds: tuple[str, ...]) -> dict[str, int]:
    """A number for every phrase that a caption of such things can have: PLACES for each name, in a row."""
    names = ["the gripper", *(f"a {colour} {kind}" for kind in dict.fromkeys(kinds) for colour in COLOURS)]
    return {" ".join(words): number for number, words in enumerate(product(names, ROWS, COLUMNS))}
