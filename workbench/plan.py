"""What one run will do, as a value. Its digest is the run's id: computed before the run, and again from its record.

No torch here: planning a study costs milliseconds.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from workbench.augmentation import UNCHANGED, Augmentation, check_augmentation
from workbench.benchmarks.contract import Protocol
from workbench.benchmarks.rules import rules_of
from workbench.errors import UserError, unknown
from workbench.objectives.facts import facts, spelled
from workbench.recipes import COLLECTOR_VERSION, Data, Expert
from workbench.spec import SLOTS, SlotName, Spec, Value, digest, later, only_head

Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
RESULTS_VERSION = 3
"""Raised when code changes what a plan results in; part of every id, so that old records are not taken for new ones."""


class Budget(Value):
    """How long and how a policy is trained; the same for every arm that is compared.

    AdamW, linear warm-up, then cosine to zero or constant; gradients are clipped to `clip_norm` (2-norm of all).
    `chunk` actions are predicted at once.
    """

    steps: int = Field(default=300, ge=1, le=10**9)
    batch: int = Field(default=64, ge=1, le=10**6)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=20, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    chunk: int = Field(default=4, ge=1, le=10**4)


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(str(unknown("device", name, ["auto", "cpu", "cuda", "cuda:<number>"])))
    return name


def _one_device(name: str) -> str:
    if not re.fullmatch(r"cpu|cuda:\d+", name):
        raise ValueError(str(unknown("device", name, ["cpu", "cuda:<number>"])))
    return name


Device = Annotated[str, AfterValidator(_device)]
OneDevice = Annotated[str, AfterValidator(_one_device)]


class Compute(Value):
    """Where and in which precision tensors are computed; the same for every arm that is compared.

    `auto` is the GPU, and bfloat16 there, where there is one; else the CPU in float32. In bfloat16 what is frozen is
    stored in it, what is trained stays in float32, and both are computed under autocast. `gradient_checkpointing`
    (non-reentrant) computes the backbone's trained blocks twice instead of keeping what is between them. `device_map`
    puts slots of a model that is too large for one GPU on others (`language = "cuda:1"`). A batch is computed by so
    many `processes` at the same time, on a GPU each or all on the CPU, and by each in `accumulate` pieces one after the
    other: the same steps, up to rounding and to what drops out. With `sharding` "full" each process keeps its share of
    parameters, gradients and optimiser state instead of all of them (FSDP2).
    """

    device: Device = "auto"
    device_map: dict[SlotName, OneDevice] = later({})
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    gradient_checkpointing: bool = False
    accumulate: int = later(1, ge=1, le=10**6)
    processes: int = later(1, ge=1, le=1024)
    sharding: Literal["none", "full"] = later("none")

    @model_validator(mode="after")
    def _each_its_own(self) -> "Compute":
        if self.processes > 1 and (self.device_map or ":" in self.device):
            raise ValueError(
                f"processes is {self.processes}, and each has a GPU of its own: leave device_map out, and give no "
                "number in device ('auto', 'cuda' or 'cpu')"
            )
        return self

    @property
    def pieces(self) -> int:
        """How many pieces a batch is computed in by all processes together."""
        return self.processes * self.accumulate


def _objective(name: str) -> str:
    try:
        return spelled(name)
    except UserError as error:
        raise ValueError(str(error)) from error


Objective = Annotated[str, AfterValidator(_objective)]


def check_signal(objective: str, data: Data) -> None:
    """Raises ValueError where the data cannot hold what the objective reads."""
    if isinstance(data, Expert) and facts(objective).privileged and not data.privileged:
        raise ValueError(
            f"objective is {objective!r}, which reads what only the simulator knows: set data.privileged = true"
        )


class Inputs(Value):
    """What the policy is given in place of what the camera sees, the user says and the robot feels.

    Image: `blank` is the mean colour of the training images; `first-frame` the episode's own first picture all along;
    `other-episode` the first picture of another episode; `noise` is drawn anew for each frame.
    Instruction: `blank` is no words; `wrong` names another block of the same scene; `other-episode` is that of another
    scene; `scrambled` are the same words in random order; `paraphrased` the same in words that no demonstration uses;
    `task-id` is a number for each sentence: the same information without language.
    Proprioception, of a policy that is given any: `zero` is the mean of the training states; `other-episode` the first
    state of another episode all along.
    """

    image: Literal["seen", "blank", "first-frame", "other-episode", "noise"] = "seen"
    instruction: Literal["given", "blank", "wrong", "other-episode", "scrambled", "paraphrased", "task-id"] = "given"
    proprioception: Literal["given", "zero", "other-episode"] = later("given")


def check_inputs(inputs: Inputs, *, trained: bool) -> None:
    """Raises ValueError for what can be given only at play, or only to a policy that was trained with it."""
    if trained and inputs.image == "noise":
        raise ValueError("a policy is not trained on noise, which it would learn by heart; train it with 'blank'")
    if trained and inputs.instruction in ("wrong", "paraphrased"):
        raise ValueError(
            f"{inputs.instruction!r} instructions need the scene, which demonstrations do not keep; "
            "give them at test, or train with 'blank', 'scrambled', 'other-episode' or 'task-id'"
        )
    if not trained and inputs.instruction == "task-id":
        raise ValueError("'task-id' means nothing to a policy that was not trained so; train it so too (retrained)")


def check_proprioception(spec: Spec, inputs: Inputs, benchmark: str) -> None:
    """Raises ValueError where the policy is given another state than the benchmark tells, or none that could change."""
    names = rules_of(benchmark).state
    if spec.proprioception not in (0, len(names)):
        raise ValueError(
            f"proprioception is {spec.proprioception}, but {benchmark} tells {len(names)} numbers of its robot's state "
            f"({', '.join(names)}): write true in a study, and it is as many"
        )
    if inputs.proprioception != "given" and not spec.proprioception:
        raise ValueError(
            f"inputs.proprioception is {inputs.proprioception!r}, but the policy is given no state of the robot that "
            "could be changed: set base.proprioception = true"
        )


class Finetune(Value):
    """Train a policy on demonstrations, then play the protocol. The last step is the one that is played.

    `inputs` are what it is given all along, at training as at play.
    """

    kind: Literal["finetune"] = "finetune"
    spec: Spec
    data: Data
    budget: Budget
    protocol: Protocol
    compute: Compute = Compute()
    inputs: Inputs = later(Inputs())
    seed: Seed = 0

    @model_validator(mode="after")
    def _trainable_inputs(self) -> "Finetune":
        check_inputs(self.inputs, trained=True)
        check_proprioception(self.spec, self.inputs, self.protocol.benchmark)
        return self

    @model_validator(mode="after")
    def _divisible(self) -> "Finetune":
        if self.compute.sharding == "full" and self.compute.processes == 1:
            raise ValueError("compute.sharding is 'full', but compute.processes is 1: give more, or leave sharding out")
        if self.compute.pieces > self.budget.batch:
            raise ValueError(
                f"compute.processes × compute.accumulate is {self.compute.pieces}, but a batch has only "
                f"{self.budget.batch} rows: give fewer, or a larger budget.batch"
            )
        return self


class Inject(Value):
    """Train on a control signal, or a negative control; the product is the vision encoder's weights.

    `contents` are fingerprints of the local files that the objective names, filled in when a study is planned.
    """

    kind: Literal["inject"] = "inject"
    objective: Objective = "behaviour-cloning"
    spec: Spec
    data: Data
    budget: Budget
    augmentation: Augmentation = later(UNCHANGED)
    compute: Compute = Compute()
    seed: Seed = 0
    contents: dict[str, str] = later({})

    @model_validator(mode="after")
    def _readable(self) -> "Inject":
        check_signal(self.objective, self.data)
        check_augmentation(self.objective, self.augmentation)
        if self.spec.proprioception:
            raise ValueError("an injection teaches the encoder to see: its policy is given no state of the robot")
        if self.compute.pieces > 1 or self.compute.sharding == "full":
            raise ValueError(
                f"compute.processes is {self.compute.processes} and compute.accumulate {self.compute.accumulate}, but "
                "an injection computes each batch whole (its objective may compare moments within a batch): leave both "
                "at 1, and sharding out"
            )
        return self


class Evaluate(Value):
    """Play the protocol again with a finished run's policy and other inputs."""

    kind: Literal["evaluate"] = "evaluate"
    of: str = Field(pattern=r"^[0-9a-f]{12}$")
    protocol: Protocol
    inputs: Inputs


class Replay(Value):
    """The benchmark's scripted expert plays the protocol: no policy, the ceiling of what can be reached."""

    kind: Literal["replay"] = "replay"
    protocol: Protocol


Plan = Annotated[Finetune | Inject | Evaluate | Replay, Field(discriminator="kind")]


def run_id(plan: Plan) -> str:
    """Digest of everything that can change the run's result, and of nothing else."""
    value: dict[str, Any] = plan.model_dump(mode="json")
    if value.get("data", {}).get("kind") == "folder":
        del value["data"]["path"]
    told: dict[str, Any] = {"version": RESULTS_VERSION, "plan": value}
    if isinstance(plan, Finetune | Inject) and only_head(plan.spec):
        told["prefix"] = "once"  # runs from before it was read once have other last bits
    return digest(told)


Job = Plan | Expert
"""What an engine carries out: a run, or the collecting of demonstrations that runs train on."""


def job_id(job: Job) -> str:
    """The id of a run, or of a dataset: a digest of its recipe."""
    if isinstance(job, Expert):
        return digest({"version": COLLECTOR_VERSION, "recipe": job.model_dump(mode="json")})
    return run_id(job)


def needs(job: Job) -> tuple[str, ...]:
    """Ids of the runs that must be finished before this one."""
    if isinstance(job, Expert | Replay):
        return ()
    if isinstance(job, Evaluate):
        return (job.of,)
    slots = (job.spec.slot(name) for name in SLOTS)
    return tuple(dict.fromkeys(s.weights.removeprefix("run:") for s in slots if s.weights.startswith("run:")))
