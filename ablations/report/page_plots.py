"""Forest plots of the page as values: where each whisker stands, in per cent of the width, and what its tip says."""

from dataclasses import dataclass

from ablations.notation import ABSENT, count, duration, effect, percent, points, probability
from ablations.report.columns import FAILED, NOT_RUN, kind
from ablations.report.whiskers import Axis, difference_axis, share_axis
from ablations.table import ArmRow, ContrastRow, Figure, InjectionRow, SlotRow, Table, WholeRow

MOST_TICKS = 7
FREEZING = "What freezing each slot costs: all trained − this slot frozen"
Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Whisker:
    """An interval and its point, in per cent of the axis. `hollow`: screening. `cut_*`: it reaches beyond the axis."""

    low: float
    high: float
    at: float
    clear: bool
    hollow: bool
    cut_low: bool
    cut_high: bool


@dataclass(frozen=True)
class Row:
    """A line of a plot; `whisker` is None where there is no figure. `tip` is shown on hover and focus.

    `link` is the id of what stands behind the row, "" where nothing does.
    """

    name: str
    beneath: str
    text: str
    whisker: Whisker | None
    dots: tuple[float, ...]
    tip: Facts
    link: str = ""


@dataclass(frozen=True)
class Plot:
    """`ticks` are (per cent of the width, label); `zero` is where nothing is gained or lost.

    `bars`: each figure is also drawn as a bar from there.
    """

    id: str
    title: str
    about: str
    ticks: tuple[tuple[float, str], ...]
    zero: float
    rows: tuple[Row, ...]
    bars: bool = False


def forest(table: Table) -> tuple[Plot, ...]:
    """Freeze costs, declared contrasts and what the whole model owes to something, all on one axis."""
    figures = [row.figure for row in table.contrasts] + [row.freeze_cost for row in table.slots]
    axis = difference_axis([*figures, *(row.difference for row in table.whole)], 1)
    about = "difference in success, in percentage points, with its 95 % interval"
    drawn = (
        ("contrasts", "Declared contrasts", tuple(_contrast(row, axis, table) for row in table.contrasts)),
        ("freezing", FREEZING, tuple(_slot(row, axis, table) for row in table.slots)),
        ("owed", "What the whole model owes to …", tuple(_whole(row, axis, table) for row in table.whole)),
    )
    return tuple(_plot(id, title, about, axis=axis, rows=rows) for id, title, rows in drawn if rows)


def success(table: Table) -> Plot:
    """Success of each arm, and each training seed as a dot."""
    axis = share_axis(1)
    rows = tuple(_arm(arm, axis, f"arm-{number}") for number, arm in enumerate(table.arms))
    about = "success in %, with its 95 % interval; small dots are training seeds"
    return _plot("success", "Success of each arm", about, axis=axis, rows=rows)


def recoveries(table: Table) -> Plot | None:
    """How much of its slot's freeze cost each injection wins back; None where no recovery is defined."""
    found = [(row, row.recovery) for row in table.injections if row.recovery is not None]
    if not found:
        return None
    reach = max([1.0, *(min(2.0, figure.high) for _, figure in found)])
    axis = Axis(min([0.0, *(max(-1.0, figure.low) for _, figure in found)]), reach, 1)
    rows = tuple(
        Row(row.name, kind(row), f"{percent(figure)} %", _whisker(figure, axis), (), _recovered(row, table))
        for row, figure in found
    )
    about = "injection gain in % of the freeze cost, with its 95 % interval; 100 % wins all of it back"
    return Plot("recovery", "Recovery", about, _ticks(axis), place(axis, 0.0), rows, bars=True)


def place(axis: Axis, value: float) -> float:
    """Where a value stands, in per cent of the width; what lies outside stands at the end."""
    return round(100 * (min(max(value, axis.low), axis.high) - axis.low) / (axis.high - axis.low), 3)


def _plot(id: str, title: str, about: str, *, axis: Axis, rows: tuple[Row, ...]) -> Plot:
    return Plot(id, title, about, _ticks(axis), place(axis, 0.0), rows)


def _ticks(axis: Axis) -> tuple[tuple[float, str], ...]:
    """Round numbers on the axis, 0 among them."""
    low, high = round(100 * axis.low), round(100 * axis.high)
    step = next(step for step in (5, 10, 20, 25, 50, 100, 200) if (high - low) / step < MOST_TICKS)
    first = -(-low // step) * step
    return tuple((place(axis, at / 100), f"{at}".replace("-", "−")) for at in range(first, high + 1, step))


def _whisker(figure: Figure | None, axis: Axis, *, rate: bool = False) -> Whisker | None:
    if figure is None:
        return None
    return Whisker(
        low=place(axis, figure.low),
        high=place(axis, figure.high),
        at=place(axis, figure.value),
        clear=rate or figure.low > 0 or figure.high < 0,
        hollow=figure.screening,
        cut_low=figure.low < axis.low,
        cut_high=figure.high > axis.high,
    )


def _slot(row: SlotRow, axis: Axis, table: Table) -> Row:
    tip = _facts(
        ("freeze cost", points(row.freeze_cost)),
        ("n", _trials(row.seeds, table.episodes)),
        ("smallest detectable effect", effect(row.mde)),
        ("verdict", row.verdict),
    )
    return Row(row.slot, "", points(row.freeze_cost), _whisker(row.freeze_cost, axis), (), tip)


def _recovered(row: InjectionRow, table: Table) -> Facts:
    return _facts(
        ("recovery", f"{percent(row.recovery)} %"),
        ("injection gain", points(row.gain)),
        ("n", _trials(row.recovery.seeds if row.recovery else 0, table.episodes)),
        ("arm", row.frozen or ABSENT),
    )


def _contrast(row: ContrastRow, axis: Axis, table: Table) -> Row:
    exact = ", ".join(f"seed {seed} {probability(p)}" for seed, p in row.mcnemar.items())
    tip = _facts(
        ("difference", points(row.figure)),
        ("n", _trials(row.seeds, table.episodes)),
        ("p", probability(row.p)),
        ("p, Holm-adjusted", probability(row.p_adjusted)),
        ("exact McNemar p", exact or ABSENT),
        ("smallest detectable effect", effect(row.mde)),
        ("a training of a beats one of b", _share(row.improvement)),
        ("pairing", "by seed and episode" if row.paired else "none: no training seed in common"),
    )
    shown = tip if row.figure is not None else _facts(("difference", NOT_RUN))
    return Row(row.name, f"{row.a} − {row.b}", points(row.figure), _whisker(row.figure, axis), (), shown)


def _whole(row: WholeRow, axis: Axis, table: Table) -> Row:
    seeds = row.difference.seeds if row.difference else 0
    tip = _facts(
        ("difference", points(row.difference)),
        ("n", _trials(seeds, table.episodes)),
        ("smallest detectable effect", effect(row.mde)),
    )
    beneath = f"{row.a} − {row.b}"
    return Row(row.name, beneath, points(row.difference), _whisker(row.difference, axis), (), tip)


def _arm(arm: ArmRow, axis: Axis, link: str) -> Row:
    text = percent(arm.figure) if arm.figure else FAILED if arm.failed else NOT_RUN
    shares = ", ".join(f"seed {seed} {100 * share:.1f}" for seed, share in arm.by_seed.items())
    tip = _facts(
        ("success", text),
        ("n", _trials(arm.seeds, arm.episodes)),
        ("by training seed", shares or ABSENT),
        ("interquartile mean", _share(arm.iqm)),
        ("trainable parameters", count(arm.trainable_parameters)),
        ("training time", duration(arm.seconds)),
    )
    dots = tuple(place(axis, share) for share in arm.by_seed.values()) if arm.seeds > 1 else ()
    return Row(arm.name, arm.facts, text, _whisker(arm.figure, axis, rate=True), dots, tip, link)


def _share(figure: Figure | None) -> str:
    return ABSENT if figure is None else f"{percent(figure)} %"


def _facts(*facts: tuple[str, str]) -> Facts:
    return facts


def _trials(seeds: int, episodes: int) -> str:
    if seeds == 0:
        return ABSENT
    return f"{seeds} training {'seed' if seeds == 1 else 'seeds'} × {episodes} episodes"
