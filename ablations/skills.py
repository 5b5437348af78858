"""Are a vision-language model's skills good predictors of control? The study that asks it, and what it finds.

As "Rethinking VLM Representation" and VLM4VLA (arXiv:2601.03309, §4.3) ask: a model is finetuned on one skill, a policy
is finetuned from it, and what the skill gained is set against what control gained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ablations.arms import Arm, Injection
from ablations.beside import TRAINED, contrast_of
from ablations.runs import Wanted, wanted
from ablations.study import Study
from ablations.table import Figure, Table
from workbench.benchmarks.rules import benchmarks, rules_of
from workbench.errors import UserError
from workbench.plan import Inject
from workbench.probes.correlation import Correlation, rank_correlation
from workbench.recipes import Expert, kept_aside
from workbench.skills.facts import SKILLS
from workbench.skills.scores import Scores

EPISODES = 40
"""Held-out demonstrations of each task, of the selection split, that skills are scored on."""


@dataclass(frozen=True)
class SkillRow:
    """One skill: its scores, and the difference in success of the policy that starts from it."""

    skill: str
    scores: Scores
    control: Figure | None

    @property
    def gain(self) -> float:
        return self.scores.after - self.scores.before


def skills_study(study: Study, skills: Sequence[str], seeds: Sequence[int]) -> Study:
    """The trained base beside an arm for each skill, which starts from the model that was finetuned on it.

    An injection has as many demonstrations as the study, its budget, and episodes of its own. Raises UserError where
    the study's demonstrations do not say what is where.
    """
    data = _told(study).model_copy(update={"split": "injection", "privileged": True})
    arms = tuple(Arm(name=f"after-{skill}", after=skill) for skill in skills)
    return study.sibling(
        name=f"{study.name}-skills",
        question=f"Is a skill of the model worth as much to the policy, under the budget of '{study.name}'?",
        seeds=tuple(seeds),
        injections={name: Injection(objective=f"questions:{name}", data=data, budget=study.budget) for name in skills},
        arms=(TRAINED, *arms),
        contrasts=tuple(contrast_of(arm, TRAINED) for arm in arms),
    )


def _told(study: Study) -> Expert:
    """The study's demonstrations, which its simulator can tell everything about. Raises UserError for others."""
    knowing = [name for name in benchmarks() if rules_of(name).privileged]
    remedy = f"and questions are about what only a simulator knows: ask a study of {' or '.join(knowing)}."
    if not isinstance(study.data, Expert):
        raise UserError(f"The demonstrations of study '{study.name}' are a folder, {remedy}")
    if study.data.benchmark not in knowing:
        benchmark = study.data.benchmark
        raise UserError(f"Study '{study.name}' plays {benchmark}, which tells nothing but what is seen, {remedy}")
    return study.data


def held_out(study: Study) -> Expert:
    """Demonstrations that neither the injections nor the policies nor their rollouts have seen."""
    assert isinstance(study.data, Expert), "skills_study refuses others"
    return kept_aside(study.data, EPISODES)


def finetunings(study: Study) -> Mapping[str, Wanted]:
    """The run of each skill."""
    runs = {run.id: run for run in wanted(study) if isinstance(run.plan, Inject)}
    return {run.arm.removeprefix("injection:"): run for run in runs.values()}


def skill_rows(table: Table, scores: Mapping[str, Scores]) -> list[SkillRow]:
    """A row for each skill that was scored, in the order of the study."""
    control = {row.a.removeprefix("after-"): row.figure for row in table.contrasts}
    return [SkillRow(skill, scores[skill], control[skill]) for skill in SKILLS if skill in scores]


def correlation(rows: Sequence[SkillRow]) -> Correlation | None:
    """Of skill gain and control gain over the skills; None where there are too few, or all of one side are the same."""
    played = [(row.gain, row.control.value) for row in rows if row.control is not None]
    gains, control = zip(*played, strict=True) if played else ((), ())
    return rank_correlation(gains, control, np.random.default_rng(31))
