"""`workbench power`: the study's own design and others, as a table and as JSON, in seconds."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ablations.screens.power import Assumed, show_power
from ablations.study_file import CONFIGS
from workbench.errors import UserError


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> str:
    """The demo with a few of its episodes: a short simulation."""
    path = tmp_path_factory.mktemp("studies") / "small.toml"
    text = (CONFIGS / "demo.toml").read_text()
    assert "initial_states = 100" in text
    path.write_text(text.replace("initial_states = 100", "initial_states = 8"))
    return str(path)


def test_json_says_what_the_study_and_larger_ones_would_find(small, capsys):
    show_power(small, Assumed(effect=0.4), "json")
    found = json.loads(capsys.readouterr().out)
    assert (found["study"], found["slots"], found["effect"]) == ("demo", 4, 0.4)
    own = [one for one in found["designs"] if one["own"]]
    assert [(one["seeds"], one["episodes"]) for one in own] == [(1, 8)]
    assert {one["seeds"] for one in found["designs"]} == {1, 3, 5, 10}
    largest = found["designs"][-1]
    assert largest["found"] >= 0.8 and largest["mde"] <= 0.4 and largest["false"] <= 0.05
    assert found["enough"]["seeds"] >= 3


def test_the_terminal_says_how_many_seeds_and_episodes_are_enough(small, capsys):
    show_power(small, Assumed(effect=0.4), "terminal")
    text = capsys.readouterr().out
    assert "1 *" in text and "below 3 seeds is screening" in text
    assert "40.0 points are found in 80 % of studies from" in text


def test_an_effect_that_is_too_small_for_all_is_said_to_be(small, capsys):
    show_power(small, Assumed(effect=0.01), "terminal")
    assert "None of these designs finds 1.0 points in 80 % of studies" in capsys.readouterr().out


def test_a_study_without_frozen_slots_has_no_bottleneck_to_find(tmp_path: Path):
    text = (CONFIGS / "demo.toml").read_text()
    for slot in ("projector", "embeddings", "language"):
        text = text.replace(
            f'slot = "{slot}", tune = {{ kind = "frozen" }}', f'slot = "{slot}", tune = {{ kind = "norms" }}'
        )
    path = tmp_path / "lone.toml"
    path.write_text(text)
    with pytest.raises(UserError, match="has no bottleneck to find: .* it has 1 and 1 of them"):
        show_power(str(path), Assumed(effect=0.2), "json")


def test_impossible_effects_and_scatters_are_refused():
    with pytest.raises(UserError, match="An effect of 80.0 points cannot be lost by an arm that succeeds in 70.0 %"):
        Assumed(effect=0.8)
    with pytest.raises(UserError, match="Training seeds cannot scatter by 40.0 points"):
        Assumed(effect=0.2, scatter=0.4)


def test_the_assumed_scatter_is_that_of_success_over_seeds():
    scatter = Assumed(effect=0.2, success=0.6, scatter=0.06).seeds()
    place = stats.norm.ppf(0.6) * scatter.total
    effects = np.random.default_rng(0).normal(size=20_000) * scatter.seed
    by_seed = stats.norm.cdf((place + effects) / np.sqrt(scatter.total**2 - scatter.seed**2))
    assert by_seed.std() == pytest.approx(0.06, rel=0.03)
    assert by_seed.mean() == pytest.approx(0.6, abs=0.005)
