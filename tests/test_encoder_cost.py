import pytest
import torch

from encoders.contract import Encoder
from encoders.cost import flops, images_per_second
from encoders.registry import build_encoder


def outline(name: str) -> Encoder:
    with torch.device("meta"):
        return build_encoder(name, weights="random", seed=0)


def test_the_operations_of_a_transformer_are_those_of_its_matrices():
    """Two for each weight and token, and two for each product of queries, keys and values."""
    encoder = outline("tiny")
    width, tokens, blocks = encoder.card.dim, encoder.card.tokens, len(encoder.blocks)
    matrices = sum(p.numel() for p in encoder.parameters() if p.ndim > 1 and p.shape[0] > 1)
    assert flops(encoder) == 2 * tokens * matrices + blocks * 2 * 2 * tokens**2 * width


def test_two_libraries_of_one_architecture_cost_the_same():
    assert flops(outline("clip-base")) == flops(outline("clip-laion-base")) > 30e9


def test_raw_patches_compute_nothing():
    assert flops(outline("raw-patches")) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_images_a_second_are_counted_without_a_trace(dtype: torch.dtype):
    encoder = build_encoder("tiny", weights="random", seed=0)
    assert images_per_second(encoder, device=torch.device("cpu"), dtype=dtype) > 1
    assert all(p.grad is None and p.dtype == torch.float32 for p in encoder.parameters())
