"""What a run is trained on, and by which loss: demonstrations for a policy, an objective for an encoder."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from workbench.backbones.contract import Backbone
from workbench.compute import Place
from workbench.data.contract import Frames
from workbench.data.statistics import Statistics
from workbench.fingerprint import check_contents
from workbench.heads.contract import Drawn
from workbench.objectives.contract import Given
from workbench.objectives.facts import facts
from workbench.objectives.moments import Moments
from workbench.objectives.registry import build_objective
from workbench.plan import Finetune, Inject
from workbench.policy import Policy, slot_of
from workbench.spec import Spec
from workbench.training.features import Features
from workbench.training.group import ALONE, Group
from workbench.training.imitate import ActionScale, Demonstrations, imitation_loss
from workbench.training.pieces import Division

POLICY, OBJECTIVE = "policy", "objective"


@dataclass(frozen=True)
class Lesson:
    """The module that is trained, its endless batches from any step on, and the parts of the loss of one.

    `still`: nothing is to be learned, and a trained slot need not move. `products` are files that go with the result,
    `told` figures about what was learned from.
    """

    model: nn.Module
    batches: Callable[[int], Iterator[Any]]
    loss: Callable[[Any], Mapping[str, Tensor]]
    still: bool = False
    products: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, float] = field(default_factory=dict)

    def changing(self) -> dict[str, Tensor]:
        """All that a step may change: what is trained, all buffers, and an objective, which may move a teacher."""
        parameters = self.model.named_parameters()
        moving = {name: p for name, p in parameters if p.requires_grad or name.startswith(f"{OBJECTIVE}.")}
        return moving | dict(self.model.named_buffers())

    @staticmethod
    def rate_of(parameter: str, spec: Spec) -> float:
        """The factor on the learning rate of a parameter of `model`; an objective's own have none."""
        owner, _, name = parameter.partition(".")
        return spec.slot(slot_of(name)).rate if owner == POLICY else 1.0


def demonstrations(
    plan: Finetune,
    policy: Policy,
    frames: Frames,
    *,
    scale: ActionScale,
    backbone: Backbone,
    spot: Place,
    features: Features | None = None,
    group: Group = ALONE,
) -> Lesson:
    """A policy imitates; what a frozen encoder sees may come from `features`. `frames` are what `for_training` gave.

    Where the plan's `compute` divides batches, they come in those pieces that are this process's in `group`.
    """
    proprioception = plan.spec.proprioception > 0
    data = Demonstrations(frames, scale, backbone=backbone, chunk=plan.budget.chunk, proprioception=proprioception)
    batches = data.batches
    if plan.compute.pieces > 1:
        own = group.pieces(plan.compute.pieces)
        draw = partial(_draw, policy)
        batches = partial(data.divided, Division(plan.compute.pieces, own, draw))
    return Lesson(
        nn.ModuleDict({POLICY: policy}),
        lambda skip: batches(plan.budget.batch, seed=plan.seed, skip=skip, seen=features),
        lambda batch: imitation_loss(policy, batch.to(spot.device)),
    )


def _draw(policy: Policy, action_BKA: Tensor) -> Drawn:
    """What the head draws for these actions, where the head is."""
    return policy.head.draw(action_BKA.to(policy.places["head"]))


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
    check_contents(plan)
    moments = Moments(frames, scale, state=state, backbone=backbone)
    given = Given(policy, backbone, moments, plan.budget.chunk)
    objective = build_objective(plan.objective, given, seed=plan.seed).to(spot.device)
    return Lesson(
        nn.ModuleDict({POLICY: policy, OBJECTIVE: objective}),
        lambda skip: moments.batches(
            plan.budget.batch, seed=plan.seed, device=spot.device, augmentation=plan.augmentation, skip=skip
        ),
        lambda signals: objective.loss(policy, signals),
        still=facts(plan.objective).still,
        products=objective.products(),
        told=objective.told(),
    )
