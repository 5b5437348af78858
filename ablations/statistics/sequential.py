"""Comparing two policies while they play, and stopping when it is clear: an e-process on discordant episodes.

Two trained policies play the same episodes, in an order that was drawn at random. Where they are equally good, the one
that wins a discordant episode (won by one of them alone) is decided by a fair coin. A bettor who starts with 1 and bets
on the coin has, at any time, at most 1 in expectation, and reaches 1 / alpha with probability alpha at most (Ville
1939). So one may look after every episode, stop whenever one likes, and still err in at most alpha of all comparisons.

The bets are those of a uniform mixture over the chance of a win (Robbins 1970; Waudby-Smith and Ramdas 2024). What is
compared are these two policies, not the arms they stand for: the latter takes training seeds, and `contrast`. Success
rates of an evaluation that was stopped early lean towards the reason why it stopped.
"""

# E episodes

from typing import Literal

import numpy as np
from scipy import special

from ablations.statistics.interval import ALPHA

Question = Literal["different", "better"]


def e_values(wins: np.ndarray, losses: np.ndarray, *, question: Question = "different") -> np.ndarray:
    """What the bettor holds after so many discordant episodes won and lost by the first policy, int [...], to float.

    "different" bets on both sides of one half; "better" only on a chance above one half, so that it is valid against
    "equally good or worse".
    """
    log_e = (wins + losses) * np.log(2.0) + special.betaln(1.0 + wins, 1.0 + losses)
    with np.errstate(over="ignore"):  # beyond the largest float the answer is infinity, and clear
        e = np.exp(log_e)
        if question == "different":
            return e
        above = special.betaincc(1.0 + wins, 1.0 + losses, 0.5)
        return np.where(above > 0, np.exp(log_e + np.log(2.0 * np.maximum(above, np.finfo(float).tiny))), 0.0)


def decided_at(
    first: np.ndarray, second: np.ndarray, *, alpha: float = ALPHA, question: Question = "different"
) -> np.ndarray:
    """After how many episodes it is decided, int [...]; 0 where it never is.

    `first` and `second` are outcomes bool [..., E] of two policies, in the order played.
    """
    wins, losses = (first & ~second).cumsum(-1), (second & ~first).cumsum(-1)
    clear = e_values(wins, losses, question=question) >= 1 / alpha
    return np.where(clear.any(-1), clear.argmax(-1) + 1, 0)
