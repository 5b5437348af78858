"""What every report shows, and in which order: one list of columns for all formats."""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from ablations.notation import ABSENT, SCREENING, count, duration, effect, percent, points, probability
from ablations.report.beside import beside
from ablations.table import ArmRow, ContrastRow, Figure, InjectionRow, Table, WholeRow

FAILED, NOT_RUN, DROPPED = "failed", "not run", "dropped"


@dataclass(frozen=True)
class Column:
    """A title, what it reads of a row, how that is written, and what it means (for the legend).

    `beneath`: where space is short it may stand beneath the row's name. `wordy`: it may take several lines.
    """

    title: str
    read: Callable[[Any], Any]
    text: Callable[[Any], str]
    meaning: str = ""
    beneath: bool = False
    wordy: bool = False


def column(title: str, name: str, write: Callable[[Any], str] = str, **kind: Any) -> Column:
    """The attribute `name` of a row, as `write` writes it; `kind` holds the other fields of the column."""
    read = attrgetter(name)
    return Column(title, read, lambda row: write(read(row)), **kind)


@dataclass(frozen=True)
class Section:
    """One table of the report. `drawn` reads the figure that a report may also draw; a `share` or a difference."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Any, ...] = field(repr=False)
    drawn: Callable[[Any], Figure | None] | None = None
    share: bool = False

    def cells(self) -> list[list[str]]:
        return [[column.text(row) for column in self.columns] for row in self.rows]

    def legend(self) -> dict[str, str]:
        return {column.title: column.meaning for column in self.columns if column.meaning}


def sections(table: Table) -> tuple[Section, ...]:
    """The report's tables, in reading order; a table without rows is left out."""
    found = (
        Section("Slots: the cost of freezing", FREEZING, table.slots, attrgetter("freeze_cost")),
        Section("Slots: other evidence", EVIDENCE, table.slots),
        Section("Injections: the gain while frozen", INJECTIONS, table.injections, attrgetter("gain")),
        Section("Injections: other evidence", BESIDE_GAIN, table.injections),
        Section("The whole model", WHOLE, table.whole, attrgetter("difference")),
        Section("What each input carries", SHARES, table.shares, attrgetter("share")),
        Section("Declared contrasts", CONTRASTS, table.contrasts, attrgetter("figure")),
        Section("Exploratory contrasts (not declared)", EXPLORATORY, table.exploratory, attrgetter("figure")),
        Section("Arms", ARMS, table.arms, attrgetter("figure"), share=True),
        *(Section(title, PUBLISHED, lines, attrgetter("figure")) for title, lines in beside(table)),
    )
    return tuple(section for section in found if section.rows)


def facts(table: Table) -> tuple[tuple[str, str], ...]:
    """What every figure depends on."""
    return (
        ("backbone", table.backbone),
        ("head", table.head),
        ("benchmark", table.benchmark),
        ("manifest", f"{table.manifest}, {table.episodes} episodes"),
        ("checkpoint", table.selection),
        ("budget", table.budget),
        *((("intervals of rates", "Clopper and Pearson's, exact"),) if table.cells != "wilson" else ()),
    )


def failures(table: Table) -> tuple[str, ...]:
    reasons = [(arm.name, seed, arm.failed[seed].rstrip(".")) for arm in table.arms for seed in arm.failed]
    return tuple(f"{name}, seed {seed}, failed: {reason}." for name, seed, reason in reasons)


def footnotes(table: Table) -> tuple[str, ...]:
    """What failed, what is missing, how to read the figures, and what the study itself has to say."""
    missing = [f"{arm.name}: {_numbered(arm.missing)} not run yet." for arm in table.arms if arm.missing]
    theirs = table.published.notes if table.published else ()
    return (*READING, *failures(table), *missing, *table.notes, *theirs)


READING = (
    "Differences are in percentage points, rates in %, each with its 95 % interval over seeds and episodes.",
    f"{SCREENING} Screening: fewer than 3 training seeds support no claim; on one seed the interval covers other "
    "episodes, not other seeds.",
    "– The study has no arm for this figure, or it has not been played.",
)


def _numbered(seeds: tuple[int, ...]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def _success(arm: ArmRow) -> str:
    """A failed arm has no success; it is not 0 %."""
    if arm.figure is not None:
        return percent(arm.figure)
    if arm.dropped:
        return DROPPED
    return FAILED if arm.failed else NOT_RUN


def _trials(arm: ArmRow) -> str:
    planned = arm.seeds + len(arm.failed) + len(arm.missing)
    seeds = f"{arm.seeds}" if arm.seeds == planned else f"{arm.seeds}/{planned}"
    return f"{seeds} × {arm.episodes}"


def _minus(row: ContrastRow | WholeRow) -> str:
    return f"{row.a} − {row.b}"


def kind(row: InjectionRow) -> str:
    return f"{'control' if row.control else 'signal'} into {row.slot}"


def _difference(row: ContrastRow) -> str:
    if row.dropped:
        return f"{' and '.join(row.dropped)} {DROPPED}"
    return points(row.figure) if row.paired or row.figure is None else f"{points(row.figure)} unpaired"


def _same(shown: bool | None) -> str:
    return ABSENT if shown is None else "yes" if shown else "no"


MDE = column("mde", "mde", effect, meaning="smallest detectable effect, which 80 % of repeated studies would find")
SEEDS = column("seeds", "seeds", meaning="training seeds that the figure rests on")
SLOT = column("slot", "slot")

FIRST = "injected, frozen − frozen; it and what follows are of the first signal, all are listed under Injections"

FREEZING = (
    SLOT,
    column("freeze cost", "freeze_cost", points, meaning="all trained − this slot frozen"),
    MDE,
    SEEDS,
    column("verdict", "verdict", meaning="bottleneck: above 0 and above every other slot's cost (Holm)", wordy=True),
)
EVIDENCE = (
    SLOT,
    column("relief", "relief", points, meaning="only this slot and the head trained − only the head trained"),
    column("pretraining value", "pretraining_value", points, meaning="all trained − this slot random, trained"),
    column("random floor", "random_floor", percent, meaning="success with this slot random and frozen, in %"),
    column("injection gain", "injection_gain", points, meaning=FIRST),
    column("specific gain", "specific_gain", points, meaning="injected, frozen − the best negative control"),
    column("trained injection", "trained_injection_gain", points, meaning="injected, trained − all trained"),
    column("recovery", "recovery", percent, meaning="injection gain ÷ freeze cost in %, where the cost is above 0"),
)
INJECTION = column("injection", "name")
INJECTIONS = (
    INJECTION,
    Column("kind", kind, kind, "control: a negative control, which teaches nothing of acting", beneath=True),
    Column("frozen arm", attrgetter("frozen"), lambda row: row.frozen or ABSENT, beneath=True),
    Column("trained arm", attrgetter("trained"), lambda row: row.trained or ABSENT, beneath=True),
    column("injection gain", "gain", points, meaning="injected, frozen − frozen"),
    column("Holm", "p_adjusted", probability, meaning="p adjusted over the signals"),
    SEEDS,
    MDE,
)
BESIDE_GAIN = (
    INJECTION,
    column("success", "success", percent, meaning="of the frozen arm, in %"),
    column("specific gain", "specific", points, meaning="injected, frozen − the best negative control"),
    column("recovery", "recovery", percent, meaning="injection gain ÷ freeze cost in %, where the cost is above 0"),
    column("trained injection", "trained_gain", points, meaning="injected, trained − all trained"),
)
WHOLE = (
    column("success owed to", "name"),
    Column("arms", _minus, _minus, beneath=True),
    column("difference", "difference", points),
    MDE,
)
SHARES = (
    column("input", "name"),
    column("Shapley share", "share", points, meaning="what it adds to blank inputs, averaged over all orders"),
    MDE,
)


def _contrasts(adjusted: str, meaning: str) -> tuple[Column, ...]:
    return (
        column("contrast", "name"),
        Column("arms", _minus, _minus, beneath=True),
        Column("difference", attrgetter("figure"), _difference, "paired by seed and by episode of the manifest"),
        column("p", "p", probability, meaning="two-sided, against no difference"),
        column(adjusted, "p_adjusted", probability, meaning=meaning),
        column("±5", "equivalent", _same, meaning="shown to lie within ±5 points (TOST)"),
        SEEDS,
        MDE,
    )


CONTRASTS = _contrasts("Holm", "p adjusted over the declared contrasts")
EXPLORATORY = _contrasts("BH", "p adjusted for false discoveries (Benjamini, Hochberg); hints, not findings")
ARMS = (
    column("arm", "name"),
    column("ledger", "facts", meaning="what really was trained, and from which weights", beneath=True),
    Column("success", attrgetter("figure"), _success),
    Column("n", _trials, _trials, "training seeds (done/planned) × episodes"),
    column("trained", "trainable_parameters", count, meaning="trainable parameters"),
    column("time", "seconds", duration, meaning="of training, mean of the runs"),
)
PUBLISHED = (
    column("whose", "whose"),
    column("benchmark", "benchmark", beneath=True),
    Column("difference", attrgetter("shown"), attrgetter("text"), "† theirs, recomputed from what they published"),
    column("n", "trials", meaning="training seeds × episodes; ? where they do not state it"),
    column("as published", "about", beneath=True),
)
