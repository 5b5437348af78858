"""Behaviour cloning in a world that has nothing of the benchmark's: discs over noise, drawn as they are needed.

The control of control: an encoder learns to find what is named and to say where it lies, of a place that no policy is
ever in.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from workbench.backbones.contract import Words
from workbench.objectives.contract import Given, Objective
from workbench.objectives.moments import Signals
from workbench.policy import Policy
from workbench.training.imitate import Batch, imitation_loss

# B pictures  M discs  P pixels of a disc  S = SIDE  A action dimensions, the gripper last

DISCS = {"red": (230, 30, 30), "green": (30, 200, 30), "blue": (40, 60, 240), "yellow": (240, 220, 20)}
DOT = (255, 255, 255)
SIDE, RADIUS, DOT_RADIUS = 64, 7, 5
"""Pixels. A picture is as large as the benchmark's; an encoder makes what it wants of either."""
CELLS, CELL = 3, 21
"""Cells a side, and pixels of one: each thing has a cell of its own, so that none hides another."""
DARKEST, LEVELS = 96, 64
"""Of the noise, which is grey in the mean. Under noise of all 256 levels the embedded backbone learned nothing in 720
steps of 16 pictures (a loss of 0.20); under this one the same steps bring it from 0.24 to 0.03."""


@dataclass(frozen=True)
class Drawn:
    """B pictures, which disc each asks for, and where it lies from the white dot: unit vectors, x right and y down."""

    image_BHWC: Tensor
    asked_B: Tensor
    towards_B2: Tensor


class OtherDomain(Objective):
    """The policy's own loss on the direction from a white dot to the disc that is named, in the first two dimensions.

    The other dimensions are 0 and the gripper is open. Of the moments only their number is taken. Pictures come from
    torch's global generator on the CPU, the same on every device.
    """

    def __init__(self, given: Given) -> None:
        super().__init__()
        self.actions = given.moments.actions
        self.words = given.backbone.tokenize([f"reach the {name} disc" for name in DISCS])

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        return imitation_loss(policy, self.batch(signals.frames, policy.head.chunk).to(signals.device))

    def batch(self, frames: tuple[int, ...], chunk: int) -> Batch:
        """As many pictures as there are frames, what is asked for in each, and the same action all along."""
        count = len(frames)
        drawn = draw(count)
        action_BA = torch.zeros(count, self.actions.width)
        action_BA[:, :2], action_BA[:, -1] = drawn.towards_B2, -1
        words = Words(self.words.ids_BT[drawn.asked_B], self.words.mask_BT[drawn.asked_B])
        padded_BK = torch.zeros(count, chunk, dtype=torch.bool)
        return Batch(drawn.image_BHWC, words, action_BA[:, None].expand(-1, chunk, -1), padded_BK, frames)


def draw(count: int) -> Drawn:
    """So many pictures, uint8 `[B, S, S, 3]`: every disc once, and the dot, each in a cell of its own."""
    noise = torch.empty(count * SIDE**2 * 3 // 8, dtype=torch.int64).random_(-(2**63), None)  # eight bytes at a time
    image_BSS3 = noise.view(torch.uint8).view(count, SIDE, SIDE, 3) % LEVELS + DARKEST
    things, free = len(DISCS) + 1, CELL // 2 - RADIUS
    cell_BM = torch.rand(count, CELLS**2).argsort(dim=1)[:, :things]
    middle_BM2 = torch.stack([cell_BM % CELLS, cell_BM // CELLS], dim=-1) * CELL + CELL // 2
    at_BM2 = middle_BM2 + torch.randint(-free, free + 1, (count, things, 2))
    _paint(image_BSS3, at_BM2[:, :-1], RADIUS, torch.tensor([*DISCS.values()]))
    _paint(image_BSS3, at_BM2[:, -1:], DOT_RADIUS, torch.tensor([DOT]))
    asked_B = torch.randint(len(DISCS), (count,))
    far_B2 = at_BM2[torch.arange(count), asked_B] - at_BM2[:, -1]
    return Drawn(image_BSS3, asked_B, functional.normalize(far_B2.float(), dim=-1))


def _paint(image_BSS3: Tensor, at_BM2: Tensor, radius: int, colour_M3: Tensor) -> None:
    """Discs of these colours around these pixels, x and y, into the pictures."""
    off_P2 = torch.cartesian_prod(*[torch.arange(-radius, radius + 1)] * 2)
    off_P2 = off_P2[off_P2.square().sum(dim=1) <= radius**2]
    x_BMP, y_BMP = (at_BM2[..., None, :] + off_P2).unbind(dim=-1)
    picture_B11 = torch.arange(len(image_BSS3))[:, None, None]
    image_BSS3[picture_B11, y_BMP, x_BMP] = colour_M3.to(torch.uint8)[:, None]
