"""How a number is written, in every report and in the verdict: the one place where figures become text."""

from ablations.table import Figure

ABSENT = "–"
SCREENING = "*"  # after every figure on fewer than 3 training seeds


def points(figure: Figure | None) -> str:
    """A difference of two success rates in percentage points: `+12.3 [4.0, 20.1]`."""
    return ABSENT if figure is None else _interval("+.1f", figure)


def percent(figure: Figure | None) -> str:
    """A success rate, or a part of something, in per cent: `62.5 [51.0, 72.8]`."""
    return ABSENT if figure is None else _interval(".1f", figure)


def _interval(style: str, figure: Figure) -> str:
    """Rounded first, so that nothing is written as minus zero; with a true minus sign."""
    value, low, high = (round(100 * part, 1) + 0.0 for part in (figure.value, figure.low, figure.high))
    mark = SCREENING if figure.screening else ""
    return f"{value:{style}} [{low:.1f}, {high:.1f}]{mark}".replace("-", "−")


def effect(size: float | None) -> str:
    """A smallest detectable effect in points: `12.3`; no difference is larger than 100."""
    if size is None:
        return ABSENT
    return f"{100 * size:.1f}" if size <= 1 else ">100"


def probability(p: float | None) -> str:
    if p is None:
        return ABSENT
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def count(number: int | None) -> str:
    """`1,234`, `12.3M`, `7.1B`: three figures are enough to compare models."""
    if number is None:
        return ABSENT
    for unit, size in (("B", 10**9), ("M", 10**6)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3.5 h`."""
    if seconds is None:
        return ABSENT
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
