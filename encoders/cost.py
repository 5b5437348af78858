"""What an encoder costs: floating-point operations of one image, and images a second on this machine.

Shapes: B batch  H W = card.side
"""

import time
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from encoders.contract import Encoder

BATCH = 8
REPEATS = 5


def flops(outline: Encoder) -> int:
    """Operations of one image, a multiplication and an addition counted as two; nothing is computed.

    `outline` stands on the meta device. Counted are matrix products, convolutions and attention, as torch counts them.
    """
    side = outline.card.side
    image_BHWC = torch.zeros(1, side, side, 3, dtype=torch.uint8, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        outline.eval()(image_BHWC)
    return counter.get_total_flops()


def images_per_second(encoder: Encoder, *, device: torch.device, dtype: torch.dtype) -> float:
    """Frames of the card's side through the encoder alone, without gradients: `BATCH` over the median of a few times.

    Weights stay in float32; another `dtype` is computed under autocast, as in training. Moves the encoder to `device`.
    """
    encoder.to(device).eval()
    side = encoder.card.side
    image_BHWC = torch.full((BATCH, side, side, 3), 127, dtype=torch.uint8, device=device)
    with torch.no_grad(), torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        _seconds(encoder, image_BHWC)  # the first pass chooses kernels and fills caches
        return BATCH / median(_seconds(encoder, image_BHWC) for _ in range(REPEATS))


def _seconds(encoder: Encoder, image_BHWC: torch.Tensor) -> float:
    began = time.perf_counter()
    encoder(image_BHWC)
    if image_BHWC.is_cuda:
        torch.cuda.synchronize(image_BHWC.device)
    return time.perf_counter() - began
