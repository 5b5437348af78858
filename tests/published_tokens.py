"""Folders of the format that `physical-intelligence/fast` is published in, made with the library it was made with."""

import json
from pathlib import Path

import numpy as np
from scipy.fft import dct
from tokenizers import ByteLevelBPETokenizer
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

# N chunks  K steps  A action dimensions


def characters(chunk_KA: np.ndarray, scale: float, lowest: int) -> str:
    """One character for each rounded frequency, counted from `lowest`, which nothing is below."""
    numbers_KA = np.around(np.asarray(dct(chunk_KA, axis=0, norm="ortho")) * scale)
    return "".join(chr(int(number)) for number in np.maximum(numbers_KA.flatten() - lowest, 0))


def write_published(
    folder: Path, chunks_NKA: np.ndarray, *, scale: float = 10.0, lowest: int = -100, vocabulary: int = 512
) -> None:
    """A byte-level tokenizer that is fitted on these chunks, and what its processor is told."""
    letters = [characters(chunk_KA, scale, lowest) for chunk_KA in chunks_NKA]
    tokenizer = ByteLevelBPETokenizer()
    trainer = BpeTrainer(vocab_size=vocabulary, min_frequency=2, show_progress=False, special_tokens=[])
    tokenizer._tokenizer.train_from_iterator(letters, trainer=trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, clean_up_tokenization_spaces=False).save_pretrained(
        folder
    )
    config = {
        "action_dim": None,
        "auto_map": {"AutoProcessor": "processing_action_tokenizer.UniversalActionProcessor"},
        "min_token": lowest,
        "processor_class": "UniversalActionProcessor",
        "scale": scale,
        "time_horizon": None,
        "vocab_size": vocabulary,
    }
    (folder / "processor_config.json").write_text(json.dumps(config))
