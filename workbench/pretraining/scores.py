"""What the pretrained model can do on scenes that it has not seen: the scores that are shipped with the weights."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from workbench.pretraining.questions import BINS, LOCATIONS, ask, name, place
from workbench.pretraining.reading import Writer, look, read
from workbench.pretraining.scenes import Scenes


def _point(scenes: Scenes, n: int, random: np.random.Generator) -> tuple[str, str]:
    m = int(random.choice(np.flatnonzero(scenes.shown[n])))
    return f"point to the {name(scenes, n, m)}", place(scenes.at[n, m])


def held_out_scores(model: Any, writer: Writer, scenes: Scenes, *, seed: int) -> dict[str, float]:
    """What is measured on scenes that the model has not seen.

    `pointing_median` is a share of the image's side, `pointing_near` the share of places within 5 % of it (both over
    scenes that show something to point to), `answers` the share of questions whose every answer token is right,
    given the ones before it.
    """
    model.eval()
    random = np.random.default_rng([seed, 9])
    filled = scenes.pick(np.flatnonzero(scenes.shown.any(axis=1)))
    right = _tokens(model, writer, filled, lambda n: _point(filled, n, random))
    first = writer.tokenizer.convert_tokens_to_ids(LOCATIONS[0])
    said = np.array([row[0][:2] for row in right]) - first
    true = np.array([row[1][:2] for row in right]) - first
    away = np.linalg.norm((said - true) / BINS, axis=1)
    answers = _tokens(model, writer, scenes, lambda n: ask(scenes, n, random))
    model.train()
    return {
        "pointing_median": float(np.median(away)),
        "pointing_near": float(np.mean(away < 0.05)),
        "answers": float(np.mean([np.array_equal(said, true) for said, true in answers])),
    }


def _tokens(
    model: Any, writer: Writer, scenes: Scenes, question: Callable[[int], tuple[str, str]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Said and true answer tokens of one question a scene."""
    found = []
    for start in range(0, len(scenes), 100):
        part = scenes.part(start, min(start + 100, len(scenes)))
        asked = writer.rows(part, [question(start + i) for i in range(len(part))])
        with torch.no_grad():
            said = model.lm_head(read(model, look(model, part), asked)).argmax(-1)
        for row, label in zip(said.numpy(), asked.label_BT.numpy(), strict=True):
            found.append((row[label >= 0], label[label >= 0]))
    return found
