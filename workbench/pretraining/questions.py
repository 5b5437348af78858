"""Captions, questions and pointing about a scene, as (prompt, answer) text: what the tiny VLM is taught to answer.

Places are answered as PaliGemma does (arXiv:2407.07726, §3.1): location tokens over a grid of bins, here `<locNN>`, x then y.
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


def ask(scenes: Scenes, n: int, random: np.random.Generator) -> tuple[str, str]:
    """One question about scene `n` and its answer."""
    there = np.flatnonzero(scenes.shown[n])
    things = there[scenes.colour[n, there] >= 0]
    draw = random.random()
    if draw < 0.55 and len(there):
        m = int(random.choice(there))
        return f"{VERBS[random.integers(len(VERBS))]} the {name(scenes, n, m)}", place(scenes.at[n, m])
    if draw < 0.75 and len(there) > 1:
        a, b = (int(m) for m in random.choice(there, 2, replace=False))
        return f"where is the {name(scenes, n, a)} from the {name(scenes, n, b)}", relation(
            scenes.at[n, a], scenes.at[n, b]
        )
    if draw < 0.87 and len(things):
        m = int(random.choice(things))
        return f"what is at {place(scenes.at[n, m])}", f"the {name(scenes, n, m)}"
    if draw < 0.93:
        kind = int(random.integers(2))
        count = int((scenes.kind[n, things] == kind).sum())
        return f"how many {KINDS[kind]}s", NUMBERS[count]
    ordered = things[np.argsort(scenes.at[n, things, 0])]
    return "describe the picture", " ".join(name(scenes, n, int(m)) for m in ordered) or "nothing"
