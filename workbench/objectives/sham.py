"""The same pictures, steps and optimiser, and nothing to learn: what an injection does by merely being done."""

from collections.abc import Mapping

from torch import Tensor

from workbench.objectives.contract import Objective
from workbench.objectives.moments import Signals
from workbench.policy import Policy


class Sham(Objective):
    """A loss of exactly 0 whose gradient is exactly 0; only weight decay moves the encoder.

    The pictures do pass the encoder, so that a step costs what it costs elsewhere and NaN is NaN.
    """

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        return {"sham": 0 * policy.vision(signals.image_BHWC).float().mean()}
