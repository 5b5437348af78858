"""What an action is to a policy: how many numbers, and whether the last is a gripper that is open or closed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Actions:
    """`width` numbers a step. With `binary_gripper` the last is a decision, +1 closed and -1 open, and the others are
    regressed; without, all of them are.
    """

    width: int = 7
    binary_gripper: bool = True

    def __str__(self) -> str:
        return f"{self.width} numbers with a {'binary' if self.binary_gripper else 'continuous'} gripper"

    @property
    def regressed(self) -> int:
        """How many of the numbers are regressed."""
        return self.width - self.binary_gripper
