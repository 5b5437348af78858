"""The embedded backbone: a real PaliGemma with a tiny configuration and a tokenizer trained in place.

Small enough to train on a CPU, and otherwise what a GPU user runs: `PaliGemmaForConditionalGeneration`
(SigLIP vision tower, linear projector, Gemma decoder with a bidirectional prefix), saved with `save_pretrained`
and loaded through the same door as any other backbone.
"""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

PAD, BOS, EOS, IMAGE = "<pad>", "<bos>", "<eos>", "<image>"


def train_tokenizer(sentences: list[str], extra: tuple[str, ...], vocabulary: int = 512) -> Any:
    """A byte-level BPE tokenizer fitted on `sentences`; `extra` are whole tokens (locations)."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(extra),
        special_tokens=[PAD, EOS, BOS, IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS)
    fast.add_special_tokens({"additional_special_tokens": [IMAGE, *extra]})
    return fast


def tiny_paligemma(
    vocabulary: int, side: int, patch: int, width: int, vision_width: int, vision_layers: int, layers: int
) -> Any:
    """A `PaliGemmaForConditionalGeneration` with a tiny configuration and random weights."""
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

    config = PaliGemmaConfig(
        text_config=dict(
            model_type="gemma",
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=width // 4,
            max_position_embeddings=512,
            hidden_activation="silu",
            use_cache=False,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=2,
        ),
        vision_config=dict(
            model_type="siglip_vision_model",
            hidden_size=vision_width,
            intermediate_size=4 * vision_width,
            num_hidden_layers=vision_layers,
            num_attention_heads=4,
            hidden_act="gelu",
            image_size=side,
            patch_size=patch,
            projection_dim=width,
            vision_use_head=False,
        ),
        image_token_index=3,
        projection_dim=width,
        hidden_size=width,
    )
    return PaliGemmaForConditionalGeneration(config)


def save_backbone(model: Any, tokenizer: Any, folder: Path) -> None:
    """A folder for `AutoModelForImageTextToText` and `AutoProcessor`, offline: weights, tokenizer, image processor."""
    from transformers import PaliGemmaProcessor
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    vision = model.config.vision_config
    pixels: Any = SiglipImageProcessorPil(
        size={"height": vision.image_size, "width": vision.image_size}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    pixels.image_seq_length = (vision.image_size // vision.patch_size) ** 2
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    PaliGemmaProcessor(image_processor=pixels, tokenizer=tokenizer).save_pretrained(folder)
