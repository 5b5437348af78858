"""How the embedded backbone is made: scenes, a tokenizer, the tower's dense stage, then the whole VLM on words.

The recipe, its seed and the held-out scores are saved beside the weights as `recipe.json`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from encoders.torchvision_ops import ensure
from workbench.backbones.embedded import save_backbone, tiny_paligemma, train_tokenizer
from workbench.plan import Budget
from workbench.pretraining.dense import DenseHead, dense_loss, dense_targets
from workbench.pretraining.questions import LOCATIONS, ask
from workbench.pretraining.reading import Asked, Writer, answer_loss, look, read
from workbench.pretraining.scenes import Scenes, render_scenes
from workbench.pretraining.scores import held_out_scores
from workbench.spec import Value
from workbench.train import train

Progress = tuple[str, str, int, int]
"""Stage, what it is for, what is done, what there is to do."""


class Recipe(Value):
    """Everything that the backbone's weights depend on. Two questions are asked of each picture in a batch."""

    scenes: int = Field(40000, ge=100)
    held_out: int = Field(500, ge=50)
    side: int = 64
    patch: int = 16
    width: int = 128
    vision_width: int = 128
    vision_layers: int = 4
    layers: int = 3
    batch: int = Field(32, ge=1)
    questions: int = Field(2, ge=1)
    vision_steps: int = Field(6000, ge=1)
    language_steps: int = Field(6000, ge=1)
    learning_rate: float = 1e-3
    dense_weight: float = 0.5
    seed: int = 0

    def budget(self, steps: int) -> Budget:
        return Budget(
            steps=steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            warmup_steps=min(100, steps // 2),
            weight_decay=0.01,
        )


def pretrain(recipe: Recipe, output: Path) -> Iterator[Progress]:
    """Makes the backbone and saves it as a `save_pretrained` folder; yields progress."""
    ensure()
    title, purpose = "Scenes", "pictures of a table, other cameras, colours and sizes than the benchmark's"
    scenes = None
    for done, part in render_scenes(recipe.scenes, recipe.side, recipe.seed):
        scenes = part
        yield title, purpose, done, recipe.scenes
    assert scenes is not None
    learn, test = scenes.part(recipe.held_out, len(scenes)), scenes.part(0, recipe.held_out)
    random = np.random.default_rng([recipe.seed, 1])
    sentences = [" ".join(ask(learn, int(n), random)) for n in random.integers(0, len(learn), 4000)]
    tokenizer = train_tokenizer(sentences, LOCATIONS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = tiny_paligemma(
            len(tokenizer),
            side=recipe.side,
            patch=recipe.patch,
            width=recipe.width,
            vision_width=recipe.vision_width,
            vision_layers=recipe.vision_layers,
            layers=recipe.layers,
        )
        head = DenseHead(recipe.vision_width)
    yield from _see(recipe, model, head, learn)
    writer = Writer(tokenizer)
    yield from _read_and_see(recipe, model, head, learn, writer)
    scores = held_out_scores(model, writer, test, seed=recipe.seed)
    save_backbone(model, tokenizer, output)
    (output / "recipe.json").write_text(json.dumps({"recipe": recipe.model_dump(), "scores": scores}, indent=1) + "\n")


def _batches(recipe: Recipe, scenes: Scenes, seed: int) -> Iterator[Scenes]:
    random = np.random.default_rng([recipe.seed, seed])
    while True:
        yield scenes.pick(random.integers(0, len(scenes), recipe.batch))


def _see(recipe: Recipe, model: Any, head: DenseHead, scenes: Scenes) -> Iterator[Progress]:
    grid = recipe.side // recipe.patch
    both = torch.nn.ModuleList([model.model.vision_tower, head])
    steps = train(
        both,
        _batches(recipe, scenes, 2),
        loss=lambda batch: dense_loss(head, look(model, batch), dense_targets(batch, grid)),
        budget=recipe.budget(recipe.vision_steps),
    )
    for step in steps:
        yield "Vision tower", "learns what is where in a picture, without words", step.index + 1, recipe.vision_steps


def _read_and_see(recipe: Recipe, model: Any, head: DenseHead, scenes: Scenes, writer: Writer) -> Iterator[Progress]:
    grid, random = recipe.side // recipe.patch, np.random.default_rng([recipe.seed, 3])

    def asked() -> Iterator[Asked]:
        for batch in _batches(recipe, scenes, 4):
            pairs = [ask(batch, n, random) for n in range(len(batch)) for _ in range(recipe.questions)]
            yield writer.rows(batch, pairs)

    def loss(batch: Asked) -> dict[str, Tensor]:
        seen_BND = look(model, batch.scenes)
        dense = dense_loss(head, seen_BND, dense_targets(batch.scenes, grid))
        answers = {"answers": answer_loss(model, read(model, seen_BND, batch), batch)}
        return answers | {name: recipe.dense_weight * part for name, part in dense.items()}

    both = torch.nn.ModuleList([model, head])
    for step in train(both, asked(), loss=loss, budget=recipe.budget(recipe.language_steps)):
        yield "Whole model", "captions, questions and pointing", step.index + 1, recipe.language_steps
