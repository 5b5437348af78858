"""The next actions as FAST tokens, said by the language model (VLM4VLA, arXiv:2601.03309, §4.4; arXiv:2501.09747, §V).

The prompt is the instruction as the policy reads it; the answer is the tokens of the chunk and an end.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.backbones.contract import Words, pad_right
from workbench.errors import UserError
from workbench.objectives.contract import Given, Objective
from workbench.objectives.fast_settings import is_settings, read_settings
from workbench.objectives.fast_tokens import FastTokens, Malformed, fit, published
from workbench.objectives.moments import Moments, Signals
from workbench.policy import Policy

# B moments  N all moments  K steps  A action dimensions  S tokens of an answer, its end among them  V action tokens
# E language width


class Fast(Objective):
    """Cross-entropy over the tokens of the next K actions and their end, each read behind those before it.

    Past an episode's end its last action is repeated, as in finetuning. Action tokens are appended to the vocabulary
    with embeddings and a readout of their own: no token of the text is overwritten, and the backbone's own table and
    head say what they said. New vectors are as long as those of the text.
    """

    def __init__(self, given: Given) -> None:
        super().__init__()
        chunks_NKA = _chunks(given.moments, given.chunk)
        self.tokens = _tokens(given.choice, chunks_NKA)
        self.rows: dict[bytes, list[int]] = {}
        self.error = _error(self.tokens, chunks_NKA, given.choice)
        lengths = [len(self._row(chunk_KA)) for chunk_KA in chunks_NKA]
        self.mean_tokens, self.longest = float(np.mean(lengths)) - 1, max(lengths)
        text_TE = _said(given)
        self.embed = nn.Embedding(self.tokens.vocabulary, text_TE.shape[-1])
        nn.init.normal_(self.embed.weight, std=float(text_TE.pow(2).mean().sqrt()))
        self.readout = nn.Linear(text_TE.shape[-1], self.tokens.vocabulary + 1)

    @property
    def end(self) -> int:
        """The token behind a chunk's last; it is read out and never embedded."""
        return self.tokens.vocabulary

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        answers = self.answers(signals)
        real_BS = answers.mask_BT.bool()
        logits_BSV = self._logits(policy, signals.image_BHWC, signals.words, answers)
        return {"tokens": functional.cross_entropy(logits_BSV[real_BS], answers.ids_BT[real_BS])}

    def answers(self, signals: Signals) -> Words:
        """The token rows `[B, S]` of the moments' chunks, padded on the right."""
        chunks_BKA = _next(signals, self.tokens.steps).cpu().numpy()
        return pad_right([self._row(chunk_KA) for chunk_KA in chunks_BKA], self.end).to(signals.device)

    def products(self) -> Mapping[str, str]:
        return {"action_tokenizer.json": self.tokens.as_json()}

    def told(self) -> Mapping[str, float]:
        """`round-trip-error` is the root mean square over the study's chunks, in units of the normalised actions."""
        return {
            "scale": self.tokens.scale,
            "vocabulary": self.tokens.vocabulary,
            "tokens-per-chunk": self.mean_tokens,
            "round-trip-error": self.error,
        }

    @torch.no_grad()
    def say(self, policy: Policy, image_BHWC: Tensor, words: Words) -> list[list[int]]:
        """The tokens that the model says by itself, the likeliest each time, up to its end or the longest row's."""
        ids_BS = torch.empty((len(image_BHWC), 0), dtype=torch.int64, device=image_BHWC.device)
        for _ in range(self.longest):
            asked_BS = functional.pad(ids_BS.masked_fill(ids_BS == self.end, 0), (0, 1))
            answers = Words(asked_BS, torch.ones_like(asked_BS))  # what stands behind an end is dropped below
            next_B = self._logits(policy, image_BHWC, words, answers)[:, -1].argmax(dim=-1)
            ids_BS = torch.cat([ids_BS, next_B[:, None]], dim=1)
        return [row[: row.index(self.end)] if self.end in row else row for row in ids_BS.tolist()]

    @torch.no_grad()
    def score(self, policy: Policy, signals: Signals) -> Mapping[str, float]:
        """How well the model says these moments' actions, in the mode (training or not) that it is in.

        `accuracy`: share of right tokens, each behind the right ones. `malformed`: share of what it says by itself that
        is no chunk. `error`: root mean square of the other chunks' distance to the demonstrated ones, normalised; NaN
        where there are none.
        """
        answers, wanted_BKA = self.answers(signals), _next(signals, self.tokens.steps).cpu().numpy()
        likeliest_BS = self._logits(policy, signals.image_BHWC, signals.words, answers).argmax(dim=-1)
        right_BS = (likeliest_BS == answers.ids_BT)[answers.mask_BT.bool()]
        errors = []
        for row, wanted_KA in zip(self.say(policy, signals.image_BHWC, signals.words), wanted_BKA, strict=True):
            try:
                errors.append(np.mean((self.tokens.decode(row) - wanted_KA) ** 2))
            except Malformed:
                continue
        return {
            "accuracy": float(right_BS.float().mean()),
            "malformed": 1 - len(errors) / len(wanted_BKA),
            "error": float(np.sqrt(np.mean(errors))) if errors else np.nan,
        }

    def _logits(self, policy: Policy, image_BHWC: Tensor, words: Words, answers: Words) -> Tensor:
        """`[B, S, V + 1]`: what is said at each of the answers' tokens, given those before it."""
        follows_BS = answers.mask_BT[:, 1:]  # a token that nothing follows is not read: an end has no embedding
        said_BSE = self.embed(answers.ids_BT[:, :-1] * follows_BS)
        hidden_BSE = policy.read(image_BHWC, words, said_BSE, follows_BS)
        return self.readout(hidden_BSE.to(self.readout.weight.device)).float()

    def _row(self, chunk_KA: np.ndarray) -> list[int]:
        """The tokens of a chunk and the end; computed once for each."""
        key = chunk_KA.tobytes()
        if key not in self.rows:
            self.rows[key] = [*self.tokens.encode(chunk_KA), self.end]
        return self.rows[key]


def _next(signals: Signals, steps: int) -> Tensor:
    action_BKA, _ = signals.actions(steps)
    return action_BKA


def _chunks(moments: Moments, steps: int) -> np.ndarray:
    """The chunk `[N, K, A]` at every moment."""
    rows_N = torch.arange(len(moments.action))
    return _next(Signals(moments, rows_N, torch.device("cpu"), tuple(rows_N.tolist())), steps).numpy()


def _tokens(choice: str, chunks_NKA: np.ndarray) -> FastTokens:
    """Those of a published tokenizer's folder; without one, fitted on these chunks, as coarse as the choice says."""
    if is_settings(choice):
        wanted = read_settings(choice)
        return fit(chunks_NKA, scale=wanted.scale, vocabulary=wanted.vocabulary)
    _, steps, actions = chunks_NKA.shape
    return published(Path(choice).expanduser(), steps=steps, actions=actions)


def _error(tokens: FastTokens, chunks_NKA: np.ndarray, folder: str) -> float:
    try:
        return tokens.round_trip_error(chunks_NKA)
    except Malformed as error:
        raise UserError(
            f"The action tokenizer in {folder} cannot write these actions ({error}): fit one on the study's own "
            "(objective 'fast-tokens')."
        ) from error


def _said(given: Given) -> Tensor:
    """Embeddings `[…, E]` of the study's instructions, as the language model sees them."""
    words = given.moments.words
    with torch.no_grad():
        place = next(given.policy.embeddings.parameters()).device
        return given.policy.embeddings(words.ids_BT.to(place))[words.mask_BT.bool()].float().cpu()
