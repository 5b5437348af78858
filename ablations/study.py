"""A study: one TOML file that says what is asked, of which model, with which arms; and the runs that this means."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from ablations.parse import first_error
from workbench.benchmarks.contract import Protocol
from workbench.errors import UserError, unknown
from workbench.plan import Budget, Data, Evaluate, Expert, Finetune, Inject, Inputs, Plan, run_id
from workbench.spec import SLOTS, Edit, Spec, Value, edited

CONFIGS = Path(__file__).parent.parent / "configs"


class Arm(Value):
    """A name, the edits that make it out of the study's base, and what it is given at test."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    edits: tuple[Edit, ...] = ()
    inputs: Inputs = Inputs()
    seeds: tuple[int, ...] | None = None


class Injection(Value):
    """A control signal that is trained into the vision encoder once, and shared by every arm and seed that names it."""

    objective: str = Field("behaviour-cloning", pattern="^behaviour-cloning$")
    edits: tuple[Edit, ...] = ()
    data: Data
    budget: Budget
    seed: int = 0


class Contrast(Value):
    """A difference declared before the runs: the success of `a` minus that of `b`."""

    name: str
    a: str
    b: str


class Study(Value):
    """The whole question as a value."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    question: str
    base: Spec = Spec()
    data: Data
    budget: Budget
    protocol: Protocol
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    injections: dict[str, Injection] = {}
    arms: tuple[Arm, ...] = Field(min_length=1)
    contrasts: tuple[Contrast, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"two arms have the same name: {sorted(n for n in set(names) if names.count(n) > 1)}")
        for contrast in self.contrasts:
            for side in (contrast.a, contrast.b):
                if side not in names:
                    raise ValueError(f"contrast {contrast.name!r}: {unknown('arm', side, names)}")
        self._distinct()
        self._disjoint()
        return self

    def _distinct(self) -> None:
        """Two arms that are the same model would be compared with themselves."""
        seen: dict[str, str] = {}
        for arm in self.arms:
            key = edited(self.base, arm.edits).model_dump_json() + arm.inputs.model_dump_json()
            if key in seen:
                raise ValueError(f"the arms {seen[key]!r} and {arm.name!r} are the same model: an edit changes nothing")
            seen[key] = arm.name

    def _disjoint(self) -> None:
        """Injection, finetuning and evaluation must not share an initial state."""
        splits = {"evaluation": self.protocol.split}
        for name, data in [
            ("data", self.data),
            *((f"injections.{n}.data", i.data) for n, i in self.injections.items()),
        ]:
            if isinstance(data, Expert):
                splits[name] = data.split
        for name, split in splits.items():
            twins = [other for other, used in splits.items() if used == split and other != name]
            if twins and not all(t.startswith("injections.") for t in [name, *twins]):
                raise ValueError(f"{name} and {twins[0]} both use the {split!r} episodes; their splits must differ")


@dataclass(frozen=True)
class Wanted:
    """One run that a study wants: `arm` is the arm's name, or `injection:<name>`."""

    id: str
    arm: str
    seed: int
    plan: Plan


def injection_plan(study: Study, name: str) -> Inject:
    if name not in study.injections:
        raise UserError(str(unknown("injection", name, study.injections)))
    chosen = study.injections[name]
    return Inject(spec=edited(study.base, chosen.edits), data=chosen.data, budget=chosen.budget, seed=chosen.seed)


def _resolved(study: Study, spec: Spec) -> Spec:
    """`injection:<name>` becomes the id of the run that the study declares under that name."""
    for slot in SLOTS:
        weights = spec.slot(slot).weights
        if weights.startswith("injection:"):
            run = run_id(injection_plan(study, weights.removeprefix("injection:")))
            spec = spec.with_slot(slot, spec.slot(slot).model_copy(update={"weights": f"run:{run}"}))
    return spec


def wanted(study: Study) -> list[Wanted]:
    """Every run of the study, each once: injections, finetunings, then evaluations with other inputs."""
    found: dict[tuple[str, int], Wanted] = {}
    for name in study.injections:
        plan = injection_plan(study, name)
        found[f"injection:{name}", plan.seed] = Wanted(run_id(plan), f"injection:{name}", plan.seed, plan)
    for arm in study.arms:
        spec = _resolved(study, edited(study.base, arm.edits))
        for seed in arm.seeds or study.seeds:
            finetune = Finetune(spec=spec, data=study.data, budget=study.budget, protocol=study.protocol, seed=seed)
            plan: Plan = finetune
            if arm.inputs != Inputs():
                trained = run_id(finetune)
                if trained not in {w.id for w in found.values()}:
                    found[f"{arm.name} (training)", seed] = Wanted(trained, f"{arm.name} (training)", seed, finetune)
                plan = Evaluate(of=trained, protocol=study.protocol, inputs=arm.inputs)
            found[arm.name, seed] = Wanted(run_id(plan), arm.name, seed, plan)
    return list(found.values())


def study_path(name: str) -> Path:
    """A study file: a path, or the name of one in `configs/`."""
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UserError(f"No study file {name}. Ready-made ones: {', '.join(ready_made())}.")
        return path
    if name not in ready_made():
        raise unknown("study", name, ready_made())
    return CONFIGS / f"{name}.toml"


def ready_made() -> list[str]:
    return sorted(path.stem for path in CONFIGS.glob("*.toml"))


def read_study(name: str) -> Study:
    """The study in a TOML file; the first mistake is named with its path, the choices and the nearest one."""
    path = study_path(name)
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from error
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_error(error, Study)}") from error
