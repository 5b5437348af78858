"""What a person sees of skills: what each gained, what control gained after it, and whether the two go together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import matplotlib as mpl
from rich.table import Table

from ablations.bottleneck import bottleneck
from ablations.figures import UNDATED
from ablations.figures_skills import skill_scatter
from ablations.gather import gather
from ablations.notation import points, probability
from ablations.screens.beside import Asked, carried_out, planned
from ablations.skills import SkillRow, correlation, finetunings, held_out, skill_rows, skills_study
from ablations.study import Study
from ablations.study_file import read_study
from workbench.collect import collect, open_data
from workbench.errors import UserError
from workbench.plan import Inject
from workbench.probes.correlation import Correlation
from workbench.record import collected_folder, find, is_done
from workbench.screens.console import console, stage, told_aside
from workbench.skills.facts import SKILLS, taught
from workbench.skills.scores import Scores, before_and_after


def show_skills(asked: Asked, skills: str | None) -> None:
    """Run what is missing, score every skill before and after, print both gains and draw them."""
    base = read_study(asked.study, asked.changes)
    study = planned(asked, base, lambda seeds: skills_study(base, taught(skills), seeds))
    if study is None:
        return
    complaint = carried_out(asked, study)
    with told_aside(asked.format == "json"):
        scores = _scores(study, asked.root)
    rows = skill_rows(bottleneck(gather(study, asked.root)), scores)
    found = correlation(rows)
    folder = asked.root / "reports" / study.name
    told = _as_json(study, rows, found)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "skills.json").write_text(json.dumps(told, indent=1) + "\n")
    write_scatter(study.name, rows, found, folder)
    if asked.format == "json":
        print(json.dumps(told, indent=1))
    else:
        _print(rows, found, folder)
    if complaint:
        raise UserError(complaint)


def _scores(study: Study, root: Path) -> dict[str, Scores]:
    """Before and after, of each skill whose run is recorded and did not fail."""
    data, found = held_out(study), dict[str, Scores]()
    with stage("Skills", "held-out questions, before and after finetuning on each") as tell:
        if not is_done(root, data):
            collect(data, collected_folder(root, data), progress=tell)
        dataset = open_data(root, data)
        frames, runs = dataset.frames(range(len(dataset.episodes))), finetunings(study)
        for done, (skill, run) in enumerate(runs.items(), start=1):
            record = find(root, run.plan)
            if record is not None and record.error is None:
                assert isinstance(run.plan, Inject)
                found[skill] = before_and_after(run.plan, run.id, root, frames, skill)
            tell(done, len(runs), skill)
    return found


def write_scatter(study: str, rows: Sequence[SkillRow], found: Correlation | None, folder: Path) -> None:
    """`skills.svg`, `.pdf` and `.png`; the same rows give the same bytes."""
    with mpl.rc_context({"svg.hashsalt": "workbench", "svg.fonttype": "none", "pdf.fonttype": 42}):
        picture = skill_scatter(study, rows, found)
        for kind, metadata in UNDATED.items():
            picture.savefig(folder / f"skills.{kind}", dpi=160, metadata=metadata)


def _as_json(study: Study, rows: Sequence[SkillRow], found: Correlation | None) -> Mapping[str, Any]:
    return {
        "study": study.name,
        "skills": [
            {
                "skill": row.skill,
                "control": SKILLS[row.skill].control,
                **asdict(row.scores),
                "skill_gain": row.gain,
                "control_gain": None if row.control is None else row.control.model_dump(mode="json"),
            }
            for row in rows
        ],
        "correlation": None if found is None else asdict(found),
    }


def _print(rows: Sequence[SkillRow], found: Correlation | None, folder: Path) -> None:
    table = Table(title="Skills and control, in points")
    for column in ("skill", "before %", "after %", "without picture %", "skill gain", "control gain"):
        table.add_column(column, justify="left" if column == "skill" else "right")
    for row in rows:
        name = f"{row.skill} (control)" if SKILLS[row.skill].control else row.skill
        scores = (f"{100 * score:.1f}" for score in astuple(row.scores))
        gain = f"{100 * row.gain:+.1f}".replace("-", "−")
        table.add_row(name, *scores, gain, points(row.control).replace("[", r"\["))
    console.print(table)
    if found is None:
        console.print("No rank correlation: it takes four skills that differ in both gains.")
    else:
        interval = f"[{found.low:.2f}, {found.high:.2f}]"
        console.print(
            f"Spearman's rank correlation of both gains over {found.runs} skills: {found.rho:.2f} {interval}, "
            f"p {probability(found.p)}",
            style="bold",
            markup=False,
        )
    console.print("* fewer than 3 training seeds support no claim; an injection has one seed.", style="dim")
    console.print(f"figure and JSON: {folder}", markup=False, soft_wrap=True)
