import json

import pytest
from test_cli import printed, refused

from encoders.recommendation import recommendation
from encoders.registry import ENCODERS, FORMS, card, parameters


def test_the_list_is_the_registry_and_says_which_other_names_there_are(capsys: pytest.CaptureFixture[str]):
    seen = json.loads(printed(capsys, "encoders", "list", "--format", "json"))
    assert [row["name"] for row in seen["encoders"]] == list(ENCODERS) and tuple(seen["forms"]) == FORMS
    for row in seen["encoders"]:
        facts = card(row["name"])
        stated = (facts.tokens, facts.dim, facts.side, facts.licence, parameters(row["name"]))
        assert stated == tuple(row[key] for key in ("tokens", "width", "side", "licence", "parameters"))
        assert row["source"] == ENCODERS[row["name"]].source
    shown = printed(capsys, "encoders", "list")
    assert "22 M" in shown and "dinov3-license" in shown and "A#READOUT" in shown


@pytest.mark.parametrize("name", ["dinov2-small", "timm:resnet18.tv_in1k", "resnet-18@some.safetensors", "random:tiny"])
def test_the_card_of_any_name_is_shown_whole(capsys: pytest.CaptureFixture[str], name: str):
    seen = json.loads(printed(capsys, "encoders", "show", name, "--format", "json"))
    assert card(name).model_dump(mode="json").items() <= seen.items()
    assert seen["parameters"] == parameters(name) and seen["recommended_readout"] == recommendation(name)
    shown = printed(capsys, "encoders", "show", name)
    assert card(name).licence in shown and f"{parameters(name):,}" in shown


def test_an_unknown_name_is_one_sentence(capsys: pytest.CaptureFixture[str]):
    assert "Did you mean 'dinov2-small'?" in refused(capsys, "encoders", "show", "dinov2-smal")
    assert "cannot be fused token by token" in refused(capsys, "encoders", "show", "fused:tiny+resnet-18")


def test_a_name_made_of_others_is_read_as_they_are():
    own = recommendation("dinov2-base")
    assert "x_norm_patchtokens" in own
    assert all(own in recommendation(name) for name in ("dinov2-base-random", "shuffled:dinov2-base", "dinov2-base@a"))
    assert recommendation("dinov2-base#penultimate").startswith("penultimate, by its name, instead of: last layer")
    assert "ACT" in recommendation("fused:resnet-18+resnet-50") and "timm's" in recommendation("timm:resnet18.tv_in1k")
