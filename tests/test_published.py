"""The papers' figures beside ours: theirs as they published them, marked in every format, and only when asked for."""

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SmallRun
from planted import full_study
from rich.console import Console
from test_cli import printed

from ablations.bottleneck import bottleneck
from ablations.notation import points
from ablations.published import FOLDER, NO_TEST, read_source, sources, with_published
from ablations.report.columns import PUBLISHED, sections
from ablations.report.page_tables import published_sheets
from ablations.report.terminal import print_table
from ablations.report.text import WRITERS
from ablations.statistics.newcombe import Rate, newcombe
from ablations.table import PublishedRow, Table
from workbench.errors import UserError


@pytest.fixture(scope="module")
def ours() -> Table:
    return bottleneck(full_study(np.random.default_rng(0), episodes=60))


@pytest.fixture(scope="module")
def both(ours: Table) -> Table:
    return with_published(ours)


def rows(table: Table) -> tuple[PublishedRow, ...]:
    assert table.published is not None
    return table.published.rows


def row(table: Table, model: str, benchmark: str, a: str, b: str) -> PublishedRow:
    (found,) = (one for one in rows(table) if (one.model, one.benchmark, one.a, one.b) == (model, benchmark, a, b))
    return found


def test_the_shipped_figures_are_the_published_ones():
    vlm4vla, rethinking = sources()
    freezing = {model: arms for table in vlm4vla.tables[:2] for model, arms in table.models.items()}
    assert freezing == {
        "Qwen2.5-VL-3B": {
            "full": (3.856, 48.00),
            "freeze_vision": (2.855, 23.95),
            "freeze_embeddings": (3.849, 46.88),
            "scratch": (1.381, 15.75),
        },
        "Qwen2.5-VL-7B": {
            "full": (4.057, 46.75),
            "freeze_vision": (2.823, 25.50),
            "freeze_embeddings": (3.874, 48.96),
            "scratch": (1.769, 18.20),
        },
        "PaliGemma-1": {
            "full": (3.506, 55.25),
            "freeze_vision": (0.495, 13.25),
            "freeze_embeddings": (3.485, 52.25),
            "scratch": (0.284, 14.50),
        },
    }
    injection = [value for (value,) in vlm4vla.tables[2].models["Qwen3-VL-4B"].values()]
    assert injection == [27.6, 56.3, 28.0, 56.3, 45.7, 59.4]
    domains = [list(arms.values()) for table in rethinking.tables for arms in table.models.values()]
    assert domains == [
        [(66.6, 19.4, 20.3), (92.4, 45.8, 49.5), (95.4, 44.0, 50.0)],
        [(68.6, 28.9, 30.1), (91.8, 50.5, 51.7), (93.4, 49.6, 52.3)],
    ]
    assert (vlm4vla.paper.seeds, rethinking.paper.seeds) == (1, None)


def test_every_figure_is_one_of_its_file(both):
    for source in sources():
        text = next(path.read_text() for path in FOLDER.glob("*.toml") if source.paper.id in path.read_text())
        shown = [figure for one in rows(both) if one.id == source.paper.id for figure in one.figures]
        assert shown and all(f"{figure:g}" in text for figure in shown)


def test_newcombes_interval_is_that_of_his_paper():
    """Newcombe (1998), Table II, method 10: 56 of 70 against 48 of 80, and 10 of 10 against none of 10."""
    found = newcombe(Rate(56 / 70, 70), Rate(48 / 80, 80))
    assert [found.value, found.low, found.high] == pytest.approx([0.2, 0.0524, 0.3339], abs=5e-5)
    extreme = newcombe(Rate(1.0, 10), Rate(0.0, 10))
    assert (round(extreme.low, 4), extreme.high) == (0.6075, 1.0)


def test_a_published_difference_and_its_interval_by_hand(both):
    """Qwen2.5-VL-3B on SimplerEnv-Bridge, 48.00 % and 23.95 % of 96 episodes."""
    z, n = 1.959964, 96

    def wilson(p: float) -> tuple[float, float]:
        reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (p + z * z / (2 * n) - reach) / (1 + z * z / n), (p + z * z / (2 * n) + reach) / (1 + z * z / n)

    (l1, u1), (l2, u2) = wilson(0.48), wilson(0.2395)
    low = 0.2405 - math.hypot(0.48 - l1, u2 - 0.2395)
    high = 0.2405 + math.hypot(u1 - 0.48, 0.2395 - l2)
    one = row(both, "Qwen2.5-VL-3B", "SimplerEnv-Bridge", "full", "freeze_vision")
    assert one.figure is not None and one.figure.seeds == 1 and one.figure.screening
    assert [one.difference, *(one.ci95 or ())] == pytest.approx([0.2405, low, high], abs=1e-6)
    assert points(one.figure) == "+24.1 [10.5, 36.4]*"


def test_a_chain_length_and_an_unknown_number_of_episodes_have_no_interval(both):
    chain = row(both, "PaliGemma-1", "CALVIN ABC-D", "full", "freeze_vision")
    assert (chain.difference, chain.ci95, chain.episodes) == (pytest.approx(3.011), None, 1000)
    robocasa = row(both, "Qwen3-VL-4B, MLP head", "RoboCasa-GR1", "base", "scratch")
    assert (robocasa.difference, robocasa.ci95, robocasa.episodes) == (pytest.approx(0.292), None, None)
    text = WRITERS["markdown"](both)
    assert "| +3.01 tasks \\[–]\\* | 1 × 1,000 |" in text and "| +29.2 \\[–]\\* | ? × ? |" in text


def test_theirs_stand_beside_the_same_column_of_ours(ours, both):
    vision, whole = ours.slots[0], ours.whole[0]
    expected = {
        ("freeze cost", "vision"): vision.freeze_cost,
        ("freeze cost", "embeddings"): ours.slots[2].freeze_cost,
        ("injection gain", "vision"): vision.injection_gain,
        ("trained injection", "vision"): vision.trained_injection_gain,
        ("pretraining", None): whole.difference,
    }
    assert whole.name == "pretraining" and None not in expected.values()
    assert {(one.column, one.slot) for one in rows(both)} == set(expected)
    assert all(one.ours == expected[one.column, one.slot] for one in rows(both))
    for section in (one for one in sections(both) if one.columns is PUBLISHED):
        first, *theirs = section.rows
        assert (first.whose, first.figure) == ("this study: embedded", first.shown)
        assert first.figure in expected.values() and all(one.whose.startswith("† ") for one in theirs)
    lacking = with_published(ours.model_copy(update={"slots": (), "whole": ()}))
    assert {one.ours for one in rows(lacking)} == {None}


def test_our_own_figures_are_the_same_bytes_without_them(ours, both):
    assert '"published"' not in ours.as_json() and "†" not in "".join(write(ours) for write in WRITERS.values())
    assert both.model_copy(update={"published": None}).as_json() == ours.as_json()
    assert json.loads(both.as_json())["published"]["notes"][:2] == list(NO_TEST)
    assert Table.model_validate_json(both.as_json()) == both


def test_every_format_marks_them_as_theirs(both):
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        print_table(both, console)
    terminal = capture.get()
    assert max(len(line) for line in terminal.splitlines()) <= 80
    assert terminal.count("† VLM4VLA: ") == terminal.count("VLM4VLA: ") > 15
    assert "† Published elsewhere: freeze cost of vision" in terminal
    assert "no test of ours" in " ".join(terminal.split())
    for name, mark in {"markdown": "†", "csv": "†", "latex": r"$\dagger$"}.items():
        text = WRITERS[name](both)
        assert text.count(f"{mark} Published elsewhere: ") >= 5 and f"{mark} Rethinking: Qwen3-VL-4B" in text, name
        assert text.count("VLM4VLA: ") == text.count(f"{mark} VLM4VLA: "), name
    assert WRITERS["latex"](both).isascii() and NO_TEST[0] in WRITERS["markdown"](both)


def test_csv_holds_their_differences_as_fractions(both):
    lines = list(csv.DictReader(io.StringIO(WRITERS["csv"](both))))
    found = [
        one
        for one in lines
        if one["row"] == "† VLM4VLA: PaliGemma-1" and one["section"].endswith("freeze cost of vision")
    ]
    values = {one["column"]: one for one in found if one["text"].startswith("+42.0")}
    assert float(values["difference"]["value"]) == pytest.approx(0.42) and values["difference"]["seeds"] == "1"


def test_the_page_has_a_table_for_each_column_of_ours(ours, both):
    sheets = published_sheets(both)
    assert published_sheets(ours) == () and len(sheets) == len({one.id for one in sheets}) == 5
    assert all(one.caption.startswith("† Published elsewhere: ") for one in sheets)
    assert {line[0].text[0] for one in sheets for line in one.rows[1:]} == {"†"}


MISTAKES: list[tuple[Callable[[str], str], str]] = [
    (lambda text: text.replace("seeds = 1", "seedz = 1"), "paper.seedz: No key named 'seedz'. Did you mean 'seeds'"),
    (lambda text: text.replace('"freeze cost"', '"freezing cost"', 1), "column: .*Did you mean 'freeze cost'"),
    (lambda text: text.replace('b = "freeze_vision"', 'b = "frozen_vision"', 1), "No arm named 'frozen_vision'"),
    (lambda text: text.replace('["calvin", "simpler_bridge"]', '["calvin"]', 1), "full: 2 figures for 1 benchmarks"),
    (lambda text: text.replace('["calvin", ', '["calvyn", ', 1), "No benchmark named 'calvyn'. Did you mean 'calvin'"),
    (lambda text: text.replace("[3.856, 48.00]", "[3.856, 148.0]"), "full: 148 on simpler_bridge is not within 0"),
    (lambda text: text.replace('slot = "vision"\n', "", 1), "'freeze cost' is of a slot: name it"),
    (lambda text: text.replace("[paper]", "[paper"), "is not TOML"),
]


@pytest.mark.parametrize(("change", "said"), MISTAKES)
def test_a_mistake_in_a_file_is_one_sentence_with_its_place(tmp_path: Path, change: Callable[[str], str], said: str):
    old = (FOLDER / "vlm4vla.toml").read_text()
    path = tmp_path / "vlm4vla.toml"
    path.write_text(change(old))
    assert path.read_text() != old
    with pytest.raises(UserError, match=said) as caught:
        read_source(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value).removeprefix(str(path))


def test_the_command_prints_them_only_when_asked(capsys: pytest.CaptureFixture[str], small_run: SmallRun):
    command = ["table", "smoke", "--root", str(small_run.root), "--format", "json"]
    plain = json.loads(printed(capsys, *command))
    asked = json.loads(printed(capsys, *command, "--published"))
    assert len(asked.pop("published")["rows"]) > 30 and asked == plain
