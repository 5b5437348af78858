"""What every backbone gives the policy: the four slots that it was trained with, as separate modules."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from encoders.contract import Encoder

# B batch  N image tokens  T word tokens  L = N + T + 1 positions of the sequence  E language width


@dataclass(frozen=True)
class Words:
    """Tokenised prompts, image left out: `ids_BT` and `mask_BT` (1 = a token, 0 = padding on the right), int64."""

    ids_BT: Tensor
    mask_BT: Tensor

    def to(self, device: torch.device) -> "Words":
        return Words(self.ids_BT.to(device), self.mask_BT.to(device))


@dataclass(frozen=True)
class Hidden:
    """The decoder's final hidden states, the suffix's last; `mask_BL` is 1 where a token stands."""

    all_BLE: Tensor
    mask_BL: Tensor

    @property
    def query_BE(self) -> Tensor:
        """Of a suffix that is the query alone."""
        return self.all_BLE[:, -1]


class Language(nn.Module, ABC):
    """The decoder without its embeddings: lays out image, words and suffix as it was trained, and reads them.

    The suffix is what is said to them: a policy's query, or an answer, each token of which sees those before it.
    """

    width: int
    """E."""
    image_at: int
    """How many word tokens stand before the image: the prompt's head, the same for every instruction."""
    passes: tuple[str, ...]
    """What is handed to the decoder beside the embeddings, in words, for the record."""
    prefix_once: bool = False
    """Whether image and words, where nothing that is trained stands before them, are read without a gradient.

    Then only the suffix has one, and reads them from a cache. The sums are the same in another order, so losses differ
    in their last bits from those of the whole pass. `adapt` decides it.
    """

    @property
    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks, first to last."""

    @abstractmethod
    def forward(
        self,
        seen_BNE: Tensor,
        words_BTE: Tensor,
        mask_BT: Tensor,
        suffix_BSE: Tensor,
        suffix_mask_BS: Tensor | None = None,
    ) -> Hidden:
        """The final hidden states, the suffix's last; one suffix `[1, S, E]` serves every row, as a query does.

        `suffix_mask_BS` is 0 at padding on the suffix's right; None: nothing of it is padding. `seen_BNE` has E
        channels, or E for each of 1 + k layers where the decoder takes k deepstack layers.
        """


class LmHead(nn.Module):
    """The model's own head over its vocabulary; Gemma 2 bounds its logits (arXiv:2408.00118, §2)."""

    def __init__(self, native: nn.Module, bound: float | None) -> None:
        super().__init__()
        self.native = native
        self.bound = bound

    def forward(self, hidden_E: Tensor) -> Tensor:
        logits_V = self.native(hidden_E)
        return logits_V if self.bound is None else self.bound * (logits_V / self.bound).tanh()


@dataclass(frozen=True)
class Backbone:
    """A vision-language model taken apart; `tokenize` wraps instructions in `chat` and turns them into `Words`."""

    name: str
    family: str
    """The configuration's `model_type`."""
    vision: Encoder
    projector: nn.Module
    embeddings: nn.Module
    language: Language
    tokenize: Callable[[Sequence[str]], Words]
    prompt: str
    """What the user says, with `{instruction}` left open."""
    chat: str
    """The whole text that is tokenised, image placeholder and `{instruction}` left open."""
    lm_head: LmHead
    """[…, E] → logits over the vocabulary. Where the family ties it, its weight is that of the embeddings."""
    answers: Callable[[Sequence[str]], Words]
    """Tokenises answers, each with the token that ends it, padded on the right."""
    unused_parameters: int

    @property
    def passes(self) -> tuple[str, ...]:
        """What the decoder is given beside the embeddings, in words, for the record."""
        return self.language.passes


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """The transformer blocks in a module of transformers, first to last: it gives all of them one base class."""
    from encoders.torchvision_ops import ensure

    ensure()
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [inner for inner in module.modules() if isinstance(inner, GradientCheckpointingLayer)]


def pad_right(rows: Sequence[Sequence[int]], pad: int) -> Words:
    """Token rows of any length as one rectangle, padded on the right."""
    longest = max(len(row) for row in rows)
    ids = [[*row, *[pad] * (longest - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    return Words(torch.tensor(ids, dtype=torch.int64), torch.tensor(mask, dtype=torch.int64))
