"""Every format shows the same figures; none of them shows a failed arm as a success of 0."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from planted import arm, full_study
from rich.console import Console

from ablations.bottleneck import bottleneck
from ablations.notation import count, duration, effect, percent, points, probability
from ablations.report.columns import sections
from ablations.report.latex import escaped
from ablations.report.terminal import print_table
from ablations.report.text import WRITERS
from ablations.report.whiskers import Axis
from ablations.table import Figure, Table


def figure(value: float, low: float, high: float, *, seeds: int = 5) -> Figure:
    return Figure(value=value, low=low, high=high, seeds=seeds)


@pytest.fixture(scope="module")
def table() -> Table:
    study = full_study(np.random.default_rng(0), episodes=60)
    broken = arm("freeze_all & more", {}, {}, failed={0: "loss is NaN at step 12"}, missing=(1, 2), seconds=None)
    waiting = arm("not-yet", {}, {}, trainable_parameters=None, missing=(0,))
    declared = (*study.contrasts, ("not played", "all-trained", "not-yet"))
    return bottleneck(replace(study, arms=(*study.arms, broken, waiting), contrasts=declared))


def printed(table: Table, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        print_table(table, console)
    return capture.get()


def test_figures_are_written_in_points_with_their_interval():
    assert points(figure(0.123, 0.04, 0.201)) == "+12.3 [4.0, 20.1]"
    assert points(figure(-0.05, -0.1, 0.0)) == "−5.0 [−10.0, 0.0]"
    assert points(figure(-0.0001, -0.1, 0.1)) == "+0.0 [−10.0, 10.0]"
    assert points(figure(0.1, -0.1, 0.3, seeds=2)).endswith("]*")
    assert percent(figure(0.625, 0.51, 0.728)) == "62.5 [51.0, 72.8]"
    assert points(None) == percent(None) == effect(None) == probability(None) == count(None) == duration(None) == "–"


def test_other_numbers_are_written_for_reading():
    assert (effect(0.1234), effect(1.4)) == ("12.3", ">100")
    assert (probability(0.0002), probability(0.0123), probability(0.5)) == ("<0.001", "0.012", "0.50")
    assert (count(412_345), count(12_345_678), count(7_100_000_000)) == ("412,345", "12.3M", "7.1B")
    assert (duration(41), duration(600), duration(12_600)) == ("41 s", "10 min", "3.5 h")


def test_every_text_format_shows_the_verdict_each_arm_and_each_freeze_cost(table):
    for name, write in WRITERS.items():
        text = write(table)
        assert text.strip(), name
        for one in table.arms:
            shown = escaped(one.name) if name == "latex" else one.name.replace("_", "\\_")
            assert shown in text or one.name in text, (name, one.name)
    cost = points(table.slots[0].freeze_cost)
    assert cost.replace("[", "\\[") in WRITERS["markdown"](table)
    assert escaped(cost) in WRITERS["latex"](table)
    assert cost in WRITERS["csv"](table)


def test_a_failed_arm_says_so_in_every_format(table):
    for name in ("markdown", "latex"):
        text = WRITERS[name](table)
        assert "seed 0, failed: loss is NaN at step 12." in text
        assert "seeds 1, 2 not run yet." in text
    assert json.loads(WRITERS["json"](table))["arms"][-2]["success"] is None
    rows = list(csv.DictReader(io.StringIO(WRITERS["csv"](table))))
    broken = [one for one in rows if one["row"] == "freeze_all & more" and one["column"] == "success"]
    assert [(one["value"], one["text"]) for one in broken] == [("", "failed")]
    assert "seed 0, failed: loss is NaN at step 12." in printed(table, 100)


def test_markdown_tables_have_as_many_cells_in_every_row(table):
    blocks = [block for block in WRITERS["markdown"](table).split("\n\n") if block.startswith("|")]
    assert len(blocks) == len(sections(table)) == 8
    for block in blocks:
        assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


def test_latex_is_balanced_and_escaped(table):
    text = WRITERS["latex"](table)
    assert escaped("50 % & a_b # −1 ± {x}") == r"50 \% \& a\_b \# $-$1 $\pm$ \{x\}"
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == text.count(r"\toprule") == 8
    assert r"freeze\_all \& more" in text
    assert text.isascii()
    for block in text.split(r"\midrule")[1:]:
        lines = [line for line in block.split(r"\bottomrule")[0].splitlines() if line]
        assert len({line.replace(r"\&", "").count("&") for line in lines}) == 1


def test_csv_holds_unrounded_fractions(table):
    rows = list(csv.DictReader(io.StringIO(WRITERS["csv"](table))))
    vision = next(one for one in rows if one["row"] == "vision" and one["column"] == "freeze cost")
    cost = table.slots[0].freeze_cost
    assert cost is not None
    assert [float(vision[key]) for key in ("value", "low", "high", "seeds")] == [cost.value, cost.low, cost.high, 5]
    absent = next(one for one in rows if one["row"] == "projector" and one["column"] == "relief")
    assert (absent["value"], absent["text"]) == ("", "–")


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_terminal_report_fits_its_width_and_loses_nothing(table, width):
    text = printed(table, width)
    assert max(len(line) for line in text.splitlines()) <= width
    squeezed = "".join(text.replace("│", " ").split())
    for section in sections(table):
        for cell in (cell for row in section.cells() for cell in row[:1]):
            assert cell in text
    for wanted in (table.verdict, table.manifest, table.selection, *table.notes, points(table.slots[0].freeze_cost)):
        assert "".join(wanted.split()) in squeezed
    for one in table.slots[0].relief, table.slots[0].injection_gain:
        assert f"{points(one).split(' [')[0]}" in text


def test_every_injection_stands_in_every_format_with_its_gain_and_what_the_gain_is_worth(table):
    row = table.injections[0]
    for name in ("markdown", "latex", "csv"):
        text = WRITERS[name](table)
        for shown in (points(row.gain), percent(row.recovery), points(row.trained_gain)):
            assert {"markdown": shown.replace("[", "\\["), "latex": escaped(shown), "csv": shown}[name] in text
    cells = [one for one in csv.DictReader(io.StringIO(WRITERS["csv"](table))) if one["row"] == "behaviour-cloning"]
    values = {one["column"]: one["value"] for one in cells}
    assert float(values["injection gain"]) == row.gain.value and float(values["Holm"]) == row.p_adjusted
    assert {one["text"] for one in cells} >= {"signal into vision", "injected-frozen", "injected-trained"}
    assert json.loads(WRITERS["json"](table))["injections"][0]["name"] == "behaviour-cloning"
    assert "signal into vision" in printed(table, 80)


def test_a_title_that_means_something_else_is_explained_again(table):
    text = " ".join(printed(table, 100).split())
    assert text.count("Holm: p adjusted over the") == 2 and text.count("mde: smallest detectable effect") == 1


def test_the_terminal_report_draws_the_intervals_where_there_is_room(table):
    assert "●" in printed(table, 100)
    assert "●" not in printed(table, 60).split("The whole model")[0]


def test_a_drawn_interval_has_its_point_between_its_ends_and_arrows_where_it_is_cut():
    axis = Axis(-0.5, 0.5, 21)
    assert axis.draw(figure(0.2, 0.1, 0.3)).plain == "          ┊ ├─●─┤    "
    assert axis.draw(figure(0.0, -0.9, 0.9)).plain == "◂─────────●─────────▸"
    assert axis.draw(None).plain == "          ┊          "
    assert axis.labels().plain == "−50       0        50"


def test_a_study_with_nothing_recorded_can_be_reported():
    empty = bottleneck(
        replace(full_study(np.random.default_rng(0)), arms=(arm("only", {}, {}, missing=(0,)),), contrasts=())
    )
    assert all(write(empty).strip() for write in WRITERS.values())
    assert "not run" in printed(empty, 80)
