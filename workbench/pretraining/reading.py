"""Questions as token rows, and the model's own forward over picture and words."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workbench.backbones.embedded import BOS
from workbench.pretraining.scenes import Scenes

# B scenes  Q questions a scene  N image tokens  T word tokens  D tower width  E decoder width


@dataclass(frozen=True)
class Asked:
    """Q questions with their answers as one sequence each: B·Q rows, T tokens; `label_BT` is -100 but on answers."""

    scenes: Scenes
    ids_BT: Tensor
    type_BT: Tensor
    mask_BT: Tensor
    label_BT: Tensor

    def __repr__(self) -> str:
        return f"{len(self.scenes)} scenes, {len(self.ids_BT)} questions"


class Writer:
    """Turns questions into token rows: `<bos> question \\n` is the prefix, `answer <eos>` the suffix."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self.known: dict[str, list[int]] = {}
        self.start = tokenizer.convert_tokens_to_ids(BOS)

    def ids(self, text: str) -> list[int]:
        if text not in self.known:
            self.known[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self.known[text]

    def rows(self, scenes: Scenes, pairs: list[tuple[str, str]]) -> Asked:
        end = self.tokenizer.eos_token_id
        # the line's end belongs to the question: tokenised by itself it would be another token than at fine-tuning
        rows = [([self.start, *self.ids(f"{q}\n")], [*self.ids(a), end]) for q, a in pairs]
        longest = max(len(q) + len(a) for q, a in rows) - 1
        ids, kind = np.zeros((len(rows), longest), np.int64), np.ones((len(rows), longest), np.int64)
        mask, label = np.zeros_like(ids), np.full_like(ids, -100)
        for i, (question, answer) in enumerate(rows):
            both = question + answer
            ids[i, : len(both) - 1], mask[i, : len(both) - 1] = both[:-1], 1
            kind[i, : len(question)] = 0
            label[i, len(question) - 1 : len(both) - 1] = answer
        return Asked(scenes, *(torch.from_numpy(x) for x in (ids, kind, mask, label)))


def look(model: Any, scenes: Scenes) -> Tensor:
    """The tower's tokens `[B, N, D]` of the scenes' pictures."""
    pixels = torch.from_numpy(scenes.image).permute(0, 3, 1, 2).float() / 127.5 - 1
    return model.model.vision_tower(pixels).last_hidden_state


def read(model: Any, seen_BND: Tensor, asked: Asked) -> Tensor:
    """The decoder's hidden states over the words, `[B·Q, T, E]`, through the class's own forward."""
    image = model.model.multi_modal_projector(seen_BND)
    image = image.repeat_interleave(len(asked.ids_BT) // len(image), dim=0)
    prefix = asked.mask_BT.new_ones(len(image), image.shape[1])
    hidden = model.model(
        inputs_embeds=torch.cat([image, model.get_input_embeddings()(asked.ids_BT)], dim=1),
        attention_mask=torch.cat([prefix, asked.mask_BT], dim=1),
        token_type_ids=torch.cat([torch.zeros_like(prefix), asked.type_BT], dim=1),
        use_cache=False,
    ).last_hidden_state
    return hidden[:, image.shape[1] :]


def answer_loss(model: Any, hidden: Tensor, asked: Asked) -> Tensor:
    said = asked.label_BT >= 0
    return functional.cross_entropy(model.lm_head(hidden[said]), asked.label_BT[said])
