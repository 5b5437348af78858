"""Where the robot is, read from one picture: end-effector state regression."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from workbench.objectives.contract import Objective, Pooled, Sizes
from workbench.objectives.moments import Signals
from workbench.policy import Policy


class State(Objective):
    """L1 on the state, each value in units of its standard deviation."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.read = Pooled(sizes.dim, sizes.state)

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        return {"state": functional.l1_loss(self.read(policy.vision(signals.image_BHWC)), signals.state_BS)}
