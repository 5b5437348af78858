"""A simulator of nothing, which needs NumPy alone and starts at once: an adapter for tests of what goes wrong."""

import os
import signal
import sys
import time

import numpy as np

DIES, HANGS, FAILS, PAINTS, ASKS = 66, 67, 68, 69, 70
"""Initial states at which a simulator does what simulators do."""


class Simulator:
    PLAYS = {"tabletop-v1": "b4bbe8408fd1"}

    def __init__(self, rules, count, camera, render):
        self.places = [None] * count
        self.steps, self.horizons = 0, rules["horizons"]

    def place(self, row, start):
        self.places[row] = state = start["initial_state"]
        if state == DIES:
            print("the table is on fire", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if state == HANGS:
            print("thinking …", file=sys.stderr, flush=True)
            time.sleep(60)
        if state == FAILS:
            raise ZeroDivisionError("the table has no legs")
        if state == ASKS:
            input("Download 40 GB of tables? [y/n] ")
        return f"do {state}"

    def move(self, row, action):
        self.steps += 1
        return False, 0.0 if self.steps == 3 else self.steps / 10, self.steps == 3, f"do {self.places[row]} again"

    def look(self, row):
        side = 65 if self.places[row] == PAINTS else 64
        return np.full((side, side, 3), self.places[row], np.uint8), np.arange(4)

    def first_frame(self, start):
        return np.full((64, 64, 3), start["initial_state"], np.uint8)

    def sentence(self, start):
        return f"do {start['initial_state']} in {self.horizons[start['task']]} steps"

    def close(self):
        print("closed", flush=True)
