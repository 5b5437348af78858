"""`workbench skills`: the study that it makes, what it finds of planted gains, and the whole command."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ablations.bottleneck import bottleneck
from ablations.gather import gather
from ablations.runs import wanted
from ablations.screens.beside import Asked
from ablations.screens.skills import show_skills, write_scatter
from ablations.skills import SkillRow, correlation, finetunings, held_out, skill_rows, skills_study
from ablations.study import Study
from ablations.study_file import read_study
from ablations.table import Figure
from workbench.cli import app
from workbench.engines.means import Means
from workbench.errors import UserError
from workbench.plan import Finetune, Inject, needs
from workbench.recipes import Expert, Folder
from workbench.skills.facts import SKILLS
from workbench.skills.scores import Scores
from workbench.spec import SLOTS, Frozen


def made(*skills: str) -> Study:
    return skills_study(read_study("smoke"), skills, (0, 1))


def planted(gains: dict[str, tuple[float, float]], *, seeds: int = 5) -> list[SkillRow]:
    """Skill gain and control gain of each skill."""
    return [
        SkillRow(
            skill,
            Scores(0.2, 0.2 + gain, 0.1),
            Figure(value=control, low=control - 0.1, high=control + 0.1, seeds=seeds),
        )
        for skill, (gain, control) in gains.items()
    ]


def test_each_skill_is_taught_once_and_a_policy_starts_from_it_with_a_new_head():
    study = made("pointing", "order")
    runs = finetunings(study)
    assert list(runs) == ["pointing", "order"]
    for skill, run in runs.items():
        plan = run.plan
        assert isinstance(plan, Inject) and plan.objective == f"questions:{skill}"
        assert isinstance(plan.data, Expert) and plan.data.privileged and plan.data.split == "injection"
        frozen = {slot for slot in SLOTS if isinstance(plan.spec.slot(slot).tune, Frozen)}
        assert frozen == {"head"}
        (arm,) = {one.arm for one in wanted(study) if run.id in needs(one.plan)}
        after = next(one.plan for one in wanted(study) if one.arm == arm)
        assert arm == f"after-{skill}" and isinstance(after, Finetune)
        starts = {slot: after.spec.slot(slot).weights for slot in SLOTS}
        assert starts.pop("head") == "random" and set(starts.values()) == {f"run:{run.id}"}


def test_the_trained_base_is_the_run_that_the_study_has_anyway():
    study = read_study("smoke")
    base = {run.id for run in wanted(study) if run.arm == "all-trained"}
    assert base <= {run.id for run in wanted(made("depth"))}


def test_skills_are_scored_on_episodes_that_nothing_else_has():
    study = made("depth")
    splits = {
        study.protocol.split,
        *(
            run.plan.data.split
            for run in wanted(study)
            if isinstance(run.plan, Inject | Finetune) and isinstance(run.plan.data, Expert)
        ),
    }
    assert held_out(study).split not in splits and held_out(study).privileged
    study = read_study("smoke").model_copy(update={"data": Folder(path="somewhere")})
    with pytest.raises(UserError, match="are a folder"):
        skills_study(study, ("depth",), (0,))


def test_a_benchmark_that_tells_nothing_is_refused_before_anything_is_collected(tmp_path: Path):
    with pytest.raises(UserError, match="plays metaworld-mt10, which tells nothing .*: ask a study of tabletop-v1"):
        show_skills(Asked("metaworld", None, tmp_path, Means(), False, "terminal"), "depth")
    assert not list(tmp_path.iterdir())


def test_what_the_study_matches_is_matched_here_too():
    study = read_study("smoke").model_copy(update={"matched": "operations"})
    assert skills_study(study, ("size",), (0,)).matched == "operations"


def test_the_correlation_of_planted_gains_has_their_sign():
    names = list(SKILLS)[:7]
    rising = planted({name: (0.1 * i, 0.05 * i) for i, name in enumerate(names)})
    falling = planted({name: (0.1 * i, -0.05 * i) for i, name in enumerate(names)})
    for rows, rho in ((rising, 1), (falling, -1)):
        found = correlation(rows)
        assert found is not None and found.rho == pytest.approx(rho) and found.runs == 7 and found.p < 0.01
        assert found == correlation(rows), "the same draws at every call"
    mixed = planted(
        dict(
            zip(
                names,
                [(0.3, 0.1), (0.1, 0.2), (0.4, 0.15), (0.2, 0.12), (0.5, 0.11), (0.0, 0.14), (0.6, 0.16)],
                strict=True,
            )
        )
    )
    found = correlation(mixed)
    assert found is not None and found.low < 0 < found.high


def test_few_skills_and_skills_that_no_policy_started_from_have_no_correlation():
    rows = planted({name: (0.1 * i, 0.05 * i) for i, name in enumerate(list(SKILLS)[:4])})
    assert correlation(rows) is not None
    assert correlation(rows[:3]) is None and correlation([]) is None
    assert correlation([*rows[:3], replace(rows[3], control=None)]) is None


def test_the_figure_is_the_same_bytes_for_the_same_rows_and_names_every_skill(tmp_path: Path):
    rows = planted({name: (0.1 * i, 0.05 * i) for i, name in enumerate(SKILLS)})
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_scatter("some", rows, correlation(rows), tmp_path / name)
        found.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert found[0] == found[1] and set(found[0]) == {"skills.svg", "skills.pdf", "skills.png"}
    drawn = found[0]["skills.svg"].decode()
    assert all(name in drawn for name in SKILLS) and "rank correlation 1.00" in drawn


def test_a_dry_run_costs_nothing_and_unknown_skills_and_seeds_are_refused(tmp_path: Path):
    done = CliRunner().invoke(
        app, ["skills", "smoke", "--skills", "depth", "--root", str(tmp_path), "--dry-run", "--format", "json"]
    )
    assert done.exit_code == 0, done.output
    runs = json.loads(done.stdout)["runs"]
    assert sorted(run["arm"] for run in runs) == ["after-depth", "all-trained", "injection:depth"]
    assert not list(tmp_path.iterdir())
    for skills, seeds, said in (("depht", None, "Did you mean 'depth'"), ("depth", "one", "are no seeds")):
        with pytest.raises(UserError, match=said):
            show_skills(Asked("smoke", seeds, tmp_path, Means(), True, "terminal"), skills)


@pytest.mark.slow
def test_the_command_runs_what_is_missing_and_prints_what_both_gained(tmp_path: Path):
    command = [
        "skills",
        "smoke",
        "--skills",
        "order,colours",
        "--root",
        str(tmp_path),
        "--workers",
        "1",
        "--format",
        "json",
    ]
    done = CliRunner().invoke(app, [*command, "--set", "budget.steps=3", "--set", "data.episodes=4"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [row["skill"] for row in told["skills"]] == ["colours", "order"] and told["correlation"] is None
    assert [row["control"] for row in told["skills"]] == [True, False]
    for row in told["skills"]:
        assert row["skill_gain"] == pytest.approx(row["after"] - row["before"]) and 0 <= row["blank"] <= 1
        assert -1 <= row["control_gain"]["value"] <= 1
    folder = tmp_path / "reports" / "smoke-skills"
    assert json.loads((folder / "skills.json").read_text()) == told and (folder / "skills.png").exists()
    study = skills_study(read_study("smoke", ["budget.steps=3", "data.episodes=4"]), ("order", "colours"), (0,))
    rows = skill_rows(bottleneck(gather(study, tmp_path)), {"order": Scores(0, 0.5, 0.5)})
    assert [row.skill for row in rows] == ["order"] and rows[0].gain == 0.5 and rows[0].control is not None
