"""A trained policy, ready to act again: from its spec and its tensors alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from torch import Tensor

from encoders.contract import Encoder
from workbench.build import build
from workbench.compute import place
from workbench.data.statistics import Statistics
from workbench.errors import UserError
from workbench.evaluate import Player
from workbench.plan import Compute, Evaluate, Finetune, Inject, Replay
from workbench.proprioception import proprioception_of
from workbench.recipes import actions_of
from workbench.record import Record
from workbench.spec import Spec, with_random_weights
from workbench.training.adapt import adapt
from workbench.training.imitate import ActionScale
from workbench.weights import load_slot, read_weights


def revive(
    spec: Spec,
    tensors: Mapping[str, Tensor],
    *,
    chunk: int,
    compute: Compute,
    scale: ActionScale,
    mean_colour: list[int],
    tasks: Sequence[str] = (),
    state: Mapping[str, Any] | None = None,
) -> Player:
    """The policy of `spec` with `tensors` in it: every one is replaced, so that no pretrained file is read.

    `state` are the statistics of the robot's state, as recorded, for a policy that is given it. Raises UserError where
    they, or the tensors, are not those of the spec.
    """
    bare, spot = with_random_weights(spec), place(compute)
    policy, backbone = build(bare, 0, chunk=chunk, root=Path(), compute=compute, actions=scale.actions)
    adapt(policy, bare, seed=0)
    spot.settle(policy)
    try:
        policy.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        raise UserError(f"The weights are not those of this model: {shorten(str(error), 300)}") from error
    colour, proprioception = np.array(mean_colour, np.uint8), None
    if state is not None:
        statistics = Statistics.from_json(state, "observation.state")
        proprioception = proprioception_of(spec, statistics, "the policy's statistics")
    return Player(policy, backbone, scale, colour, spot, tuple(tasks), proprioception)


def training_plan(record: Record) -> Finetune | Inject:
    """The plan of a run that has weights of its own. Raises UserError for one that only plays another's policy."""
    plan = record.plan
    if isinstance(plan, Evaluate):
        raise UserError(f"The run {record.id} only plays the policy of {plan.of}: name that one, it has the weights.")
    if isinstance(plan, Replay):
        raise UserError(f"In the run {record.id} the scripted expert plays: it has no weights.")
    return plan


def trained_encoder(record: Record, root: Path) -> Encoder:
    """The vision encoder of a finished run, on the CPU, built from what the run was built from.

    So that tensors of its library's model that the tokens do not depend on leave as they came.
    """
    plan = training_plan(record)
    policy, _ = build(plan.spec, plan.seed, chunk=plan.budget.chunk, root=root, actions=actions_of(plan.data))
    adapt(policy, plan.spec, seed=plan.seed)
    load_slot(policy.vision, "vision", record.folder)
    return policy.vision


def player_of(record: Record) -> Player:
    """The policy of a finished run."""
    plan = training_plan(record)
    statistics = Statistics.from_json(record.result["action_statistics"], "action")
    scale = ActionScale(statistics, binary_gripper=actions_of(plan.data).binary_gripper)
    return revive(
        plan.spec,
        read_weights(record.folder),
        chunk=plan.budget.chunk,
        compute=plan.compute,
        scale=scale,
        mean_colour=record.result["mean_colour"],
        tasks=record.result.get("tasks", ()),
        state=record.result["state_statistics"] if plan.spec.proprioception else None,
    )
