"""The policy: five slots in data-flow order, the minimal adaptation pipeline of VLM4VLA (arXiv:2601.03309, §3.2).

One learnable query token stands last in the sequence; the head turns the final hidden states into a chunk of actions.
A policy with proprioception is given the robot's state too, as a token before the query.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from encoders.contract import Encoder
from workbench.backbones.contract import Hidden, Language, Words
from workbench.heads.contract import Head
from workbench.spec import SLOTS, SlotName

# B batch  N image tokens  T word tokens  S tokens of an answer, or the state's width  D encoder width  E language width


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

    def forward(self, image_BHWC: Tensor, words: Words, state_BS: Tensor | None = None) -> Walk:
        """From pixels, words and the robot's state to hidden states; `head.loss` or `head.act` takes them from there.

        The state is what `Head.suffix` takes. Every slot is given its tensors where `places` says that it is; without
        places they stay where they are.
        """
        return self.walk_on(self._seen(image_BHWC), words, state_BS)

    def walk_on(self, seen_BND: Tensor, words: Words, state_BS: Tensor | None = None) -> Walk:
        """The same walk from the encoder's tokens on."""
        state_BS = None if state_BS is None else self._at("head", state_BS)
        return self._walk(seen_BND, words, self.head.suffix(state_BS), None)

    def read(self, image_BHWC: Tensor, words: Words, answer_BSE: Tensor, mask_BS: Tensor) -> Tensor:
        """Hidden states `[B, 1 + S, E]` behind the words' last token and each token of the embedded answer.

        What the language model says next at each of them: the answer's first token, its second, …, its end.
        `mask_BS` is 0 at padding on the answer's right.
        """
        all_BLE = self._walk(self._seen(image_BHWC), words, answer_BSE, mask_BS).hidden.all_BLE
        said = answer_BSE.shape[1]
        last_B = all_BLE.shape[1] - said - words.mask_BT.shape[1] + words.mask_BT.sum(dim=1) - 1
        asked_B1E = all_BLE[torch.arange(len(all_BLE), device=all_BLE.device), last_B.to(all_BLE.device)][:, None]
        return torch.cat([asked_B1E, all_BLE[:, all_BLE.shape[1] - said :]], dim=1)

    def _seen(self, image_BHWC: Tensor) -> Tensor:
        return self.vision(self._at("vision", image_BHWC))

    def _walk(self, seen_BND: Tensor, words: Words, suffix_BSE: Tensor, suffix_mask_BS: Tensor | None) -> Walk:
        seen_BNE = self.projector(self._at("projector", seen_BND))
        words_BTE = self.embeddings(self._at("embeddings", words.ids_BT))
        given = (seen_BNE, words_BTE, words.mask_BT, suffix_BSE)
        mask = None if suffix_mask_BS is None else self._at("language", suffix_mask_BS)
        hidden = self.language(*(self._at("language", tensor) for tensor in given), mask)
        hidden = Hidden(self._at("head", hidden.all_BLE), self._at("head", hidden.mask_BL))
        return Walk(seen_BND, seen_BNE, words_BTE, hidden)

    def _at(self, slot: str, tensor: Tensor) -> Tensor:
        return tensor.to(self.places[slot]) if slot in self.places else tensor
