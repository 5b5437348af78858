"""How a sequence is laid out, and what a decoder refuses to be given."""

from pathlib import Path

import pytest
import torch
from tiny_vlms import make

from workbench.backbones.decoder import Layout, rotary_3BL
from workbench.backbones.registry import load_backbone


def test_any_token_count_gets_rotary_positions():
    """Four tokens are a square, three a row; the words after the image go on from its larger edge."""
    mask = torch.tensor([[1, 1, 1, 1, 1, 1, 1, 0, 1]])
    square = rotary_3BL(Layout(mask, image_at=1, image_tokens=4, suffix=1, deep=()))[:, 0]
    assert square[0].tolist() == [0, 1, 1, 1, 1, 3, 4, 4, 5]
    assert square[1].tolist() == [0, 1, 1, 2, 2, 3, 4, 4, 5]
    assert square[2].tolist() == [0, 1, 2, 1, 2, 3, 4, 4, 5]
    row = rotary_3BL(Layout(mask, image_at=1, image_tokens=3, suffix=1, deep=()))[:, 0]
    assert row[1].tolist() == [0, 1, 1, 1, 4, 5, 6, 6, 7] and row[2].tolist() == [0, 1, 2, 3, 4, 5, 6, 6, 7]


def test_a_decoder_refuses_deepstack_layers_that_it_does_not_take(tmp_path: Path):
    ours = load_backbone(str(make("llava", tmp_path)), weights="random", seed=0)
    words = ours.tokenize(["lift the red block"])
    image = torch.zeros(1, 4, 2 * ours.language.width)
    with pytest.raises(ValueError, match="with 0 deepstack layers; these have 128"):
        ours.language(image, ours.embeddings(words.ids_BT), words.mask_BT, torch.zeros(1, 1, ours.language.width))


def test_a_sequence_longer_than_a_sliding_window_is_refused(tmp_path: Path):
    """Padding counts in the window, so that a padded row would see less than the same row alone."""
    ours = load_backbone(str(make("gemma3", tmp_path)), weights="random", seed=0)
    words = ours.tokenize([" ".join(["lift the red block"] * 60)])
    image = torch.zeros(1, 4, ours.language.width)
    with pytest.raises(ValueError, match="longer than the sliding window of 128"):
        ours.language(image, ours.embeddings(words.ids_BT), words.mask_BT, torch.zeros(1, 1, ours.language.width))
