"""What the papers published, set beside what a study of ours found: read strictly, differences computed anew.

Their figures are theirs: other models, benchmarks, budgets and protocols. Nothing of ours is computed from them.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from ablations.parse import first_error
from ablations.statistics.newcombe import Rate, newcombe
from ablations.table import Column, Figure, Metric, PublishedRow, Table, Value
from workbench.errors import UserError, unknown
from workbench.spec import SlotName

FOLDER = Path(__file__).parent / "published"


class Paper(Value):
    """Whose figures these are. `seeds` of training, where they are stated; `notes` on how they were made."""

    name: str
    id: str = Field(pattern=r"^arXiv:\d{4}\.\d{5}$")
    seeds: int | None = Field(default=None, ge=1)
    notes: tuple[str, ...] = ()


class Benchmark(Value):
    """What was played: success is published in %, a chain length in tasks. `episodes` of a cell, where stated."""

    name: str
    metric: Metric
    episodes: int | None = Field(default=None, ge=1)


class Comparison(Value):
    """The figure of `a` minus that of `b`, which stands beside a column of ours.

    `slot` is the row of ours, none for what the whole model owes; `unlike` says where theirs is another question.
    """

    column: Column
    slot: SlotName | None = None
    a: str
    b: str
    unlike: str = ""

    @model_validator(mode="after")
    def _of_a_slot(self) -> "Comparison":
        if (self.slot is None) != (self.column == "pretraining"):
            raise ValueError(f"{self.column!r} is {'of a slot: name it' if self.slot is None else 'of no slot'}")
        return self


Cells = Annotated[tuple[float, ...], Field(min_length=1)]


class Published(Value):
    """One table of a paper: of each model the figures of each arm, one for each of `benchmarks`."""

    section: str
    benchmarks: Annotated[tuple[str, ...], Field(min_length=1)]
    models: dict[str, dict[str, Cells]]
    comparisons: tuple[Comparison, ...]

    @model_validator(mode="after")
    def _complete(self) -> "Published":
        for model, arms in self.models.items():
            for arm, cells in arms.items():
                if len(cells) != len(self.benchmarks):
                    raise ValueError(f"{model}, {arm}: {len(cells)} figures for {len(self.benchmarks)} benchmarks")
            for comparison in self.comparisons:
                for side in (comparison.a, comparison.b):
                    if side not in arms:
                        raise ValueError(f"{model}: {unknown('arm', side, arms)}")
        return self


class Source(Value):
    """One file: what one paper published."""

    paper: Paper
    benchmarks: dict[str, Benchmark]
    tables: tuple[Published, ...]

    @model_validator(mode="after")
    def _known(self) -> "Source":
        for table in self.tables:
            for at, name in enumerate(table.benchmarks):
                if name not in self.benchmarks:
                    raise ValueError(str(unknown("benchmark", name, self.benchmarks)))
                most = 100 if self.benchmarks[name].metric == "success" else 5
                for model, arms in table.models.items():
                    for arm, cells in arms.items():
                        if not 0 <= cells[at] <= most:
                            raise ValueError(f"{model}, {arm}: {cells[at]:g} on {name} is not within 0 and {most}")
        return self


def read_source(path: Path) -> Source:
    """One paper's file. Raises UserError that names the first mistake with its place."""
    try:
        return Source.model_validate(tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        raise UserError(f"{path}: {first_error(error, Source)}") from error


def sources() -> tuple[Source, ...]:
    """The papers that come with the package, by file name."""
    return tuple(read_source(path) for path in sorted(FOLDER.glob("*.toml")))


def with_published(table: Table) -> Table:
    """The table with the papers' figures beside it; every figure of its own stays what it is."""
    papers = sources()
    rows = tuple(row for source in papers for row in rows_of(source, table))
    notes = tuple(f"{source.paper.name} ({source.paper.id}): {note}." for source in papers for note in source.paper.notes)
    return table.model_copy(update={"published": rows, "published_notes": notes})


def rows_of(source: Source, table: Table) -> Iterator[PublishedRow]:
    """Each comparison of a paper on each benchmark and model, beside the same column of ours."""
    for published in source.tables:
        for comparison in published.comparisons:
            for model, arms in published.models.items():
                for at, name in enumerate(published.benchmarks):
                    benchmark = source.benchmarks[name]
                    a, b = arms[comparison.a][at], arms[comparison.b][at]
                    yield PublishedRow(
                        paper=source.paper.name,
                        id=source.paper.id,
                        section=published.section,
                        model=model,
                        benchmark=benchmark.name,
                        metric=benchmark.metric,
                        column=comparison.column,
                        slot=comparison.slot,
                        a=comparison.a,
                        b=comparison.b,
                        figures=(a, b),
                        **_difference(a, b, benchmark),
                        episodes=benchmark.episodes,
                        seeds=source.paper.seeds,
                        unlike=comparison.unlike,
                        ours=counterpart(table, comparison),
                    )
