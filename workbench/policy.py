"""The policy: five slots in data-flow order, the minimal adaptation pipeline of VLM4VLA (arXiv:2601.03309, §3.2).

One learnable query token stands last in the sequence; its final hidden state becomes a chunk of actions.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from encoders.contract import Encoder
from workbench.backbones.contract import Language, Words
from workbench.heads import ChunkHead

# B batch  N image tokens  T word tokens  D encoder width  E language width  K action steps  A action dimensions


@dataclass(frozen=True)
class Walk:
    """What was computed on the way, named so that probes need no hooks.

    `arm_BKA` (A without the gripper) lies in [-1, 1]; `grip_BK` are logits of "closed".
    """

    seen_BND: Tensor
    seen_BNE: Tensor
    words_BTE: Tensor
    hidden_BE: Tensor
    arm_BKA: Tensor
    grip_BK: Tensor


class Policy(nn.Module):
    """The five slots. Parameters are named after them, so a name says which slot it belongs to."""

    def __init__(
        self, *, vision: Encoder, projector: nn.Module, embeddings: nn.Module, language: Language, head: ChunkHead
    ):
        super().__init__()
        self.vision = vision
        self.projector = projector
        self.embeddings = embeddings
        self.language = language
        self.head = head
        self.frozen: frozenset[str] = frozenset()

    def train(self, mode: bool = True) -> "Policy":
        """Frozen slots stay in eval mode: dropout and running statistics of a frozen slot never move."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def forward(self, image_BHWC: Tensor, words: Words) -> Walk:
        seen_BND = self.vision(image_BHWC)
        seen_BNE = self.projector(seen_BND)
        words_BTE = self.embeddings(words.ids_BT)
        hidden_BE = self.language(seen_BNE, words_BTE, words.mask_BT, self.head.query_E).query_BE
        arm_BKA, grip_BK = self.head(hidden_BE)
        return Walk(seen_BND, seen_BNE, words_BTE, hidden_BE, arm_BKA, grip_BK)
