"""What torch's allocator on the CPU hands out: the truth that counts of memory are held against."""

from collections.abc import Callable
from typing import Any

import torch


def most_allocated(action: Callable[[], object]) -> int:
    """Bytes of tensors, and of what kernels take for themselves, at most at a time, that `action` adds to what is."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        action()
    profiler = seen.profiler
    assert profiler is not None and profiler.kineto_results is not None
    events: list[Any] = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most
