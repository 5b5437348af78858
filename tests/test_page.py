"""The page of a study, as a document: complete, escaped, the same from the same records, and without a network."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from recorded import EVIL, STEPS, record_study

from ablations.curves import POINTS, curves, smoothed
from ablations.notation import points
from ablations.report import page_films
from ablations.report.page import Material, material, page
from ablations.report.page_curves import panels
from ablations.report.page_films import films
from ablations.report.page_plots import forest, place, recoveries
from ablations.report.page_tables import injections_sheets, slots_sheet
from ablations.report.whiskers import Axis
from ablations.runs import wanted
from ablations.screens.report import write_report
from ablations.study_file import read_study
from workbench.errors import UserError
from workbench.record import find

VOID = {"meta", "link", "input", "br", "img"}
SHAPES = {"line", "circle", "rect", "polyline", "use"}


class Outline(HTMLParser):
    """Every element with its attributes, and whether each was closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SHAPES, tag
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def values(self, name: str) -> Iterator[str]:
        return (value for _, attributes in self.elements if (value := attributes.get(name)))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return record_study(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def shown(planted: tuple[str, Path]) -> Material:
    file, root = planted
    return material(read_study(file), root)


@pytest.fixture(scope="module")
def text(shown: Material) -> str:
    return page(shown)


def test_the_same_records_give_the_same_bytes(planted, text):
    file, root = planted
    assert page(material(read_study(file), root)) == text


def test_a_study_about_no_slot_begins_with_its_contrasts(shown):
    table = shown.table.model_copy(update={"slots": (), "bottleneck": None})
    whole = page(replace(shown, table=table))
    held = sum(row.p_adjusted is not None and row.p_adjusted <= 0.05 for row in table.contrasts)
    assert held and f"{held} of {len(table.contrasts)} declared contrast" in whole
    assert 'id="slots"' not in whole and "none can be called the bottleneck" in whole


def test_nothing_of_a_study_or_a_record_is_read_as_html(text):
    assert "<b>of vision" not in text and "<i>at step" not in text and "<u>red" not in text
    assert EVIL not in text and "&lt;/script&gt;&lt;script&gt;" in text
    assert text.count("<script") == text.count("</script>") == 2


def test_the_page_names_no_other_place(text):
    assert re.findall(r"(?:https?:)?//[a-z]", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)) == []
    sources = [value for name in ("src", "srcset", "data", "action") for value in Outline(text).values(name)]
    assert sources == [] and {value[0] for value in Outline(text).values("href")} == {"#", "d"}
    assert "default-src 'none'" in text and "unsafe-inline" not in text


def test_every_element_is_closed_and_every_reference_leads_somewhere(text):
    outline = Outline(text)
    assert outline.open == []
    names = list(outline.values("id"))
    assert len(names) == len(set(names))
    referred = [
        one for key in ("aria-labelledby", "aria-describedby") for v in outline.values(key) for one in v.split()
    ]
    links = [value[1:] for value in outline.values("href") if value.startswith("#")]
    assert set(referred) | set(links) <= set(names)


def test_a_screen_reader_finds_language_landmarks_headings_captions_and_titles(text):
    outline = Outline(text)
    tags = [tag for tag, _ in outline.elements]
    assert dict(outline.elements)["html"] == {"lang": "en"}
    assert [tags.count(tag) for tag in ("main", "nav", "header", "h1")] == [1, 1, 1, 1]
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert tags.count("caption") == tags.count("table") > 5
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in outline.elements if tag == "th")
    pictures = [attributes for tag, attributes in outline.elements if tag == "svg" and "role" in attributes]
    assert tags.count("title") == len(pictures) + 1 and tags.count("desc") == len(pictures) > 10
    assert all(attributes["role"] == "img" for attributes in pictures)


def test_the_verdict_stands_first_and_every_arm_run_and_figure_follows(planted, shown, text):
    body = text[text.index("<main") :]
    assert body.index("Vision is the bottleneck") < body.index('id="slots"') < body.index('id="plot-contrasts"')
    order = ["plot-success", "curves", "by-task", "recovered", "rollouts", "provenance"]
    at = [body.index(f'id="{name}"') for name in order]
    assert at == sorted(at)
    for run in wanted(read_study(planted[0])):
        assert run.id in body
    for row in shown.table.slots:
        assert points(row.freeze_cost) in body
    assert "d" * 64 in body


def test_what_failed_and_what_is_missing_is_said(text):
    assert "broken, seed 0, failed: loss is NaN &lt;i&gt;at step 3&lt;/i&gt;." in text
    assert "broken: seed 1 not run yet." in text
    assert "20 of 21 runs are recorded, 1 of them failed." in text
    assert "2 runs, 1 failed, 1 not run" in text


def test_the_bottleneck_table_is_sorted_by_figures_and_not_by_their_text(shown):
    sheet = slots_sheet(shown.table)
    costs = [row[sheet.heads.index("freeze cost")] for row in sheet.rows]
    assert [cell.order for cell in costs] == [row.freeze_cost and row.freeze_cost.value for row in shown.table.slots]
    assert costs[0].kind == "clear" and costs[0].beneath.startswith("[") and costs[1].order is None
    assert sheet.words(sheet.heads.index("verdict")) and not sheet.words(sheet.heads.index("mde"))


def test_whiskers_stand_where_their_figures_are(shown):
    plot = next(plot for plot in forest(shown.table) if plot.id == "contrasts")
    vision, _, language = (row.whisker for row in plot.rows)
    assert vision is not None and language is not None
    assert vision.clear and not vision.hollow and plot.zero < vision.low < vision.at < vision.high <= 100
    assert language.low < plot.zero < language.high and not language.clear
    assert dict((label, at) for at, label in plot.ticks)["0"] == plot.zero
    assert place(Axis(-0.5, 0.5, 1), 0.25) == 75.0 and place(Axis(-0.5, 0.5, 1), 7.0) == 100.0


def test_the_recovery_of_the_planted_injection_is_drawn(shown):
    drawn = recoveries(shown.table)
    assert drawn is not None and [row.name for row in drawn.rows] == ["behaviour-cloning"]
    assert drawn.rows[0].whisker is not None and drawn.zero < drawn.rows[0].whisker.at < 100
    assert drawn.rows[0].beneath == "signal into vision" and ("arm", "injected-frozen") in drawn.rows[0].tip
    without = tuple(row.model_copy(update={"recovery": None}) for row in shown.table.injections)
    assert recoveries(shown.table.model_copy(update={"injections": without})) is None


def test_every_injection_has_a_row_in_tables_of_their_own(shown, text):
    sheets = injections_sheets(shown.table)
    assert [len(sheet.rows) for sheet in sheets] == [len(shown.table.injections)] * 2 == [1, 1]
    row = {head: cell for sheet in sheets for head, cell in zip(sheet.heads, sheet.rows[0], strict=True)}
    gain = shown.table.injections[0].gain
    assert row["injection"].text == "behaviour-cloning" and row["injection gain"].order == gain.value
    assert row["frozen arm"].text == "injected-frozen" and row["trained injection"].order is None
    assert 'id="injections"' in text and 'href="#injections"' in text
    bare = shown.table.model_copy(update={"injections": ()})
    assert injections_sheets(bare) == () and 'id="injections"' not in page(replace(shown, table=bare))


def test_curves_are_means_over_windows_and_cover_every_training(planted, shown):
    assert [curve.arm for curve in shown.curves].count("freeze-vision") == 3
    assert shown.curves[-1].arm == "injection:cloning" and "blank-image" not in {one.arm for one in shown.curves}
    curve = smoothed("arm", 0, "run", steps=range(120), losses=[float(step % 2) for step in range(120)])
    assert (curve.window, curve.total, len(curve.steps)) == (2, 120, POINTS)
    assert set(curve.losses) == {0.5} and curve.steps[0] == 0.5
    drawn = panels(shown.curves)
    assert drawn is not None and drawn.last == STEPS and drawn.panels[0].lines[0].points.count(",") == 44
    assert panels(()) is None


def test_learning_rates_that_are_tried_stand_apart(shown, text):
    tried = ["swept, learning rate 0.001", "swept, learning rate 0.002"]
    assert [curve.arm for curve in shown.curves if curve.arm.startswith("swept")] == tried
    assert sorted({film.arm for film in shown.films.shown if film.arm.startswith("swept")}) == tried
    assert text.count("learning rate 0.002 · only to choose the learning rate") == 2


def test_the_expert_has_runs_and_films_but_no_ledger(shown):
    expert = next(arm for arm in shown.arms if arm.name == "expert")
    assert [(run.title, run.ledger) for run in expert.runs] == [("Seed 0 · replay", None)]
    assert dict(expert.runs[0].facts)["manifest"] and "expert" in {film.arm for film in shown.films.shown}


def test_a_broken_log_is_refused_by_name(planted, tmp_path):
    file, _ = planted
    _, root = record_study(tmp_path)
    log = next(root.glob("*/log.jsonl"))
    log.write_text(log.read_text()[:-9])
    with pytest.raises(UserError, match=f"{log} is missing, truncated or was changed"):
        curves(read_study(file), root)


def test_the_embedded_films_are_the_recorded_ones(planted, shown, text):
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    found = json.loads(data.group(1))["films"]
    assert len(found) == len(shown.films.shown) == 2 * (4 * 3 + 2 + 2)
    assert {one["episode"] for one in found} == {"reach 0", "reach 1"}
    for film in shown.films.shown:
        ending = "success" if film.outcome.success else "failure"
        assert film.path.name == f"reach-{film.outcome.initial_state:03d}-{ending}.mp4"


def test_films_beyond_the_limit_are_left_out_and_named_further_seeds_first(planted, shown):
    file, root = planted
    recorded = [(run, found) for run in wanted(read_study(file)) if (found := find(root, run.plan)) is not None]
    sizes = [film.size for film in shown.films.shown if film.seed == 0]
    few = films(recorded, most_bytes=sum(sizes))
    assert {film.seed for film in few.shown} == {0} and len(few.shown) == len(sizes)
    assert len(few.shown) + len(few.omitted) == len(shown.films.shown)
    assert f"{len(few.omitted)} of {len(shown.films.shown)} films" in few.note()
    assert f"{few.omitted[0].arm} seed 1 ({few.omitted[0].run})" in few.note()
    assert few.note() in page(replace(shown, films=few)) and shown.films.note() == ""
    assert films(recorded, most_bytes=0).shown == ()
    assert page_films.MOST_BYTES < 32 * 2**20


def test_the_page_of_a_study_without_films_or_curves_leaves_their_sections_out(shown):
    bare = page(replace(shown, films=films(()), curves=()))
    assert 'id="rollouts"' not in bare and 'id="curves"' not in bare and 'href="#curves"' not in bare


def test_the_report_is_written_where_it_is_asked_for(planted, text, tmp_path):
    file, root = planted
    assert write_report(file, root, tmp_path / "new" / "planted.html").read_text() == text
    assert write_report(file, root) == root / "reports" / "planted" / "report.html"
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "planted.html"]
    with pytest.raises(UserError, match="is a folder: name a file, such as"):
        write_report(file, root, tmp_path)
    with pytest.raises(UserError, match="No run of 'planted' is recorded in"):
        write_report(file, tmp_path / "empty")
