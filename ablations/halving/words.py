"""What is said of successive halving: beneath the table, beside an arm that was dropped, and while it goes on."""

from collections.abc import Iterable, Sequence

from ablations.halving.halve import Ahead, Decided, Halving, ahead
from ablations.halving.rungs import FEWEST, RUNGS, Score
from ablations.notation import plural
from ablations.runs import Wanted
from ablations.study import Study

METHOD = "Successive halving (arXiv:1502.07943)"


def notes(study: Study, halving: Halving) -> tuple[str, ...]:
    """What a table with `screen` owes its reader; nothing where the study is not screened."""
    if not study.screen:
        return ()
    if not halving.competing:
        return (_nothing(halving),)
    return (waiting(study, halving),) if halving.due else _outcome(study, halving)


def _nothing(halving: Halving) -> str:
    few = f"{plural(len(halving.spared), 'arm')} could compete ({_named(halving.spared)})" if halving.spared else "none"
    needed = f"it takes {FEWEST} that put something in and freeze the same slots; here {few}"
    return f"{METHOD} dropped no arm: {needed}. All are run in full."


def waiting(study: Study, halving: Halving) -> str:
    """Which rung is to be decided, in a sentence."""
    arms, episodes = len(halving.undecided), plural(len(study.selection.manifest()), "selection episode")
    rung = RUNGS[len(halving.decided)]
    return (
        f"{METHOD} is not decided yet: {plural(len(halving.due), 'training')} of {plural(arms, 'arm')} with "
        f"{rung.name} of their steps, played on {episodes}, say which of them go on; none of them "
        "has a figure before."
    )


def _outcome(study: Study, halving: Halving) -> tuple[str, ...]:
    arms, episodes = sum(len(group) for group in halving.competing), len(study.selection.manifest())
    left = " and ".join(f"{len(one.left)} went on after {one.rung.name}" for one in halving.decided)
    told = (
        f"{METHOD} chose which arms were run in full, by the success of one training of each on {episodes} selection "
        f"episodes: of {arms} arms that compete, {left} of their steps. "
        f"Dropped: {'; '.join(_dropped(study, halving.dropped.values()))}. The figures above are on other episodes and "
        "other training seeds, which took no part in this; arms that were dropped have none, and nothing is said of "
        "them. What freezes slots or takes something away, controls and references did not compete."
    )
    lost = [repr(one.name) for one in study.contrasts if {one.a, one.b} & set(halving.dropped)]
    if not lost:
        return (told,)
    return told, f"Declared contrasts that have no figure, since an arm of theirs was dropped: {', '.join(lost)}."


def _dropped(study: Study, scores: Iterable[Score]) -> list[str]:
    """`after 180 of 720 steps 'a' (41.0 %), 'b' (39.0 %)`, for each number of steps."""
    after: dict[str, list[str]] = {}
    for score in scores:
        after.setdefault(_steps(study, score), []).append(_scored(score))
    return [f"after {steps} {', '.join(arms)}" for steps, arms in after.items()]


def dropped(study: Study, score: Score) -> str:
    """What stands beside an arm that was dropped."""
    episodes = len(study.selection.manifest())
    how = f"broke ({score.error})" if score.error else f"{100 * score.success:.1f} % of {episodes} selection episodes"
    return f"dropped after {_steps(study, score)}: {how}"


def decided(one: Decided) -> str:
    """A rung that is decided, in a sentence, while the study goes on."""
    left = [_scored(score) for score in one.scores if score.arm in one.left]
    lost = [_scored(score) for score in one.scores if score.arm not in one.left]
    return f"After {one.rung.name} of the steps {', '.join(left) or 'no arm'} went on; dropped: {', '.join(lost)}."


def called(run: Wanted) -> str:
    """A run's arm, and which share of its steps a rung makes."""
    return f"{run.arm} ({run.rung})" if run.rung else run.arm


def planned(study: Study, halving: Halving) -> tuple[str, ...]:
    """The notes, and how much there may be behind the rung that is due."""
    told, parts = notes(study, halving), tuple(ahead(study, halving))
    return (*told, _at_most(parts)) if parts else told


def _at_most(parts: Sequence[Ahead]) -> str:
    """How much there may be behind the rung that is due, in a sentence."""
    arms: dict[str, int] = {}
    for part in parts:
        arms[part.share] = arms.get(part.share, 0) + part.most
    shares = " and ".join(f"{most} make {share} of their steps" for share, most in arms.items())
    runs = sum(sum(sorted((len(own) for own in part.runs.values()), reverse=True)[: part.most]) for part in parts)
    return f"After it at most {shares}: that is {plural(runs, 'further run')} at most."


def _steps(study: Study, score: Score) -> str:
    arm = next(arm for arm in study.arms if arm.name == score.arm)
    return f"{score.steps:,} of {study.budget_of(arm).steps:,} steps"


def _scored(score: Score) -> str:
    return f"'{score.arm}' ({'broke: ' + score.error if score.error else f'{100 * score.success:.1f} %'})"


def _named(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
