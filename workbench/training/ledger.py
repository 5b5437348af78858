"""What really happened to every slot: counted, hashed before and after, gradients watched. Stored with each run."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workbench.errors import RunFailed
from workbench.policy import Policy
from workbench.projectors import image_tokens
from workbench.spec import SLOTS, SlotName, Spec

WATCHED_STEPS = 4
"""A LoRA's A has no gradient while its B is still zero: every trainable tensor must have had one within these steps."""

MOVED = {"frozen": "frozen", "full": "full", "lora": "part", "last-blocks": "part", "norms": "part"}
"""How much of a slot each kind of tune trains."""


class LedgerBroken(RunFailed):
    """A slot did something else than its spec says; the run is worthless and stops."""


@dataclass(frozen=True)
class Row:
    """One slot. `before` and `after` hash all its tensors; `gradient` counts tensors whose gradient was not zero."""

    slot: str
    module: str
    weights: str
    tune: str
    parameters: int
    trainable: int
    tensors: int
    gradient: int
    before: str
    after: str

    @property
    def moved(self) -> str:
        return "frozen" if self.trainable == 0 else "full" if self.trainable == self.parameters else "part"


@dataclass(frozen=True)
class Ledger:
    rows: tuple[Row, ...]
    new_parameters: int
    """Parameters that the backbone does not have: query, head and new projectors."""
    total_parameters: int
    encoder_tokens: int
    """Image tokens that the encoder gives; `image_tokens` are those that the language model reads."""
    image_tokens: int

    def as_json(self) -> dict[str, Any]:
        rows = [asdict(row) | {"moved": row.moved} for row in self.rows]
        return asdict(self) | {"rows": rows}


def tensor_hash(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Sixteen hexadecimal digits over names, shapes, types and bits."""
    found = hashlib.sha256()
    for name, tensor in tensors:
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def _kept_together(key: str) -> str:
    """A parameter's name without the number of its expert.

    An expert that no token was routed to within the watched steps has no gradient, and is not dead: a layer's experts
    count as one, as those that are one tensor do anyway.
    """
    return re.sub(r"\.experts\.\d+\.", ".experts.", key)


def slot_hash(slot: nn.Module) -> str:
    """Of all its parameters and buffers."""
    return tensor_hash([*slot.named_parameters(), *slot.named_buffers()])


def with_gradient(policy: Policy) -> set[str]:
    """Names of the parameters whose gradient is not zero."""
    return {key for key, p in policy.named_parameters() if p.grad is not None and bool(p.grad.any())}


class Audit:
    """Watches a training run: open before the first step, `after_backward` each step, `close` after the last.

    `still`: the loss has no gradient, so that what is trained need not have one, nor move.
    """

    def __init__(self, policy: Policy, spec: Spec, *, still: bool = False):
        self.spec = spec
        self.still = still
        self.before = {name: slot_hash(policy.get_submodule(name)) for name in SLOTS}
        self.trainable = {key for key, parameter in policy.named_parameters() if parameter.requires_grad}
        self.seen: set[str] = set()
        self.steps = 0

    def state(self) -> dict[str, Any]:
        """What was seen so far (JSON), for a training that is taken up again."""
        return {"before": self.before, "seen": sorted(self.seen), "steps": self.steps}

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on with what an earlier attempt at the same training had seen."""
        self.seen, self.steps = set(state["seen"]), state["steps"]

    def after_backward(self, policy: Policy, alive: Callable[[Policy], set[str]] = with_gradient) -> None:
        """Raises `LedgerBroken` where a frozen tensor has a gradient, or a trainable one still has none."""
        if self.steps >= WATCHED_STEPS:
            return
        self.steps += 1
        found = alive(policy)
        if leaked := found - self.trainable:
            raise LedgerBroken(f"frozen parameters have a gradient: {sorted(leaked)}")
        self.seen |= found
        if self.steps == WATCHED_STEPS:
            self._all_seen()

    def close(self, policy: Policy) -> Ledger:
        """The ledger. Raises `LedgerBroken` where a frozen slot moved or a trained one did not, or had no gradient."""
        if self.steps > 1:  # after one step a LoRA's A has none yet
            self._all_seen()
        rows = tuple(self._row(policy, name) for name in SLOTS)
        for row in rows:
            if row.parameters and row.moved != MOVED[row.tune]:  # raw patches have nothing that could move
                raise LedgerBroken(f"the slot {row.slot!r} was to be tuned {row.tune!r}, but it is {row.moved}")
            if (row.before == row.after) != (row.moved == "frozen") and not (self.still and row.before == row.after):
                raise LedgerBroken(
                    f"the slot {row.slot!r} is {row.moved}, but its bits say otherwise: {row.before} → {row.after}"
                )
        fresh = [r for r in rows if r.slot == "head" or (r.slot == "projector" and r.module != "native")]
        return Ledger(
            rows=rows,
            new_parameters=sum(row.parameters for row in fresh),
            total_parameters=sum(row.parameters for row in rows),
            encoder_tokens=policy.vision.card.tokens,
            image_tokens=image_tokens(policy.projector, policy.vision.card),
        )

    def _all_seen(self) -> None:
        if self.still:
            return
        alive = {_kept_together(key) for key in self.seen}
        if dead := {key for key in self.trainable if _kept_together(key) not in alive}:
            raise LedgerBroken(f"trainable parameters have no gradient after {self.steps} steps: {sorted(dead)}")

    def _row(self, policy: Policy, name: SlotName) -> Row:
        slot, asked = policy.get_submodule(name), self.spec.slot(name)
        parameters = dict(slot.named_parameters(prefix=name))
        moving = [key for key in parameters if key in self.trainable]
        return Row(
            slot=name,
            module=asked.module,
            weights=asked.weights,
            tune=asked.tune.kind,
            parameters=sum(p.numel() for p in parameters.values()),
            trainable=sum(parameters[key].numel() for key in moving),
            tensors=len(moving),
            gradient=len(self.seen & set(moving)),
            before=self.before[name],
            after=slot_hash(slot),
        )
