"""docs/encoders.md shows the registry as it is."""

from pathlib import Path

import pytest

from encoders.registry import ENCODERS, FORMS, card
from encoders.table import markdown_table, size, statistics

DOCUMENT = (Path(__file__).parents[1] / "docs" / "encoders.md").read_text()


def test_the_documents_table_is_the_registry():
    table = markdown_table()
    assert table in DOCUMENT, "docs/encoders.md: put encoders.table.markdown_table() there"
    assert len(table.splitlines()) == 2 + len(ENCODERS)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_name_is_documented(form: str):
    assert form.partition(":")[0] in DOCUMENT


def test_statistics_have_their_usual_names_and_a_fused_encoder_both():
    assert statistics(card("siglip-base")) == "0.5, bicubic"
    assert statistics(card("resnet-18")) == "ImageNet, bilinear"
    assert statistics(card("dinov2-siglip")) == "ImageNet and 0.5, bicubic"
    odd = card("tiny").model_copy(update={"mean": (0.1, 0.2, 0.3)})
    assert statistics(odd) == "(0.1, 0.2, 0.3) ± (0.5, 0.5, 0.5), bicubic"


def test_sizes_are_short():
    assert [size(n) for n in (0, 893_824, 85_797_120, 687_831_200, 6_716_030_976)] == [
        "0",
        "0.9 M",
        "86 M",
        "0.7 B",
        "6.7 B",
    ]
