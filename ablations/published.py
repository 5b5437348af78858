"""What the papers published, set beside what a study of ours found: read strictly, differences computed anew.

Their figures are theirs: other models, benchmarks, budgets and protocols. Nothing of ours is computed from them.
"""

import tomllib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, assert_never

from pydantic import Field, ValidationError, model_validator

from ablations.parse import first_error
from ablations.statistics.interval import Interval
from ablations.statistics.newcombe import Rate, newcombe
from ablations.table import Figure, Metric, PublishedColumn, PublishedRow, PublishedRows, Table, Value
from workbench.errors import UserError, unknown
from workbench.spec import SlotName

FOLDER = Path(__file__).parent / "published"
LONGEST_CHAIN = 5
NO_TEST = (
    "† Published by others, not measured here: other models, benchmarks, budgets and ways to choose a checkpoint make "
    "these figures no test of ours, and ours none of theirs.",
    "† Their differences are of the success rates that they state, with Newcombe's interval of independent samples, "
    "which covers other episodes, not other training seeds. [–]: no interval, since a chain length comes without its "
    "spread, or a success rate without its number of episodes.",
)


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

    column: PublishedColumn
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
            for name in table.benchmarks:
                if name not in self.benchmarks:
                    raise ValueError(str(unknown("benchmark", name, self.benchmarks)))
            for model, arms in table.models.items():
                for arm, cells in arms.items():
                    self._check(f"{model}, {arm}", dict(zip(table.benchmarks, cells, strict=True)))
        return self

    def _check(self, owner: str, cells: dict[str, float]) -> None:
        for name, value in cells.items():
            most = 100 if self.benchmarks[name].metric == "success" else LONGEST_CHAIN
            if not 0 <= value <= most:
                raise ValueError(f"{owner}: {value:g} on {name} is not within 0 and {most}")


def read_source(path: Path) -> Source:
    """One paper's file. Raises UserError that names the first mistake with its place."""
    try:
        return Source.model_validate(tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        raise UserError(f"{path}: {first_error(error, Source)}") from error


def sources() -> tuple[Source, ...]:
    """The papers that come with the package, the earliest first."""
    return tuple(sorted((read_source(path) for path in FOLDER.glob("*.toml")), key=lambda source: source.paper.id))


def with_published(table: Table) -> Table:
    """The table with the papers' figures beside it; every figure of its own stays what it is."""
    papers = sources()
    notes = [f"† {source.paper.name} ({source.paper.id}): {note}." for source in papers for note in source.paper.notes]
    rows = tuple(row for source in papers for row in published_rows(source, table))
    return table.model_copy(update={"published": PublishedRows(notes=(*NO_TEST, *notes), rows=rows)})


def published_rows(source: Source, table: Table) -> Iterator[PublishedRow]:
    """Each comparison of a paper, for each of its models on each benchmark, beside the same column of ours."""
    for published in source.tables:
        for comparison, (model, arms) in product(published.comparisons, published.models.items()):
            for name, a, b in zip(published.benchmarks, arms[comparison.a], arms[comparison.b], strict=True):
                benchmark = source.benchmarks[name]
                difference = compared(a, b, benchmark)
                yield PublishedRow(
                    paper=source.paper.name,
                    id=source.paper.id,
                    section=published.section,
                    model=model,
                    benchmark=benchmark.name,
                    metric=benchmark.metric,
                    **comparison.model_dump(),
                    figures=(a, b),
                    difference=difference.value if isinstance(difference, Interval) else difference,
                    ci95=(difference.low, difference.high) if isinstance(difference, Interval) else None,
                    episodes=benchmark.episodes,
                    seeds=source.paper.seeds,
                    ours=counterpart(table, comparison),
                )


def compared(a: float, b: float, benchmark: Benchmark) -> Interval | float:
    """Published figure a minus b: a fraction with its interval, or, where none can be computed, a bare number.

    Chain lengths come without their spread: their difference is in tasks.
    """
    if benchmark.metric == "chain length":
        return a - b
    if benchmark.episodes is None:
        return (a - b) / 100
    return newcombe(Rate(a / 100, benchmark.episodes), Rate(b / 100, benchmark.episodes))


def counterpart(table: Table, comparison: Comparison) -> Figure | None:
    """The figure of ours that answers the same question; None where the study has no arm for it."""
    if comparison.column == "pretraining":
        return next((row.difference for row in table.whole if row.name == "pretraining"), None)
    row = next((row for row in table.slots if row.slot == comparison.slot), None)
    if row is None:
        return None
    match comparison.column:
        case "freeze cost":
            return row.freeze_cost
        case "injection gain":
            return row.injection_gain
        case "trained injection":
            return row.trained_injection_gain
        case _:
            assert_never(comparison.column)
