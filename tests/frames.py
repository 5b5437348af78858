"""A frame to compare pixels on. Shapes: H W height and width."""

import torch
from torch import Tensor


def shaded(height: int, width: int) -> Tensor:
    """uint8 `[1, H, W, 3]`: shaded, with a hard edge, and nowhere saturated, as Pillow may resample height first."""
    shade = torch.linspace(40, 120, height).view(height, 1, 1) + torch.linspace(0, 60, width).view(1, width, 1)
    image = shade + torch.tensor([0.0, 5.0, 10.0])
    image[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] += torch.tensor([60.0, 20.0, 40.0])
    return image.to(torch.uint8)[None]
