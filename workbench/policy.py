"""The policy: five slots in data-flow order, the minimal adaptation pipeline of VLM4VLA (arXiv:2601.03309, §3.2).

One learnable query token stands last in the sequence; the head turns the final hidden states into a chunk of actions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from encoders.contract import Encoder
from workbench.backbones.contract import Hidden, Language, Words
from workbench.heads.contract import Head
from workbench.spec import SLOTS, SlotName

# B batch  N image tokens  T word tokens  D encoder width  E language width


def slot_of(parameter: str) -> SlotName:
    """The slot that a parameter of a policy belongs to, by its name."""
    return next(slot for slot in SLOTS if parameter.startswith(f"{slot}."))


@dataclass(frozen=True)
class Walk:
    """What was computed on the way to the head, named so that probes need no hooks."""

    seen_BND: Tensor
    seen_BNE: Tensor
    words_BTE: Tensor
    hidden: Hidden

    @property
    def hidden_BE(self) -> Tensor:
        """The query's final hidden state."""
        return self.hidden.query_BE


class Policy(nn.Module):
    """The five slots. Parameters are named after them, so a name says which slot it belongs to."""

    def __init__(self, *, vision: Encoder, projector: nn.Module, embeddings: nn.Module, language: Language, head: Head):
        super().__init__()
        self.vision = vision
        self.projector = projector
        self.embeddings = embeddings
        self.language = language
        self.head = head
        self.frozen: frozenset[str] = frozenset()
        self.places: dict[str, torch.device] = {}

    def train(self, mode: bool = True) -> "Policy":
        """Frozen slots stay in eval mode: dropout and running statistics of a frozen slot never move."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def forward(self, image_BHWC: Tensor, words: Words) -> Walk:
        """From pixels and words to hidden states; `head.loss` or `head.act` takes them from there.

        Every slot is given its tensors where `places` says that it is; without places they stay where they are.
        """
        seen_BND = self.vision(self._at("vision", image_BHWC))
        seen_BNE = self.projector(self._at("projector", seen_BND))
        words_BTE = self.embeddings(self._at("embeddings", words.ids_BT))
        given = (seen_BNE, words_BTE, words.mask_BT, self.head.query_E)
        hidden = self.language(*(self._at("language", tensor) for tensor in given))
        hidden = Hidden(self._at("head", hidden.all_BLE), self._at("head", hidden.mask_BL))
        return Walk(seen_BND, seen_BNE, words_BTE, hidden)

    def _at(self, slot: str, tensor: Tensor) -> Tensor:
        return tensor.to(self.places[slot]) if slot in self.places else tensor
