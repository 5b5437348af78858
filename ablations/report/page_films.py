"""Films of the page: the recorded MP4 files, embedded while they fit, so that any two arms play the same episode."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.curves import label
from ablations.runs import Wanted
from workbench.benchmarks.contract import Outcome
from workbench.plan import Inject
from workbench.record import Record

MOST_BYTES = 24 * 2**20
"""Of all films together; in a page they take a third more."""


@dataclass(frozen=True)
class Film:
    """One filmed episode of one run."""

    arm: str
    seed: int
    run: str
    outcome: Outcome
    path: Path
    size: int

    def as_json(self) -> dict[str, Any]:
        """What the page's script shows, with the film itself as base64."""
        return {
            "arm": self.arm,
            "seed": self.seed,
            "run": self.run,
            "episode": f"{self.outcome.task} {self.outcome.initial_state}",
            "instruction": self.outcome.instruction,
            "success": self.outcome.success,
            "steps": self.outcome.steps,
            "progress": self.outcome.progress,
            "film": base64.b64encode(self.path.read_bytes()).decode(),
        }


@dataclass(frozen=True)
class Films:
    """The films in the page, and those that were left out for their size; both in the order of arm, seed, episode."""

    shown: tuple[Film, ...]
    omitted: tuple[Film, ...]

    def note(self) -> str:
        """Which films are not in the page, and where they lie; "" where all are in it."""
        if not self.omitted:
            return ""
        size = sum(film.size for film in self.omitted) / 2**20
        runs = ", ".join(dict.fromkeys(f"{film.arm} seed {film.seed} ({film.run})" for film in self.omitted))
        total = len(self.shown) + len(self.omitted)
        return (
            f"{len(self.omitted)} of {total} films ({size:.1f} MiB) are left out, so that the page stays small. "
            f"They lie in the folder films of their runs: {runs}."
        )


def films(recorded: Iterable[tuple[Wanted, Record]], *, most_bytes: int = MOST_BYTES) -> Films:
    """Films are taken until `most_bytes` are full: all episodes of each arm's first training seed, then of its second.

    So what is left out first are further seeds, and any two arms can still be compared.
    """
    found = [film for run, record in recorded for film in _filmed(run, record)]
    episodes = list(dict.fromkeys((film.outcome.task, film.outcome.initial_state) for film in found))
    ranked = sorted(
        found, key=lambda film: (_turn(film, found), episodes.index((film.outcome.task, film.outcome.initial_state)))
    )
    kept, left = set[Path](), most_bytes
    for film in ranked:
        if film.size > left:
            break
        kept.add(film.path)
        left -= film.size
    return Films(
        tuple(film for film in found if film.path in kept), tuple(film for film in found if film.path not in kept)
    )


def _turn(film: Film, found: list[Film]) -> int:
    """How many seeds of its arm come before the film's."""
    return list(dict.fromkeys(other.seed for other in found if other.arm == film.arm)).index(film.seed)


def _filmed(run: Wanted, record: Record) -> list[Film]:
    """The episodes of a run that have a film, in manifest order; not those that only choose a learning rate."""
    if isinstance(record.plan, Inject) or record.error is not None or run.chooses:
        return []
    films = []
    for outcome in record.outcomes():
        ending = "success" if outcome.success else "failure"
        path = record.folder / "films" / f"{outcome.task}-{outcome.initial_state:03d}-{ending}.mp4"
        if path.is_file():
            films.append(Film(label(run), run.seed, run.id, outcome, path, path.stat().st_size))
    return films
