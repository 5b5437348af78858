"""An action expert trained by flow matching, after π0 (arXiv:2410.24164, §IV and appendix B).

As in π0: the path from noise (time 0) to actions (time 1) is straight, times are drawn from a Beta distribution that
prefers noise, action tokens carry the time through an MLP and see each other and the model's tokens in one softmax,
and ten Euler steps integrate. Unlike π0, whose expert reads the keys and values of every layer of its own model, this
one reads the final hidden states, so that it stands on any backbone (as the expert of GR00T N1 does, arXiv:2503.14734).
"""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from workbench.actions import Actions
from workbench.backbones.contract import Hidden
from workbench.heads.contract import Chunk, Drawn, Head, mean_of_real
from workbench.reader import Reader

# B batch  L positions  E language width  K action steps  A action dimensions  W width of the expert

LAYERS = 4
STEPS = 10
LATEST = 0.999
"""No time is drawn beyond it: an Euler step of 1/10 never starts there (s in π0, appendix B)."""


class FlowHead(Head):
    """Velocity of K noisy action steps, given the hidden states of the whole sequence; a binary gripper is one of A.

    The query token is part of what is read; it has no other role here.
    """

    def __init__(self, query_E: Tensor, *, chunk: int, actions: Actions):
        super().__init__(query_E, chunk=chunk)
        self.actions = actions
        width = min(1024, math.ceil(len(query_E) / 64) * 64)
        self.place_KW = nn.Parameter(torch.randn(chunk, width) * 0.02)
        self.noisy = nn.Linear(actions.width, width)
        self.timed = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.readers = nn.ModuleList(Reader(width, len(query_E)) for _ in range(LAYERS))
        self.velocity = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, actions.width))

    def draw(self, action_BKA: Tensor) -> Drawn:
        """The noise that each row's path begins with, and the time at which it is looked at."""
        return torch.randn_like(action_BKA), flow_times(len(action_BKA), action_BKA.device)

    def loss(
        self, hidden: Hidden, action_BKA: Tensor, padded_BK: Tensor, drawn: Drawn | None = None
    ) -> Mapping[str, Tensor]:
        """Squared error of the velocity; padded steps are neither counted nor seen by the others."""
        noise_BKA, time_B = self.draw(action_BKA) if drawn is None else drawn
        time_B11 = time_B[:, None, None]
        noisy_BKA = time_B11 * action_BKA + (1 - time_B11) * noise_BKA
        velocity_BKA = self._velocity(self._remember(hidden), noisy_BKA, time_B, self._may_read(hidden, ~padded_BK))
        error_BK = (velocity_BKA - (action_BKA - noise_BKA)).pow(2).mean(-1)
        return {"flow": mean_of_real(error_BK, padded_BK)}

    def act(self, hidden: Hidden, noise: Sequence[torch.Generator]) -> Chunk:
        """Euler integration from each row's own noise."""
        place = hidden.all_BLE.device
        action_BKA = torch.stack([torch.randn(self.chunk, self.actions.width, generator=one) for one in noise]).to(
            place
        )
        may_read = self._may_read(hidden, action_BKA.new_ones(action_BKA.shape[:2], dtype=torch.bool))
        remembered = self._remember(hidden)
        for step in range(STEPS):
            time_B = action_BKA.new_full((len(noise),), step / STEPS)
            action_BKA = action_BKA + self._velocity(remembered, action_BKA, time_B, may_read) / STEPS
        arm_BKA = action_BKA[..., : self.actions.regressed].clamp(-1, 1)
        return Chunk(arm_BKA, action_BKA[..., -1] > 0 if self.actions.binary_gripper else None)

    def _remember(self, hidden: Hidden) -> list[Tensor]:
        return [reader.remember(hidden.all_BLE) for reader in self._readers]

    def _velocity(self, remembered: list[Tensor], noisy_BKA: Tensor, time_B: Tensor, may_read_BS: Tensor) -> Tensor:
        """float32 `[B, K, A]`; the network computes in the precision of its weights."""
        place_KW = self.place_KW
        noisy_BKW = self.noisy(noisy_BKA.to(place_KW.dtype))
        wave_BKW = waves(time_B, place_KW.shape[-1])[:, None].to(place_KW.dtype).expand_as(noisy_BKW)
        tokens_BKW = self.timed(torch.cat([noisy_BKW, wave_BKW], dim=-1)) + place_KW
        for reader, memory in zip(self._readers, remembered, strict=True):
            tokens_BKW = reader(tokens_BKW, memory, may_read_BS=may_read_BS)
        return self.velocity(tokens_BKW).float()

    @property
    def _readers(self) -> list[Reader]:
        return cast(list[Reader], list(self.readers))

    @staticmethod
    def _may_read(hidden: Hidden, real_BK: Tensor) -> Tensor:
        """Which of the L + K keys may be read: tokens that are no padding, steps that are real."""
        return torch.cat([hidden.mask_BL.bool(), real_BK], dim=1)


def flow_times(batch: int, device: torch.device) -> Tensor:
    """`[B]` times in [0, 0.999]: (0.999 − t) / 0.999 ~ Beta(1.5, 1), by its inverse distribution function."""
    return LATEST * (1 - torch.rand(batch, device=device).pow(1 / 1.5))


def waves(time_B: Tensor, width: int) -> Tensor:
    """Sines and cosines of the time, `[B, width]`, with periods from 4e-3 to 4 (as π0's published code has them)."""
    share = torch.linspace(0, 1, width // 2, device=time_B.device)
    angle = 2 * math.pi * time_B[:, None] / (4e-3 * (4.0 / 4e-3) ** share)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
