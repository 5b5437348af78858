"""What a training begins with: the policy, built and adapted, on its device, and what it is to learn."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.collect import open_data
from workbench.compute import Place, place
from workbench.data.dataset import Dataset
from workbench.errors import UserError
from workbench.interventions import for_training
from workbench.plan import Finetune, Inject, Inputs
from workbench.policy import Policy
from workbench.proprioception import Proprioception, proprioception_of
from workbench.recipes import actions_of
from workbench.stages import keep_adapters
from workbench.training.adapt import adapt
from workbench.training.features import Features, open_features
from workbench.training.group import ALONE, Group
from workbench.training.imitate import ActionScale
from workbench.training.lesson import Lesson, demonstrations, injection


@dataclass(frozen=True)
class Ready:
    """`colour [3]` uint8 is the mean of the data's pictures; `tasks` are the sentences that they were given with."""

    policy: Policy
    backbone: Backbone
    lesson: Lesson
    spot: Place
    dataset: Dataset
    scale: ActionScale
    colour: np.ndarray
    tasks: tuple[str, ...]
    features: Features | None
    proprioception: Proprioception | None


def ready(plan: Finetune | Inject, root: Path, group: Group = ALONE) -> Ready:
    """The same in every process of `group`, but for its own pieces of the batches."""
    actions = actions_of(plan.data)
    policy, backbone = build(
        plan.spec, plan.seed, chunk=plan.budget.chunk, root=root, compute=plan.compute, actions=actions
    )
    dataset = open_data(root, plan.data)
    frames = dataset.frames(range(len(dataset.episodes)))
    statistics = dataset.statistics["action"]
    if len(statistics.mean) != actions.width:
        raise UserError(
            f"An action of {dataset.root} has {len(statistics.mean)} numbers; the plan was made for {actions}: set "
            "data.actions to what it has."
        )
    scale = ActionScale(statistics, binary_gripper=actions.binary_gripper)
    colour, tasks = frames.image.mean(axis=(0, 1, 2)).round().astype(np.uint8), frames.tasks
    inputs = plan.inputs if isinstance(plan, Finetune) else Inputs()
    state = dataset.statistics["observation.state"]
    proprioception = proprioception_of(plan.spec, state, str(dataset.root))
    frames = for_training(frames, inputs, mean_colour=colour, seed=plan.seed, proprioception=proprioception)
    adapt(policy, plan.spec, seed=plan.seed)
    keep_adapters(policy, plan.spec, root)
    spot = place(plan.compute)
    spot.settle(policy)
    features = None
    if isinstance(plan, Finetune):
        images = torch.from_numpy(frames.image)
        features = open_features(root, policy, images, batch=plan.budget.batch, spot=spot)
        lesson = demonstrations(
            plan, policy, frames, scale=scale, backbone=backbone, spot=spot, features=features, group=group
        )
    else:
        lesson = injection(plan, policy, frames, scale=scale, state=state, backbone=backbone, spot=spot)
    return Ready(policy, backbone, lesson, spot, dataset, scale, colour, tasks, features, proprioception)
