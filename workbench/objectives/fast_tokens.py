"""FAST action tokens (Pertsch et al. 2025, arXiv:2501.09747, §V): chunks of actions as few discrete tokens.

A chunk goes through a discrete cosine transform along time, is scaled and rounded, is written out with the lowest
frequencies of all dimensions first, and that string of whole numbers is compressed by byte-pair encoding, which is
fitted on the study's own chunks. Everything but the rounding can be undone.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.fft import dct, idct
from tokenizers import Tokenizer, models, trainers

from workbench.errors import UserError

# N chunks  K steps  A action dimensions

FIRST = 0xE000  # of the private-use characters: one stands for each whole number, so that none is split or normalised
LAST = 0xF8FF


class Malformed(ValueError):
    """Tokens that are no chunk: an unknown one, or too few or too many numbers."""


@dataclass(frozen=True)
class FastTokens:
    """A fitted vocabulary: chunks `[K, A]` in [-1, 1] to token ids and back. `lowest` is the smallest number seen."""

    steps: int
    actions: int
    scale: float
    lowest: int
    tokenizer: Tokenizer = field(repr=False)

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return self.tokenizer.get_vocab_size()

    def encode(self, chunk_KA: np.ndarray) -> list[int]:
        """The tokens of a chunk. Numbers outside those that were fitted are clipped to them."""
        return self.tokenizer.encode(_text(self._numbers(chunk_KA), self.lowest)).ids

    def decode(self, ids: Sequence[int]) -> np.ndarray:
        """The chunk `[K, A]` of its tokens, float32. Raises `Malformed` for a sequence that is none."""
        tokens = {id: token for token, id in self.tokenizer.get_vocab().items()}
        if unknown := [id for id in ids if id not in tokens]:
            raise Malformed(f"there is no action token {unknown[0]}; the vocabulary has {self.vocabulary}")
        text = "".join(tokens[id] for id in ids)
        if len(text) != self.steps * self.actions:
            raise Malformed(f"these tokens hold {len(text)} numbers, a chunk has {self.steps * self.actions}")
        numbers_KA = np.array([ord(letter) - FIRST + self.lowest for letter in text], float)
        spectrum_KA = numbers_KA.reshape(self.steps, self.actions) / self.scale
        return np.asarray(idct(spectrum_KA, axis=0, norm="ortho"), np.float32)

    def _numbers(self, chunk_KA: np.ndarray) -> np.ndarray:
        if chunk_KA.shape != (self.steps, self.actions):
            raise ValueError(f"a chunk here is [{self.steps}, {self.actions}], not {list(chunk_KA.shape)}")
        highest = max(ord(letter) for letter in self.tokenizer.get_vocab() if len(letter) == 1) - FIRST + self.lowest
        return _spectrum(chunk_KA[None], self.scale)[0].clip(self.lowest, highest)

    def round_trip_error(self, chunks_NKA: np.ndarray) -> float:
        """Root mean square of what coding and decoding these chunks changes, in units of the normalised actions."""
        again = np.stack([self.decode(self.encode(chunk_KA)) for chunk_KA in chunks_NKA])
        return float(np.sqrt(np.mean((again - chunks_NKA) ** 2)))

    def as_json(self) -> str:
        """All of it, as text; `from_json` reads it back."""
        facts = {"steps": self.steps, "actions": self.actions, "scale": self.scale, "lowest": self.lowest}
        return json.dumps(facts | {"tokenizer": json.loads(self.tokenizer.to_str())})

    @classmethod
    def from_json(cls, text: str) -> "FastTokens":
        facts = json.loads(text)
        return cls(**(facts | {"tokenizer": Tokenizer.from_str(json.dumps(facts["tokenizer"]))}))


def fit(chunks_NKA: np.ndarray, *, scale: float = 10.0, vocabulary: int = 1024) -> FastTokens:
    """Fit the vocabulary on chunks in [-1, 1]. The finer the `scale`, the smaller the error and the longer the code.

    Raises UserError where a vocabulary of this size cannot even hold every number once.
    """
    numbers = _spectrum(chunks_NKA, scale)
    lowest, highest = int(numbers.min()), int(numbers.max())
    alphabet = [chr(FIRST + offset) for offset in range(highest - lowest + 1)]
    if len(alphabet) > min(vocabulary, LAST - FIRST + 1):
        raise UserError(
            f"A vocabulary of {vocabulary} action tokens is smaller than the {len(alphabet)} numbers that these "
            f"actions have at scale {scale:g}: take a larger vocabulary or a smaller scale."
        )
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False, special_tokens=[]
    )
    tokenizer.train_from_iterator(_texts(numbers, lowest), trainer)
    return FastTokens(chunks_NKA.shape[1], chunks_NKA.shape[2], scale, lowest, tokenizer)


def _spectrum(chunks_NKA: np.ndarray, scale: float) -> np.ndarray:
    """Scaled and rounded frequencies, the lowest first: whole numbers [N, K, A]."""
    return np.rint(np.asarray(dct(chunks_NKA, axis=1, norm="ortho")) * scale).astype(np.int64)


def _texts(numbers_NKA: np.ndarray, lowest: int) -> Iterable[str]:
    return (_text(numbers_KA, lowest) for numbers_KA in numbers_NKA)


def _text(numbers_KA: np.ndarray, lowest: int) -> str:
    return "".join(chr(FIRST + int(number) - lowest) for number in numbers_KA.flatten())
