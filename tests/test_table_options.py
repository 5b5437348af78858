"""What of the table can be chosen, and what stands beside its figures: intervals, tasks, aggregates, papers."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import refusal, say
from planted import full_study
from recorded import record_study

from ablations.bottleneck import StudyRecord, bottleneck
from ablations.report.columns import facts
from ablations.report.page import material, page
from ablations.report.page_plots import forest, success
from ablations.report.page_tables import tasks_sheet
from ablations.statistics.cell import Cells, cell
from ablations.statistics.scores import by_task, iqm, probability_of_improvement
from ablations.study_file import read_study
from ablations.table import ArmRow


@pytest.fixture(scope="module")
def study() -> StudyRecord:
    return full_study(np.random.default_rng(0))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return record_study(tmp_path_factory.mktemp("planted"))


def test_every_rate_has_the_interval_that_is_asked_for(study: StudyRecord):
    usual, exact = bottleneck(study), bottleneck(study, "clopper-pearson")
    assert (usual.cells, exact.cells) == ("wilson", "clopper-pearson")
    for recorded, ours, theirs in zip(study.arms, usual.arms, exact.arms, strict=True):
        choices: list[tuple[ArmRow, Cells]] = [(ours, "wilson"), (theirs, "clopper-pearson")]
        for row, how in choices:
            found = cell(recorded.outcomes, how)
            assert found is not None and (row.success, row.ci95) == (found.value, (found.low, found.high))
        assert ours.ci95 != theirs.ci95 and ours.by_task_ci95 != theirs.by_task_ci95
    injected = [(a.success, b.success) for a, b in zip(usual.injections, exact.injections, strict=True) if a.success]
    floors = [(a.random_floor, b.random_floor) for a, b in zip(usual.slots, exact.slots, strict=True) if a.random_floor]
    assert injected and floors and all(a != b for a, b in (*injected, *floors))
    same = ("contrasts", "exploratory", "whole", "shares", "verdict")
    assert all(getattr(usual, name) == getattr(exact, name) for name in same)
    assert dict(facts(exact))["intervals of rates"].startswith("Clopper") and "intervals of rates" not in dict(
        facts(usual)
    )


def test_the_command_says_in_json_which_interval_it_is(planted: tuple[str, Path]):
    file, root = planted
    command = ("table", file, "--root", str(root), "--format", "json")
    usual, exact = (json.loads(say(*command, *more).out) for more in ((), ("--cells", "clopper-pearson")))
    assert usual["cells"] == "wilson" and exact["cells"] == "clopper-pearson"
    assert usual["arms"][0]["ci95"] != exact["arms"][0]["ci95"]
    assert "clopper-pearson" in say(*command, "--cells", "wald").error


def test_success_on_a_task_is_that_of_its_episodes_with_their_interval(study: StudyRecord):
    for recorded, row in zip(study.arms, bottleneck(study).arms, strict=True):
        assert list(row.by_task) == list(row.by_task_ci95) == list(dict.fromkeys(study.tasks))
        for task, (low, high) in row.by_task_ci95.items():
            mine = np.array([name == task for name in study.tasks])
            found = cell({seed: outcomes[mine] for seed, outcomes in recorded.outcomes.items()})
            assert found is not None and (row.by_task[task], low, high) == (found.value, found.low, found.high)
            assert low <= row.by_task[task] <= high and high - low > 0
            assert row.by_task[task] == pytest.approx(np.mean([o[mine] for o in recorded.outcomes.values()]))


def test_the_page_shows_the_interval_of_every_task(study: StudyRecord):
    table = bottleneck(study)
    sheet = tasks_sheet(table)
    assert sheet is not None and len(sheet.rows) == len(table.arms)
    for arm, row in zip(table.arms, sheet.rows, strict=True):
        for drawn, (low, high) in zip(row[1:], arm.by_task_ci95.values(), strict=True):
            assert drawn.beneath == f"[{100 * low:.1f}, {100 * high:.1f}]".replace("-", "−")


def test_aggregates_over_tasks_are_those_of_their_functions(study: StudyRecord):
    table, arms = bottleneck(study), {arm.name: arm.outcomes for arm in study.arms}
    for row in table.arms:
        found = iqm(by_task(arms[row.name], study.tasks), generator=np.random.default_rng(0))
        assert (row.iqm is None) == (found is None)
        if row.iqm and found:
            assert (row.iqm.value, row.iqm.low, row.iqm.high) == (found.value, found.low, found.high)
    for contrast in table.contrasts:
        a, b = (by_task(arms[side], study.tasks) for side in (contrast.a, contrast.b))
        found = probability_of_improvement(a, b, generator=np.random.default_rng(0))
        assert found is not None and contrast.improvement is not None
        assert (contrast.improvement.value, contrast.improvement.high) == (found.value, found.high)
    told = [dict(row.tip) for plot in (*forest(table), success(table)) for row in plot.rows]
    assert [one for one in told if one.get("interquartile mean", "–") != "–"]
    assert [one for one in told if "%" in one.get("a training of a beats one of b", "")]


def test_the_page_shows_what_others_published_only_where_it_is_asked_for(planted: tuple[str, Path], tmp_path: Path):
    file, root = planted
    study = read_study(file)
    plain, beside = page(material(study, root)), page(material(study, root, published=True))
    assert 'id="published"' not in plain and "†" not in plain
    assert 'id="published"' in beside and "arXiv:2601.03309" in beside
    for name, more in (("plain", ()), ("beside", ("--published",))):
        assert say("report", file, "--root", str(root), "--output", str(tmp_path / name), *more).code == 0
    assert (tmp_path / "plain").read_text() == plain and (tmp_path / "beside").read_text() == beside
    assert refusal("report", file, "--root", str(tmp_path / "none"), "--published").startswith("error: No run")
