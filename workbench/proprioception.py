"""What a policy is told of where its robot is: the state of its demonstrations, and of every moment at play."""

from dataclasses import dataclass

import numpy as np

from workbench.data.statistics import Normalisation, Statistics, normalise
from workbench.errors import UserError
from workbench.spec import Spec

# N moments  S state width


@dataclass(frozen=True, eq=False)
class Proprioception:
    """A scale for the S numbers of the robot's state, from `statistics` of the demonstrations' `observation.state`."""

    statistics: Statistics

    @property
    def width(self) -> int:
        """S."""
        return len(self.statistics.mean)

    def scaled(self, state_NS: np.ndarray) -> np.ndarray:
        """float32 `[N, S]`: mean 0 and standard deviation 1 over the demonstrations; 0 for what never moved in them.

        Raises UserError for another S.
        """
        return normalise(state_NS, self.statistics, Normalisation.MEAN_STD)


def proprioception_of(spec: Spec, statistics: Statistics, where: str) -> Proprioception | None:
    """How the policy of `spec` is told the state, by the statistics of the data `where`; None where it is not.

    Raises UserError where the data have another state than the policy is given.
    """
    if not spec.proprioception:
        return None
    found = Proprioception(statistics)
    if found.width != spec.proprioception:
        raise UserError(
            f"The robot's state has {found.width} numbers in {where}; the policy is given {spec.proprioception} "
            "(proprioception): give other demonstrations, or none of it."
        )
    return found
