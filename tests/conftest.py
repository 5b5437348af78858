"""One thread a process: two busy processes with two threads each run ten times slower than with one."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
