"""Successive halving of a study's arms (arXiv:1502.07943): short trainings, played on the selection episodes, decide
which arms are run in full. What is decided follows from what is recorded, and from nothing else.

Arms compete that put something in; arms that take something away do not: there a low success is the finding, and
halving by success would drop the bottleneck first. Every rung's runs are runs like others, with fewer steps.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from ablations.arms import Arm
from ablations.halving.rungs import FEWEST, RUNGS, SEED, Rung, Score, better_half, by_arm, half
from ablations.runs import Wanted, arm_runs, wanted
from ablations.stages import INJECTION, spec_of
from ablations.study import Study
from workbench.objectives.facts import facts
from workbench.plan import Finetune, Inject, Inputs, run_id
from workbench.record import find
from workbench.spec import SLOTS, Frozen, Full, Slot, Spec

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Decided:
    """A rung all of whose runs are recorded: how its arms did, and the names of those that go on."""

    rung: Rung
    scores: tuple[Score, ...]
    left: tuple[str, ...]


@dataclass(frozen=True)
class Halving:
    """How far the halving of a study is.

    `competing` are arms by groups that freeze the same slots; `spared` would compete, but have too few rivals in their
    group. `due` are all runs of the rung that is to be decided next, recorded or not; none once all is decided.
    """

    competing: Groups
    spared: tuple[str, ...]
    decided: tuple[Decided, ...]
    due: tuple[Wanted, ...]

    @property
    def dropped(self) -> dict[str, Score]:
        """Arms that are not run in full, and how they did on the rung after which they were dropped."""
        return {score.arm: score for one in self.decided for score in one.scores if score.arm not in one.left}

    @property
    def undecided(self) -> tuple[str, ...]:
        """Arms of which it is not known yet whether they are run in full."""
        return tuple(dict.fromkeys(run.arm for run in self.due))

    @property
    def left(self) -> Groups:
        """Arms that were not dropped so far, by groups."""
        return tuple(tuple(name for name in group if name not in self.dropped) for group in self.competing)


def halve(study: Study, score: Callable[[Wanted], Score | None]) -> Halving:
    """How far the halving is by the scores of its runs, None for those that are missing. Nothing else is looked at."""
    competing, spared = groups(study) if study.screen else ((), ())
    halving = Halving(competing, spared, (), ())
    for rung in RUNGS if competing else ():
        runs = tuple(rung_runs(study, chain(*halving.left), rung))
        scores = by_arm(found for run in runs if (found := score(run)) is not None)
        if any(score(run) is None for run in runs):
            return replace(halving, due=runs)
        left = chain(*(better_half([one for one in scores if one.arm in group]) for group in halving.left))
        halving = replace(halving, decided=(*halving.decided, Decided(rung, scores, tuple(left))))
    return halving


def halved(study: Study, root: Path) -> Halving:
    """How far the halving is by what is recorded under `root`."""
    found: dict[str, Score | None] = {}

    def score(run: Wanted) -> Score | None:
        if run.id not in found:
            found[run.id] = _recorded(run, root)
        return found[run.id]

    return halve(study, score)


def _recorded(run: Wanted, root: Path) -> Score | None:
    assert isinstance(run.plan, Finetune), "a rung trains"
    record, steps = find(root, run.plan), run.plan.budget.steps
    if record is None:
        return None
    if record.error is not None:
        return Score(run.arm, steps, error=record.error)
    played = [(outcome.success, outcome.progress) for outcome in record.outcomes()]
    success, progress = np.mean(played, axis=0).tolist()
    return Score(run.arm, steps, success, progress)


def runs_of(study: Study, halving: Halving) -> list[Wanted]:
    """Every run that the study wants as far as it is decided: injections, those of the rungs, those in full."""
    full = wanted(study, {*halving.dropped, *halving.undecided})
    rungs = [run for one in halving.decided for run in rung_runs(study, [s.arm for s in one.scores], one.rung)]
    injections = [run for run in full if isinstance(run.plan, Inject)]
    once = {run.id: run for run in (*injections, *rungs, *halving.due)}
    return [*once.values(), *full[len(injections) :]]


def rung_runs(study: Study, names: Iterable[str], rung: Rung) -> Iterator[Wanted]:
    """One training of each arm with each of its learning rates: fewer steps, and it plays the selection episodes."""
    wanted_names = set(names)
    for arm in study.arms:
        if arm.name in wanted_names:
            for run in arm_runs(study, arm.model_copy(update={"seeds": (SEED,)})):
                if isinstance(run.plan, Finetune):
                    shorter = {"budget": rung.budget(run.plan.budget), "protocol": study.selection}
                    plan = run.plan.model_copy(update=shorter)
                    yield replace(run, id=run_id(plan), plan=plan, chooses=True, rung=rung.name)


def groups(study: Study) -> tuple[Groups, tuple[str, ...]]:
    """Arms that compete, each with those that freeze the same slots, and those that have too few rivals for it."""
    found: dict[tuple[str, ...], list[str]] = {}
    first, *others = study.arms
    reference = spec_of(first, study.base, first.name)
    for arm in others:
        if not arm.reference and arm.inputs == Inputs() and "steps" not in arm.budget:
            spec = spec_of(arm, study.base, arm.name)
            if competes(study, arm, spec, reference):
                frozen = tuple(name for name in SLOTS if isinstance(spec.slot(name).tune, Frozen))
                found.setdefault(frozen, []).append(arm.name)
    halved = tuple(tuple(group) for group in found.values() if len(group) >= FEWEST)
    return halved, tuple(chain(*(group for group in found.values() if len(group) < FEWEST)))


def competes(study: Study, arm: Arm, spec: Spec, reference: Spec) -> bool:
    """Whether an arm puts something in that the reference has not, and no negative control.

    That is another module or its tokens, an injection's weights, updates of a part, a slot's own learning rate, or, in
    the reference's own model, another learning rate or batch. What takes weights or training away is no such thing, nor
    is a run from outside the study, which might be a negative control.
    """
    starts = [spec.slot(name).weights for name in SLOTS]
    taught = [study.injections[one.removeprefix(INJECTION)] for one in starts if one.startswith(INJECTION)]
    if any(facts(one.objective).control for one in taught) or any(one.startswith("run:") for one in starts):
        return False
    return spec == reference or any(_puts_in(spec.slot(name), reference.slot(name)) for name in SLOTS)


def _puts_in(slot: Slot, reference: Slot) -> bool:
    changed = (slot.module, slot.tokens, slot.rate) != (reference.module, reference.tokens, reference.rate)
    started = slot.weights.startswith(INJECTION) and slot.weights != reference.weights
    return changed or started or (slot.tune != reference.tune and not isinstance(slot.tune, Full | Frozen))


@dataclass(frozen=True)
class Ahead:
    """Runs that a group of arms may still make, by arm, of which at most `most` arms make theirs.

    `share` is what they make of their steps, in words.
    """

    share: str
    runs: Mapping[str, tuple[Wanted, ...]]
    most: int


def ahead(study: Study, halving: Halving) -> Iterator[Ahead]:
    """What comes behind the rung that is due, if anything is: shorter rungs first, then what is run in full."""
    if not halving.due:
        return
    later = RUNGS[len(halving.decided) + 1 :]
    for group in halving.left:
        most = half(len(group))
        for rung in later:
            yield Ahead(rung.name, {name: tuple(rung_runs(study, [name], rung)) for name in group}, most)
            most = half(most)
        full = (arm for arm in study.arms if arm.name in group)
        yield Ahead("all", {arm.name: tuple(arm_runs(study, arm)) for arm in full}, most)
