"""Pictures that are moved and lit otherwise than they were: what `Augmentation` allows, drawn once for each moment."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.augmentation import Augmentation
from workbench.errors import UserError

# B moments  H, W pixels  C colours

MID_GREY = 127.5


@dataclass(frozen=True)
class Augmented:
    """One change for each of B moments, the same for every picture of that moment.

    `shift_B2` is in pixels, down and right; `scale_B` and `offset_B` are of the levels.
    """

    shift_B2: Tensor
    scale_B: Tensor
    offset_B: Tensor

    def __call__(self, image_BHWC: Tensor) -> Tensor:
        """The changed pictures: uint8 of the same size, on the CPU as they are given.

        Raises UserError for a shift past the whole picture.
        """
        rows_BH, columns_BW = (self._from(axis, image_BHWC.shape[1 + axis]) for axis in (0, 1))
        moved_BHWC = image_BHWC[torch.arange(len(image_BHWC))[:, None, None], rows_BH[:, :, None], columns_BW[:, None]]
        scale, offset = (values_B[:, None, None, None] for values_B in (self.scale_B, self.offset_B))
        return (moved_BHWC * scale + offset).round().clamp(0, 255).to(torch.uint8)

    def _from(self, axis: int, length: int) -> Tensor:
        """Which row (or column) of each picture stands where; its edge is repeated."""
        shift_B1 = self.shift_B2[:, axis, None]
        if int(shift_B1.abs().max()) >= length:
            raise UserError(f"augmentation.shift moves pictures of {length} pixels a side out of sight: make it less.")
        return (torch.arange(length) - shift_B1).clamp(0, length - 1)


def draw_augmented(augmentation: Augmentation, count: int) -> Augmented:
    """A change for each of `count` moments, from torch's global generator."""
    most = augmentation.shift
    shift_B2 = torch.randint(-most, most + 1, (count, 2))
    widest_2 = torch.tensor([augmentation.brightness, augmentation.contrast])
    brightness_B, contrast_B = (1 + widest_2 * (2 * torch.rand(count, 2) - 1)).unbind(dim=1)
    return Augmented(shift_B2, brightness_B * contrast_B, brightness_B * (1 - contrast_B) * MID_GREY)
