"""The embedded policy and its data as one would write them without a workbench: torch, transformers, pyarrow, Pillow.

Only for `training_peers.py`. The model, its first weights, the batches and their order are the workbench's, so that
the losses are too. Of our packages only the remedy for a torchvision without operators is imported.
"""

import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from encoders.torchvision_ops import ensure

ensure()

from transformers import AutoModelForImageTextToText, AutoTokenizer  # noqa: E402

# B batch  T word tokens  E language width  K action steps


@dataclass(frozen=True)
class Job:
    """What is trained, on what and how long. `frozen` names parts of the backbone's model."""

    backbone: Path
    data: Path
    output: Path
    frozen: tuple[str, ...]
    steps: int
    batch: int
    chunk: int
    learning_rate: float
    warmup: int
    clip: float
    seed: int


class PlainPolicy(nn.Module):
    """PaliGemma, a query at its end and two small heads that read it; `forward` gives the loss, as Trainer likes it."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        model = AutoModelForImageTextToText.from_pretrained(job.backbone).float()
        self.model, self.chunk = model.model, job.chunk
        self.tokenizer = AutoTokenizer.from_pretrained(job.backbone)
        width = model.config.text_config.hidden_size
        torch.manual_seed(job.seed)
        start = torch.tensor(self.tokenizer("<bos>\n", add_special_tokens=False)["input_ids"][-1])
        self.query_E = nn.Parameter(self.words(start).detach().clone())
        hidden = min(1024, 2 * width)
        self.trunk = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU())
        self.arm = nn.Sequential(nn.Linear(hidden, hidden // 2), nn.GELU(), nn.Linear(hidden // 2, job.chunk * 6))
        self.grip = nn.Sequential(nn.Linear(hidden, hidden // 4), nn.GELU(), nn.Linear(hidden // 4, job.chunk))
        for name in job.frozen:
            self.model.get_submodule(name).requires_grad_(False)

    def words(self, ids: Tensor) -> Tensor:
        return self.model.language_model.embed_tokens(ids)

    def forward(self, image: Tensor, ids: Tensor, mask: Tensor, action: Tensor, padded: Tensor) -> dict[str, Tensor]:
        pixels = image.permute(0, 3, 1, 2).float().contiguous() / 255 * 2 - 1
        seen = self.model.multi_modal_projector(self.model.vision_tower(pixels).last_hidden_state)
        batch, one = len(image), mask.new_ones(len(image), 1)
        embeds = torch.cat([seen, self.words(ids), self.query_E.expand(batch, 1, -1)], dim=1)
        mask = torch.cat([one.expand(-1, seen.shape[1]), mask, one], dim=1)
        types = torch.zeros_like(mask)
        types[:, -1] = 1
        read = self.model(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=mask.cumsum(dim=1),
            token_type_ids=types,
            use_cache=False,
        ).last_hidden_state[:, -1]
        trunk = self.trunk(read)
        arm, grip = self.arm(trunk).tanh().unflatten(-1, (self.chunk, -1)), self.grip(trunk)
        closed = (action[..., -1] > 0).float()
        wrong = (arm - action[..., :6]).abs().mean(-1)
        missed = functional.binary_cross_entropy_with_logits(grip, closed, reduction="none")
        real = (~padded).float()
        return {"loss": ((wrong + 0.1 * missed) * real).sum() / real.sum()}


class Demonstrations(Dataset):
    """A LeRobot dataset in memory: frames, words, the next K actions scaled by their quantiles."""

    def __init__(self, job: Job, tokenizer: Any) -> None:
        tables = [parquet.read_table(path) for path in sorted((job.data / "data").rglob("*.parquet"))]
        columns = {name: [v for table in tables for v in table[name].to_pylist()] for name in tables[0].column_names}
        pictures = [Image.open(io.BytesIO(one["bytes"])) for one in columns["observation.images.front"]]
        self.image = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
        tasks = parquet.read_table(job.data / "meta" / "tasks.parquet").to_pylist()
        texts = [row["task"] for row in sorted(tasks, key=lambda row: row["task_index"])]
        words = tokenizer([f"<bos>{text}\n" for text in texts], add_special_tokens=False, padding=True,
                          padding_side="right", return_tensors="pt")  # fmt: skip
        task = torch.tensor(columns["task_index"])
        self.ids, self.mask = words["input_ids"][task], words["attention_mask"][task]
        statistics = json.loads((job.data / "meta" / "stats.json").read_text())["action"]
        low, high = (np.array(statistics[name])[:6] for name in ("q01", "q99"))
        raw, half = np.array(columns["action"], np.float32), (high - low) / 2
        arm = np.where(half > 0, (raw[:, :6] - (high + low) / 2) / np.where(half > 0, half, 1), 0).clip(-1, 1)
        action = np.concatenate([arm, np.sign(raw[:, 6:])], axis=1).astype(np.float32)
        episode = np.array(columns["episode_index"])
        ends = np.append(np.flatnonzero(np.diff(episode)), len(episode) - 1)
        last = ends[np.searchsorted(ends, np.arange(len(episode)))]
        wanted = np.arange(len(episode))[:, None] + np.arange(job.chunk)
        self.action = torch.from_numpy(action[np.minimum(wanted, last[:, None])])
        self.padded = torch.from_numpy(wanted > last[:, None])

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        columns = {"image": self.image, "ids": self.ids, "mask": self.mask, "action": self.action}
        return {name: column[row] for name, column in columns.items()} | {"padded": self.padded[row]}


class Order:
    """The rows of each batch: permutations one after the other, cut into batches."""

    def __init__(self, count: int, job: Job) -> None:
        random, wanted = np.random.default_rng(job.seed), job.steps * job.batch
        rows = np.concatenate([random.permutation(count) for _ in range(-(-wanted // count))])[:wanted]
        self.batches = rows.reshape(job.steps, job.batch).tolist()

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


def loader(job: Job, tokenizer: Any) -> DataLoader:
    data = Demonstrations(job, tokenizer)
    return DataLoader(data, batch_sampler=Order(len(data), job))


def optimiser(job: Job, model: nn.Module) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW with linear warm-up, then cosine to zero."""

    def share(step: int) -> float:
        if step < job.warmup:
            return (step + 1) / (job.warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - job.warmup) / max(1, job.steps - job.warmup)))

    moving = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(moving, lr=job.learning_rate, weight_decay=0.0, fused=True)
    return adam, torch.optim.lr_scheduler.LambdaLR(adam, share)
