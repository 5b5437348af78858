"""What an injection adds beyond every negative control."""

from collections.abc import Mapping
from dataclasses import dataclass

from scipy import stats

from ablations.statistics.contrast import contrast
from ablations.statistics.design import Outcomes
from ablations.statistics.interval import ALPHA, ENOUGH_SEEDS, Estimate, Interval


@dataclass(frozen=True)
class Gain(Interval):
    """The smallest gain over a control. `against` names that control, `over` all that were played."""

    against: str
    over: tuple[str, ...]
    seeds: int

    @property
    def screening(self) -> bool:
        """Too few training seeds, in one of the comparisons, to support a claim."""
        return self.seeds < ENOUGH_SEEDS


def specific_gain(injected: Outcomes, controls: Mapping[str, Outcomes]) -> Gain | None:
    """Success of the injected arm minus that of the best control, over the controls that were played; None if none was.

    Which control is the best is read from the same outcomes, so the best alone would be compared with luck on its side.
    The interval is therefore that of the smallest of all gains. Its lower end is the lowest of the contrasts' own lower
    ends, without adjustment (intersection-union, Berger 1982): it errs only where the truly best control's does. Its
    upper end is the lowest of upper ends that share an error of 5 % (Bonferroni), 2.5 % at most for each: any of them
    may err, but where several controls are equally good, the lower end hardly ever does, since all would have to.
    The value itself tends to be too low where controls are about equally good.
    """
    gains = {name: gain for name, arm in controls.items() if (gain := contrast(injected, arm)) is not None}
    if not gains:
        return None
    against = min(gains, key=lambda name: gains[name].value)
    return Gain(
        value=gains[against].value,
        low=min(gain.low for gain in gains.values()),
        high=min(_upper(gain, ALPHA / max(2, len(gains))) for gain in gains.values()),
        against=against,
        over=tuple(gains),
        seeds=min(gain.seeds for gain in gains.values()),
    )


def _upper(gain: Estimate, alpha: float) -> float:
    return min(1.0, gain.value + float(stats.t.ppf(1 - alpha, gain.freedom)) * gain.error)
