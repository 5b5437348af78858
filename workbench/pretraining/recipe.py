"""How the embedded backbone is made: scenes, a tokenizer, the tower's dense stage, then the whole VLM on words.

The recipe with its seed, the revision and the held-out scores are saved beside the weights as `recipe.json`.
"""

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from encoders.torchvision_ops import ensure
from workbench.backbones.embedded import save_backbone, tiny_paligemma, train_tokenizer
from workbench.plan import Budget
from workbench.pretraining.dense import DenseHead, dense_loss, dense_targets
from workbench.pretraining.questions import LOCATIONS, ask
from workbench.pretraining.reading import Asked, Writer, answer_loss, look, read
from workbench.pretraining.scenes import Scenes, render_scenes
from workbench.pretraining.scores import held_out_scores
from workbench.spec import Value
from workbench.training.train import train

Progress = tuple[str, str, int, int]
"""Stage, what it is for, what is done, what there is to do."""


class Recipe(Value):
    """Everything that the backbone's weights depend on. `questions` are asked of each picture in a batch."""

    scenes: int = Field(40000, ge=100)
    held_out: int = Field(500, ge=50)
    side: int = 64
    patch: int = 16
    width: int = 96
    vision_width: int = 96
    vision_layers: int = 3
    layers: int = 3
    batch: int = Field(16, ge=1)
    questions: int = Field(4, ge=1)
    vision_steps: int = Field(12000, ge=1)
    language_steps: int = Field(8000, ge=1)
    joint_steps: int = Field(3000, ge=1)
    learning_rate: float = 1.2e-3
    joint_learning_rate: float = 4e-4
    dense_weight: float = 0.5
    seed: int = 0

    def budget(self, steps: int, rate: float) -> Budget:
        warmup = min(100, steps // 2)
        return Budget(steps=steps, batch=self.batch, learning_rate=rate, warmup_steps=warmup, weight_decay=0.01)


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
    writer = Writer(tokenizer)
    yield from _see(recipe, model, head, learn)
    yield from _read(recipe, model, learn, writer)
    yield from _read_and_see(recipe, model, head, learn, writer)
    scores = held_out_scores(model, writer, test, seed=recipe.seed)
    save_backbone(model, tokenizer, output)
    made = {"recipe": recipe.model_dump(), "revision": revision(), "scores": scores}
    (output / "recipe.json").write_text(json.dumps(made, indent=1) + "\n")


def revision() -> dict[str, str]:
    """Versions of what makes the weights."""
    return {name: version(name) for name in ("vla-workbench", "torch", "transformers", "mujoco")}


def _rows(recipe: Recipe, count: int, stage: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng([recipe.seed, stage])
    while True:
        yield random.integers(0, count, recipe.batch)


def _asked(recipe: Recipe, scenes: Scenes, writer: Writer, stage: int) -> Iterator[tuple[np.ndarray, Asked]]:
    random = np.random.default_rng([recipe.seed, stage, 5])
    for rows in _rows(recipe, len(scenes), stage):
        part = scenes.pick(rows)
        yield rows, writer.rows(part, [ask(part, n, random) for n in range(len(part)) for _ in range(recipe.questions)])


def _see(recipe: Recipe, model: Any, head: DenseHead, scenes: Scenes) -> Iterator[Progress]:
    """The tower alone, on dense targets."""
    grid = recipe.side // recipe.patch
    steps = train(
        nn.ModuleList([model.model.vision_tower, head]),
        (scenes.pick(rows) for rows in _rows(recipe, len(scenes), 2)),
        loss=lambda batch: dense_loss(head, look(model, batch), dense_targets(batch, grid)),
        budget=recipe.budget(recipe.vision_steps, recipe.learning_rate),
    )
    for step in steps:
        yield "Vision tower", "learns what is where in a picture, without words", step.index + 1, recipe.vision_steps


def _read(recipe: Recipe, model: Any, scenes: Scenes, writer: Writer) -> Iterator[Progress]:
    """Projector and decoder on the finished tower, whose tokens are computed once."""
    with torch.no_grad():
        seen_NND = torch.cat(
            [look(model, scenes.part(i, min(i + 500, len(scenes)))) for i in range(0, len(scenes), 500)]
        )

    def loss(batch: tuple[np.ndarray, Asked]) -> dict[str, Tensor]:
        rows, asked = batch
        return {"answers": answer_loss(model, read(model, seen_NND[torch.from_numpy(rows)], asked), asked)}

    base = model.model
    steps = train(
        nn.ModuleList([base.multi_modal_projector, base.language_model]),  # the head is tied to the embeddings
        _asked(recipe, scenes, writer, 3),
        loss=loss,
        budget=recipe.budget(recipe.language_steps, recipe.learning_rate),
    )
    for step in steps:
        yield (
            "Language",
            "captions, questions and pointing, on the finished tower",
            step.index + 1,
            recipe.language_steps,
        )


def _read_and_see(recipe: Recipe, model: Any, head: DenseHead, scenes: Scenes, writer: Writer) -> Iterator[Progress]:
    """Everything together, at a lower rate."""
    grid = recipe.side // recipe.patch

    def loss(batch: tuple[np.ndarray, Asked]) -> dict[str, Tensor]:
        asked = batch[1]
        seen_BND = look(model, asked.scenes)
        dense = dense_loss(head, seen_BND, dense_targets(asked.scenes, grid))
        answers = {"answers": answer_loss(model, read(model, seen_BND, asked), asked)}
        return answers | {name: recipe.dense_weight * part for name, part in dense.items()}

    steps = train(
        nn.ModuleList([model, head]),
        _asked(recipe, scenes, writer, 4),
        loss=loss,
        budget=recipe.budget(recipe.joint_steps, recipe.joint_learning_rate),
    )
    for step in steps:
        yield "Whole model", "tower and language together", step.index + 1, recipe.joint_steps
