"""What a run is trained on, and by which loss: demonstrations for a policy, an objective for an encoder."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from workbench.backbones.contract import Backbone
from workbench.compute import Place
from workbench.data.contract import Frames
from workbench.data.statistics import Statistics
from workbench.imitate import ActionScale, Demonstrations, imitation_loss
from workbench.objectives.contract import Sizes
from workbench.objectives.moments import Moments
from workbench.objectives.registry import build_objective
from workbench.plan import Finetune, Inject
from workbench.policy import Policy, slot_of
from workbench.spec import Spec

POLICY, OBJECTIVE = "policy", "objective"


@dataclass(frozen=True)
class Lesson:
    """The module that is trained, its endless batches, and the parts of the loss of one."""

    model: nn.Module
    batches: Iterator[Any]
    loss: Callable[[Any], Mapping[str, Tensor]]

    @staticmethod
    def rate_of(parameter: str, spec: Spec) -> float:
        """The factor on the learning rate of a parameter of `model`; an objective's own have none."""
        owner, _, name = parameter.partition(".")
        return spec.slot(slot_of(name)).rate if owner == POLICY else 1.0


def demonstrations(
    plan: Finetune, policy: Policy, frames: Frames, *, scale: ActionScale, backbone: Backbone, spot: Place
) -> Lesson:
    """A policy imitates."""
    data = Demonstrations(frames, scale, backbone=backbone, chunk=plan.budget.chunk)
    return Lesson(
        nn.ModuleDict({POLICY: policy}),
        data.batches(plan.budget.batch, seed=plan.seed),
        lambda batch: imitation_loss(policy, batch.to(spot.device)),
    )


def injection(
    plan: Inject,
    policy: Policy,
    frames: Frames,
    *,
    scale: ActionScale,
    state: Statistics,
    backbone: Backbone,
    spot: Place,
) -> Lesson:
    """An encoder learns what the objective asks; the objective's own parameters are trained beside it, and dropped."""
    card = policy.vision.card
    sizes = Sizes(
        card.tokens,
        card.dim,
        state=frames.state.shape[1],
        actions=frames.action.shape[1],
        chunk=plan.budget.chunk,
    )
    objective = build_objective(plan.objective, sizes, seed=plan.seed).to(spot.device)
    moments = Moments(frames, scale, state=state, backbone=backbone)
    return Lesson(
        nn.ModuleDict({POLICY: policy, OBJECTIVE: objective}),
        moments.batches(plan.budget.batch, seed=plan.seed, device=spot.device),
        lambda signals: objective.loss(policy, signals),
    )
