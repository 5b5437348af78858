"""What a person sees when a study becomes a page: where it lies, and how large it is."""

import os
from collections.abc import Sequence
from pathlib import Path

from ablations.report.page import material, page
from ablations.study_file import read_study
from workbench.errors import UserError
from workbench.screens.console import console

MEBIBYTE = 2**20


def write_report(
    study_name: str, root: Path, output: Path | None = None, changes: Sequence[str] = (), *, published: bool = False
) -> Path:
    """Write the page of a study to `output`, or beside its other reports; returns where it lies. Nothing is run.

    `published`: with the papers' figures beside it.

    UserError where no run of the study is recorded, or `output` cannot be a file.
    """
    study = read_study(study_name, changes)
    shown = material(study, root, published=published)
    if not any(run.state != "not run" for arm in shown.arms for run in arm.runs):
        raise UserError(f"No run of {study.name!r} is recorded in {root}: workbench run {study_name} --root {root}")
    path = output or root / "reports" / study.name / "report.html"
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file, such as {path / 'report.html'}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(page(shown), encoding="utf-8")
    os.replace(aside, path)
    console.print(f"page: {path} ({path.stat().st_size / MEBIBYTE:.1f} MiB)", markup=False, soft_wrap=True)
    if note := shown.films.note():
        console.print(note, markup=False, soft_wrap=True)
    return path
