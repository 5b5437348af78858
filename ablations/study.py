"""A study: one TOML file that says what is asked, of which model, with which arms; and the runs that this means."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from ablations.parse import first_error
from workbench.benchmarks.contract import Protocol, check_tasks
from workbench.errors import UserError, unknown
from workbench.fingerprint import pinned
from workbench.plan import Budget, Compute, Data, Evaluate, Expert, Finetune, Folder, Inject, Inputs, Plan, Seed, run_id
from workbench.spec import SLOTS, Edit, Spec, Value, edited

CONFIGS = Path(__file__).parent.parent / "configs"
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1)]


class Arm(Value):
    """A name, the edits that make it out of the study's base, and what it is given at test."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    edits: tuple[Edit, ...] = ()
    inputs: Inputs = Inputs()
    seeds: Seeds | None = None


class Injection(Value):
    """A control signal that is trained into the vision encoder once, and shared by every arm and seed that names it."""

    objective: Literal["behaviour-cloning"] = "behaviour-cloning"
    edits: tuple[Edit, ...] = ()
    data: Data
    budget: Budget
    seed: Seed = 0


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
    compute: Compute = Compute()
    seeds: Seeds = (0,)
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
            if contrast.a == contrast.b:
                raise ValueError(f"contrast {contrast.name!r} compares the arm {contrast.a!r} with itself")
        if self.protocol.n_action_steps > self.budget.chunk:
            raise ValueError(
                f"protocol.n_action_steps is {self.protocol.n_action_steps}, more than the {self.budget.chunk} actions "
                "that are predicted at once (budget.chunk)"
            )
        self._distinct()
        self._disjoint()
        return self

    def _distinct(self) -> None:
        """Two arms that are the same model would be compared with themselves."""
        for name, injection in self.injections.items():
            if injected := _injected(_edited(self.base, injection.edits, f"injections.{name}")):
                raise ValueError(f"injections.{name} starts from the injection {injected[0]!r}: use a run's id")
        seen: dict[str, str] = {}
        for arm in self.arms:
            spec = _edited(self.base, arm.edits, f"arm {arm.name!r}")
            for name in _injected(spec):
                if name not in self.injections:
                    raise ValueError(f"arm {arm.name!r}: {unknown('injection', name, self.injections)}")
            key = _resolved(self, spec).model_dump_json() + arm.inputs.model_dump_json()
            if key in seen:
                raise ValueError(f"the arms {seen[key]!r} and {arm.name!r} are the same model: an edit changes nothing")
            seen[key] = arm.name

    def _disjoint(self) -> None:
        """Injection, finetuning and evaluation must not share an initial state."""
        splits = {"evaluation": self.protocol.split}
        injected = {f"injections.{name}.data": injection.data for name, injection in self.injections.items()}
        for name, data in {"data": self.data, **injected}.items():
            if isinstance(data, Expert):
                check_tasks(data.tasks, self.protocol.benchmark, owner=f"{name}.tasks")
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
    chosen = study.injections[name]
    return Inject(
        objective=chosen.objective,
        spec=pinned(edited(study.base, chosen.edits)),
        data=chosen.data,
        budget=chosen.budget,
        compute=study.compute,
        seed=chosen.seed,
    )


def _edited(spec: Spec, edits: tuple[Edit, ...], owner: str) -> Spec:
    """Raises ValueError that names the owner of edits which make an impossible model."""
    try:
        return edited(spec, edits)
    except ValidationError as error:
        raise ValueError(f"{owner}: {first_error(error, Spec)}") from error


def _injected(spec: Spec) -> list[str]:
    """Names of the injections that a spec's slots start from."""
    sources = [spec.slot(slot).weights for slot in SLOTS]
    return [source.removeprefix("injection:") for source in sources if source.startswith("injection:")]


def _resolved(study: Study, spec: Spec) -> Spec:
    """`injection:<name>` becomes the id of the run that the study declares under that name."""
    for slot in SLOTS:
        weights = spec.slot(slot).weights
        if weights.startswith("injection:"):
            run = run_id(injection_plan(study, weights.removeprefix("injection:")))
            spec = spec.with_slot(slot, spec.slot(slot).model_copy(update={"weights": f"run:{run}"}))
    return spec


def wanted(study: Study) -> list[Wanted]:
    """Every run of the study, each once: injections, finetunings, then evaluations with other inputs.

    Where no arm is the trained model that an evaluation plays, its training is listed as `<arm> (training)`.
    """
    injections, trainings, evaluations, played = [], [], [], []
    shared = {"data": study.data, "budget": study.budget, "protocol": study.protocol, "compute": study.compute}
    for name in study.injections:
        plan = injection_plan(study, name)
        injections.append(Wanted(run_id(plan), f"injection:{name}", plan.seed, plan))
    for arm in study.arms:
        spec = pinned(_resolved(study, edited(study.base, arm.edits)))
        for seed in arm.seeds or study.seeds:
            finetune = Finetune(spec=spec, seed=seed, **shared)
            trained = run_id(finetune)
            if arm.inputs == Inputs():
                trainings.append(Wanted(trained, arm.name, seed, finetune))
            else:
                played.append(Wanted(trained, f"{arm.name} (training)", seed, finetune))
                again = Evaluate(of=trained, protocol=study.protocol, inputs=arm.inputs)
                evaluations.append(Wanted(run_id(again), arm.name, seed, again))
    once: dict[str, Wanted] = {}
    for run in (*injections, *trainings, *played, *evaluations):
        once.setdefault(run.id, run)
    return list(once.values())


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
        return _pinned(Study.model_validate(content))
    except ValidationError as error:
        raise UserError(f"{path}: {first_error(error, Study)}") from error


def _pinned(study: Study) -> Study:
    """The study with the digest of every dataset folder: a run's id covers the content of what it is trained on."""
    injections = {
        name: injection.model_copy(update={"data": _with_digest(injection.data)})
        for name, injection in study.injections.items()
    }
    return study.model_copy(update={"data": _with_digest(study.data), "injections": injections})


def _with_digest(data: Data) -> Data:
    if not isinstance(data, Folder) or data.digest:
        return data
    from workbench.collect import resolved  # the simulator's module: only where a folder has to be read

    return resolved(data)
