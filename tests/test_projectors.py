"""A new projector fits its neighbours by itself: widths, scale and number of tokens."""

import pytest
import torch

from encoders.tiny import CARD
from workbench.projectors import PROJECTORS, build_projector, image_tokens, pooled

SMALL = CARD.model_copy(update={"dim": 48})
"""Sixteen tokens of width 48."""


@pytest.mark.parametrize("name", PROJECTORS)
def test_a_new_projector_starts_at_the_scale_of_the_words_beside_it(name):
    torch.manual_seed(0)
    projector = build_projector(name, SMALL, width=32, scale=0.7, tokens=16)
    seen = torch.randn(64, 16, 48, generator=torch.Generator().manual_seed(1)) * 5 + 2
    assert projector(seen).pow(2).mean().sqrt().item() == pytest.approx(0.7, rel=0.1)


@pytest.mark.parametrize("name", PROJECTORS)
@pytest.mark.parametrize("tokens", [1, 4, 12, 16, 25])
def test_a_new_projector_gives_as_many_tokens_as_it_is_asked_for(name, tokens):
    projector = build_projector(name, SMALL, width=32, scale=1.0, tokens=tokens)
    assert projector(torch.randn(2, 16, 48)).shape == (2, tokens, 32)
    projector.get_submodule("layers.1").bfloat16()  # as a frozen part is stored
    assert image_tokens(projector, SMALL) == tokens


def test_pooling_averages_neighbours_of_the_grid():
    rows = torch.arange(16.0).view(4, 4)
    found = pooled(rows.flatten()[None, :, None], 4).flatten().tolist()
    assert found == [rows[i : i + 2, j : j + 2].mean().item() for i in (0, 2) for j in (0, 2)]


def test_what_is_no_square_is_pooled_along_the_sequence():
    assert pooled(torch.arange(6.0)[None, :, None], 3).flatten().tolist() == [0.5, 2.5, 4.5]
    assert pooled(torch.arange(4.0)[None, :, None], 2).flatten().tolist() == [0.5, 2.5]
    assert pooled(torch.arange(4.0)[None, :, None], 8).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_every_parameter_of_a_resampler_has_a_gradient_and_its_tokens_differ():
    projector = build_projector("resampler", SMALL, width=32, scale=1.0, tokens=4)
    seen = torch.randn(2, 16, 48)
    found = projector(seen)
    found.pow(3).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in projector.parameters())
    assert torch.cdist(found[0], found[0])[0, 1:].min() > 0.1 and not torch.equal(found[0], found[1])
    torch.testing.assert_close(projector(seen.flip(1)), found)  # a set of tokens: their features say where they are
