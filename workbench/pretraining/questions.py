"""Captions, questions and pointing about a scene, as (prompt, answer) text: what the tiny VLM is taught to answer.

Places are answered as PaliGemma does (arXiv:2407.07726, §3.1): location tokens over a grid of bins,
here `<locNN>`, x then y.
"""

import numpy as np

from workbench.pretraining.scenes import KINDS, SHADES, Scenes

BINS = 32
LOCATIONS = tuple(f"<loc{i:02d}>" for i in range(BINS))
NUMBERS = ("no", "one", "two", "three")
NAMES = tuple(SHADES)
VERBS = ("point to", "find", "where is", "locate", "show me")


def place(at: np.ndarray) -> str:
    """Two location tokens of an image coordinate in 0 … 1."""
    x, y = np.clip((at * BINS).astype(int), 0, BINS - 1)
    return LOCATIONS[x] + LOCATIONS[y]


def name(scenes: Scenes, n: int, m: int) -> str:
    kind = KINDS[scenes.kind[n, m]]
    return f"{NAMES[scenes.colour[n, m]]} {kind}" if scenes.colour[n, m] >= 0 else kind


def relation(a: np.ndarray, b: np.ndarray, near: float = 0.06) -> str:
    """Where image coordinate `a` lies as seen from `b`."""
    dx, dy = a - b
    across = "left" if dx < -near else "right" if dx > near else ""
    along = "above" if dy < -near else "below" if dy > near else ""
    return f"{across} {along}".strip() or "here"


def displacement(a: np.ndarray, b: np.ndarray) -> str:
    """Two location tokens for where `a` lies as seen from `b`: the middle of the grid is "at the same place"."""
    return place(np.clip(a - b + 0.5, 0.0, 1.0))


def ask(scenes: Scenes, n: int, random: np.random.Generator) -> tuple[str, str]:
    """One question about scene `n` and its answer."""
    there = np.flatnonzero(scenes.shown[n])
    things = there[scenes.colour[n, there] >= 0]
    draw = random.random()
    if draw < 0.45 and len(there):
        m = int(random.choice(there))
        return f"{VERBS[random.integers(len(VERBS))]} the {name(scenes, n, m)}", place(scenes.at[n, m])
    if draw < 0.8 and len(there) > 1:
        a, b = (int(m) for m in random.choice(there, 2, replace=False))
        if draw < 0.75:
            far = displacement(scenes.at[n, a], scenes.at[n, b])
            return f"how far is the {name(scenes, n, a)} from the {name(scenes, n, b)}", far
        side = relation(scenes.at[n, a], scenes.at[n, b])
        return f"which side of the {name(scenes, n, b)} is the {name(scenes, n, a)}", side
    if draw < 0.9 and len(things):
        m = int(random.choice(things))
        return f"what is at {place(scenes.at[n, m])}", f"the {name(scenes, n, m)}"
    kind = int(random.integers(2))
    ordered = things[np.argsort(scenes.at[n, things, 0])]
    chosen = [int(m) for m in ordered if scenes.kind[n, m] == kind]
    if draw < 0.94:
        return f"how many {KINDS[kind]}s", NUMBERS[len(chosen)]
    return f"describe the {KINDS[kind]}s", " ".join(NAMES[scenes.colour[n, m]] for m in chosen) or "nothing"
