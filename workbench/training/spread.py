"""Where a policy's tensors are while it is trained: all of them in each process, or each process its share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from workbench.plan import Finetune, Inject
from workbench.policy import Policy
from workbench.training.group import Group
from workbench.training.ledger import with_gradient


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Spread:
    """What is done otherwise where tensors are sharded; the processes do each of these together.

    `clip` bounds the norm of all gradients and returns what it was. `alive` names the parameters whose gradient is not
    zero. `end` puts the policy together again, in the first process.
    """

    clip: Callable[[Sequence[nn.Parameter], float], Tensor] = nn.utils.clip_grad_norm_
    alive: Callable[[Policy], set[str]] = with_gradient
    end: Callable[[], None] = _nothing


def spread(plan: Finetune | Inject, policy: Policy, group: Group) -> Spread:
    """Shards `policy` where the plan's `compute` says so and there is more than one process."""
    if plan.compute.sharding == "none" or group.size == 1:
        return Spread()
    from workbench.training.sharding import shard  # a second of imports

    return shard(policy, group)
