"""Masked image modelling by pixels (SimMIM, arXiv:2111.09886, §3): what stood behind the grey patches?

For any encoder as it is: the patches are grey before it sees the frame, so no mask token is put into its insides.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from encoders.contract import Card
from workbench.objectives.contract import Objective, Sizes
from workbench.objectives.dense import Dense
from workbench.objectives.moments import Signals
from workbench.policy import Policy

# B moments  C colours  H, W pixels  N image tokens  D encoder width  T pixels a side of what is told

SHARE = 0.6
"""Of the patches that are hidden (§4.1)."""
ACROSS = 8
"""Patches a side, of any frame. As in the paper they are large (its 32 of 192 pixels make 6): what is behind a small
one can be guessed from its surroundings, and a larger one hides a tabletop's block altogether."""
DETAIL = 8
"""Pixels a side that are told of a token's cell; the paper finds coarser targets as good as full resolution (§4.1)."""


class MaskedImage(Objective):
    """Squared error on the pixels of hidden patches, in units of the encoder's own statistics.

    Squared as in MAE (arXiv:2111.06377, §3): the paper's L1 is content with the median, which before a fixed camera is
    the empty table. Masks come from torch's global generator on the CPU, the same on every device.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.decode = Dense(sizes, 3, detail=DETAIL, coarse=ACROSS)  # tokens that are no grid: a pixel a patch
        self.side = self.decode.side

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        image_BHWC, card = signals.image_BHWC, policy.vision.card
        hidden_BTT = draw_masks(len(image_BHWC), self.side).to(image_BHWC.device)
        told_BCTT = self.decode(policy.vision(greyed(image_BHWC, hidden_BTT, card)))
        off_BTT = (told_BCTT - self.wanted_BCTT(image_BHWC, card)).square().mean(dim=1)
        return {"masked-image": off_BTT[hidden_BTT].mean()}

    def wanted_BCTT(self, image_BHWC: Tensor, card: Card) -> Tensor:
        """The frame, averaged to T × T pixels and normalised."""
        levels_BCHW = image_BHWC.permute(0, 3, 1, 2).float()
        levels_BCTT = functional.adaptive_avg_pool2d(levels_BCHW, self.side)
        mean_C11, std_C11 = (_colours(values, levels_BCTT).view(-1, 1, 1) for values in (card.mean, card.std))
        return (levels_BCTT / 255 - mean_C11) / std_C11


def draw_masks(count: int, side: int) -> Tensor:
    """`[count, side, side]`, true where hidden: the same number of square patches of every frame."""
    order = torch.rand(count, ACROSS**2).argsort(dim=1)
    hidden = (order < round(SHARE * ACROSS**2)).view(count, ACROSS, ACROSS)
    patch = torch.arange(side) * ACROSS // side
    return hidden[:, patch][:, :, patch]


def greyed(image_BHWC: Tensor, hidden_BTT: Tensor, card: Card) -> Tensor:
    """Frames of the same size whose hidden pixels have the encoder's mean colour, which it sees as about zero."""
    side, device = hidden_BTT.shape[1], image_BHWC.device
    rows, columns = (torch.arange(length, device=device) * side // length for length in image_BHWC.shape[1:3])
    grey_C = (_colours(card.mean, image_BHWC) * 255).round().to(torch.uint8)
    return torch.where(hidden_BTT[:, rows][:, :, columns][..., None], grey_C, image_BHWC)


def _colours(values: tuple[float, ...], like: Tensor) -> Tensor:
    """A fused encoder's card has six: those of the first picture."""
    return torch.tensor(values[:3], device=like.device)
