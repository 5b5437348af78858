"""A simulator of nothing, as costly as it is told to be and shaped like LIBERO: for measuring what is around it.

It needs NumPy alone and can be played here, or in a process of its own by the workbench's server (`Simulator`).
"""

import os

import numpy as np

SIDE = 256
STEP, PICTURE = "STANDIN_STEP", "STANDIN_PICTURE"
"""Environment variables: how many products of matrices a control step and a picture cost."""
RULES = {"libero-spatial": os.environ.get("STANDIN_RULES", "")}


class Work:
    """A fixed amount of computation, not of time: a busy machine makes it slower, as it does a simulator."""

    def __init__(self):
        self.step, self.picture = int(os.environ[STEP]), int(os.environ[PICTURE])
        self.matrix = np.random.default_rng(0).standard_normal((48, 48)) / 7.0
        self.canvas = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)

    def burn(self, products):
        found = self.matrix
        for _ in range(products):
            found = self.matrix @ found
        return found

    def draw(self, seed):
        """A picture of its own, uint8 [256, 256, 3]."""
        self.burn(self.picture)
        return self.canvas + np.uint8(seed % 256)


class Simulator:
    """The same for the workbench's server; no episode is ever solved."""

    PLAYS = RULES

    def __init__(self, rules, count, camera, render):
        self.work = Work()

    def place(self, row, start):
        return self.sentence(start)

    def move(self, row, action):
        self.work.burn(self.work.step)
        return False, 0.0, False, "pick up the black bowl"

    def look(self, row):
        return self.work.draw(row), np.zeros(8, np.float32)

    def first_frame(self, start):
        return self.work.draw(0)

    def sentence(self, start):
        return "pick up the black bowl"

    def expert_action(self, row):
        raise NotImplementedError

    def close(self):
        pass
