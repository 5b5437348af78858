"""Every listed family at a tiny size: its real classes with random weights, a tokenizer trained in place, a processor.

Each row of `TINY` makes a folder as `save_pretrained` makes it; nothing of a real checkpoint is needed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tiny_models import (
    gemma3,
    idefics3,
    internvl,
    kosmos2,
    llava,
    llava_onevision,
    paligemma,
    qwen2_5,
    qwen3,
    qwen3_moe,
    smolvlm,
)
from tiny_processors import (
    gemma3_processor,
    idefics3_processor,
    internvl_processor,
    kosmos2_processor,
    llava_processor,
    onevision_processor,
    paligemma_processor,
    qwen_processor,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from encoders.torchvision_ops import ensure

ensure()

import transformers as hf  # noqa: E402

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
SENTENCES = ["What action should the robotic arm take to lift the red block?", "user assistant Question: Answer:"] * 4


@dataclass(frozen=True)
class Tiny:
    """How a family's folder is made: the special tokens, the configuration, the processor, the chat template."""

    tokens: tuple[str, ...]
    model: Callable[[Callable[[str], int], int], Any]
    """(id of a token, size of the vocabulary) → the model."""
    processor: Callable[[Any], Any]
    """Tokenizer → processor."""
    template: str | None = None
    named: tuple[tuple[str, str], ...] = ()
    """Tokens that the processor asks its tokenizer for by attribute."""
    bos: str = BOS


def train_tokenizer(tiny: Tiny) -> Any:
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = list(dict.fromkeys([PAD, EOS, tiny.bos, *tiny.tokens]))
    trainer = trainers.BpeTrainer(
        vocab_size=400 + len(specials),
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=tiny.bos,
        eos_token=EOS,
        unk_token=PAD,
        extra_special_tokens=dict(tiny.named) or list(tiny.tokens),
    )


def make(family: str, folder: Path) -> Path:
    """The folder of a listed family."""
    return save(TINY[family], folder)


def save(tiny: Tiny, folder: Path) -> Path:
    """The folder of `tiny`, as its authors would have saved it."""
    tokenizer = train_tokenizer(tiny)
    processor = tiny.processor(tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = tiny.model(tokenizer.convert_tokens_to_ids, len(tokenizer))
        for parameter in model.parameters():  # no tensor at zero or one, so that none goes unnoticed
            parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    processor.chat_template = tiny.template
    processor.save_pretrained(folder)
    return folder


def turns(image: str, start: str, between: str, end: str) -> str:
    """A chat template in the family's manner, written for one user's turn of an image and a text."""
    said = "{% for part in messages[0]['content'] %}{% if part['type'] == 'image' %}" + image
    return start + said + "{% else %}{{ part['text'] }}{% endif %}{% endfor %}" + between + end


QWEN_TOKENS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
QWEN_TEMPLATE = turns(
    "<|vision_start|><|image_pad|><|vision_end|>",
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    "<|im_end|>\n",
    "<|im_start|>assistant\n",
)
GEMMA3_TOKENS = ("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>")
GEMMA3_NAMES = (
    ("boi_token", "<start_of_image>"), ("eoi_token", "<end_of_image>"), ("image_token", "<image_soft_token>")
)  # fmt: skip
IDEFICS3_TOKENS = ("<|im_start|>", "<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>")
IDEFICS3_TEMPLATE = turns("<image>", "<|im_start|>User:", "<end_of_utterance>\n", "Assistant:")
INTERNVL_TOKENS = ("<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
INTERNVL_NAMES = (
    ("start_image_token", "<img>"), ("end_image_token", "</img>"), ("context_image_token", "<IMG_CONTEXT>"),
    ("video_token", "<video>"),
)  # fmt: skip

TINY: dict[str, Tiny] = {
    "qwen2_5_vl": Tiny(QWEN_TOKENS, qwen2_5, qwen_processor(14, "Qwen2_5_VLProcessor"), QWEN_TEMPLATE),
    "qwen3_vl": Tiny(QWEN_TOKENS, qwen3, qwen_processor(16, "Qwen3VLProcessor"), QWEN_TEMPLATE),
    "qwen3_vl_moe": Tiny(QWEN_TOKENS, qwen3_moe, qwen_processor(16, "Qwen3VLProcessor"), QWEN_TEMPLATE),
    "paligemma": Tiny(("<image>",), paligemma("gemma"), paligemma_processor),
    "paligemma2": Tiny(("<image>",), paligemma("gemma2"), paligemma_processor),
    "gemma3": Tiny(
        GEMMA3_TOKENS,
        gemma3,
        gemma3_processor,
        turns("<start_of_image>", "<bos><start_of_turn>user\n", "<end_of_turn>\n", "<start_of_turn>model\n"),
        GEMMA3_NAMES,
    ),
    "idefics3": Tiny(IDEFICS3_TOKENS, idefics3, idefics3_processor, IDEFICS3_TEMPLATE, bos="<|im_start|>"),
    "smolvlm": Tiny(IDEFICS3_TOKENS, smolvlm, idefics3_processor, IDEFICS3_TEMPLATE, bos="<|im_start|>"),
    "internvl": Tiny(
        INTERNVL_TOKENS,
        internvl,
        internvl_processor,
        turns("<IMG_CONTEXT>\n", "<|im_start|>user\n", "<|im_end|>\n", "<|im_start|>assistant\n"),
        INTERNVL_NAMES,
    ),
    "llava": Tiny(("<image>",), llava, llava_processor, turns("<image>\n", "USER: ", " ", "ASSISTANT:")),
    "llava_onevision": Tiny(
        ("<image>", "<video>", "<|im_start|>", "<|im_end|>"),
        llava_onevision,
        onevision_processor,
        turns("<image>\n", "<|im_start|>user ", "<|im_end|>", "<|im_start|>assistant\n"),
    ),
    "kosmos-2": Tiny(("<image>", "</image>"), kosmos2, kosmos2_processor, bos="<s>"),
}
"""By family; PaliGemma 2 has PaliGemma's `model_type`."""
