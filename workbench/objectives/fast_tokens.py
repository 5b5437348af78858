"""FAST action tokens (Pertsch et al. 2025, arXiv:2501.09747, §V): chunks of actions as few discrete tokens.

A chunk goes through a discrete cosine transform along time, is scaled and rounded, is written out with the lowest
frequencies of all dimensions first, and that string of whole numbers is compressed by byte-pair encoding, which is
fitted on the study's own chunks, or read from a published tokenizer. Everything but the rounding can be undone.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.fft import dct, idct
from tokenizers import Tokenizer, decoders, models, trainers

from workbench.errors import UserError

# N chunks  K steps  A action dimensions

FIRST = 0xE000  # of the private-use characters: one stands for each whole number, so that none is split or normalised
LAST = 0xF8FF
PUBLISHED_LAST = 0xD7FF  # a published tokenizer counts characters from 0; these are the last before the surrogates
LOST = "\N{REPLACEMENT CHARACTER}"  # what a byte-level decoder makes of bytes that are no character


class Malformed(ValueError):
    """Tokens that are no chunk: an unknown one, or too few or too many numbers."""


@dataclass(frozen=True)
class FastTokens:
    """A vocabulary: chunks `[K, A]` in [-1, 1] to token ids and back. It has the numbers `lowest` … `highest`.

    `first` is the character that stands for the lowest number; those that follow stand for the next ones.
    """

    steps: int
    actions: int
    scale: float
    lowest: int
    highest: int
    first: int
    tokenizer: Tokenizer = field(repr=False)

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return self.tokenizer.get_vocab_size()

    def encode(self, chunk_KA: np.ndarray) -> list[int]:
        """The tokens of a chunk. Numbers outside those of the vocabulary are clipped to them."""
        return self.tokenizer.encode(_text(self._numbers(chunk_KA), self.first - self.lowest)).ids

    def decode(self, ids: Sequence[int]) -> np.ndarray:
        """The chunk `[K, A]` of its tokens, float32. Raises `Malformed` for a sequence that is none."""
        if unknown := [id for id in ids if self.tokenizer.id_to_token(id) is None]:
            raise Malformed(f"there is no action token {unknown[0]}; the vocabulary has {self.vocabulary}")
        text = self.tokenizer.decode(list(ids), skip_special_tokens=False)
        if len(text) != self.steps * self.actions or LOST in text:
            known = len(text) - text.count(LOST)
            raise Malformed(f"these tokens hold {known} numbers, a chunk has {self.steps * self.actions}")
        numbers_KA = np.array([ord(letter) - self.first + self.lowest for letter in text], float)
        spectrum_KA = numbers_KA.reshape(self.steps, self.actions) / self.scale
        return np.asarray(idct(spectrum_KA, axis=0, norm="ortho"), np.float32)

    def _numbers(self, chunk_KA: np.ndarray) -> np.ndarray:
        if chunk_KA.shape != (self.steps, self.actions):
            raise ValueError(f"a chunk here is [{self.steps}, {self.actions}], not {list(chunk_KA.shape)}")
        return _spectrum(chunk_KA[None], self.scale)[0].clip(self.lowest, self.highest)

    def round_trip_error(self, chunks_NKA: np.ndarray) -> float:
        """Root mean square of what coding and decoding these chunks changes, in units of the normalised actions.

        Raises `Malformed` where a published vocabulary lacks a number of theirs.
        """
        again = np.stack([self.decode(self.encode(chunk_KA)) for chunk_KA in chunks_NKA])
        return float(np.sqrt(np.mean((again - chunks_NKA) ** 2)))

    def as_json(self) -> str:
        """All of it, as text; `from_json` reads it back."""
        facts = {name: value for name, value in vars(self).items() if name != "tokenizer"}
        return json.dumps(facts | {"tokenizer": json.loads(self.tokenizer.to_str())})

    @classmethod
    def from_json(cls, text: str) -> "FastTokens":
        facts = json.loads(text)
        return cls(**(facts | {"tokenizer": Tokenizer.from_str(json.dumps(facts["tokenizer"]))}))


def fit(chunks_NKA: np.ndarray, *, scale: float = 10.0, vocabulary: int = 1024) -> FastTokens:
    """Fit the vocabulary on chunks in [-1, 1]. The finer the `scale`, the smaller the error and the longer the code.

    It has fewer tokens where there is nothing more to merge. Raises UserError where a vocabulary of this size cannot
    even hold every number once.
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
    tokenizer.decoder = decoders.Fuse()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False, special_tokens=[]
    )
    tokenizer.train_from_iterator(_texts(numbers, FIRST - lowest), trainer)
    _, steps, actions = chunks_NKA.shape
    return FastTokens(steps, actions, scale, lowest, highest, FIRST, tokenizer)


def published(folder: Path, *, steps: int, actions: int) -> FastTokens:
    """A tokenizer as `physical-intelligence/fast` is published, for chunks `[steps, actions]` of any size.

    Read are `processor_config.json` (`scale`, `min_token`) and `tokenizer.json`, a byte-level byte-pair encoding of
    characters that are counted from `min_token`; code that lies beside them is not run. `time_horizon` and
    `action_dim` are the sizes that its `decode` supposes where it is told none; here it always is.
    Raises UserError where the folder holds no such tokenizer.
    """
    config_file, tokenizer_file = folder / "processor_config.json", folder / "tokenizer.json"
    for file in (config_file, tokenizer_file):
        if not file.is_file():
            raise UserError(f"There is no {file}: a published action tokenizer has {file.name} in its folder.")
    try:
        config: Any = json.loads(config_file.read_text())
        scale, lowest = float(config["scale"]), int(config["min_token"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{config_file} is not that of an action tokenizer, whose scale and min_token are numbers: {error!r}"
        ) from error
    if not 0 < scale < np.inf:
        raise UserError(f"The scale in {config_file} is {scale:g}, but what actions are multiplied by is above 0.")
    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
    except Exception as error:  # tokenizers raises nothing narrower
        raise UserError(f"{tokenizer_file} is no tokenizer: {error}") from error
    return FastTokens(steps, actions, scale, lowest, lowest + PUBLISHED_LAST, 0, tokenizer)


def _spectrum(chunks_NKA: np.ndarray, scale: float) -> np.ndarray:
    """Scaled and rounded frequencies, the lowest first: whole numbers [N, K, A]."""
    return np.rint(np.asarray(dct(chunks_NKA, axis=1, norm="ortho")) * scale).astype(np.int64)


def _texts(numbers_NKA: np.ndarray, shift: int) -> Iterable[str]:
    return (_text(numbers_KA, shift) for numbers_KA in numbers_NKA)


def _text(numbers_KA: np.ndarray, shift: int) -> str:
    return "".join(chr(int(number) + shift) for number in numbers_KA.flatten())
