"""What a vision encoder promises: raw frames in, tokens out, and a card that states every fact about both.

Shapes: B batch  H W height and width of a frame  C colours (red, green, blue; once more for each further picture)
N image tokens  D encoder width
"""

from abc import ABC, abstractmethod
from typing import Annotated, Literal, TypedDict, final

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from encoders.errors import CardMismatch

Interpolation = Literal["bicubic", "bilinear"]
Layer = Literal["last", "penultimate"]
Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]  # of full brightness
Spread = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class NotFrames(ValueError):
    """The images are not raw frames: uint8, [B, H, W, 3], at least one pixel each."""


class Facts(TypedDict):
    """The part of a card that a library states for each set of weights."""

    source: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation
    licence: str


class Card(BaseModel):
    """The facts that travel with an encoder's weights; checked against the module and on every batch.

    `mean` and `std` hold one number a channel: three for one picture, six for an encoder that is fused from two and
    sees the frame under the statistics of each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str  # which library's model this is, as in "timm:vit_small_patch14_dinov2.lvd142m"
    side: Positive  # pixels: the module sees side × side
    tokens: Positive  # N, without the dropped prefix; positions of the feature map where there are no tokens
    dim: Positive  # D
    mean: Annotated[tuple[Fraction, ...], Field(min_length=3)]
    std: Annotated[tuple[Spread, ...], Field(min_length=3)]
    interpolation: Interpolation
    resize: Literal["squash"]  # both edges to `side`: nothing of the frame is cut away, its aspect ratio is lost
    layer: Layer  # the block (of a convolutional network: the stage) whose output is read
    prefix: Annotated[int, Field(ge=0)]  # class and register tokens dropped from the front
    kept: Annotated[int, Field(ge=0)] = 0  # class and register tokens that stand, counted in `tokens`, before the grid
    final_norm: bool  # whether the model's last norm is applied to what is read
    paper: str
    licence: str  # of the weights

    @model_validator(mode="after")
    def _whole_pictures(self) -> "Card":
        if len(self.mean) != len(self.std) or len(self.mean) % 3:
            raise ValueError(f"mean and std are of three channels a picture; these have {self.mean} and {self.std}")
        return self


class Encoder(nn.Module, ABC):
    """uint8 frames `[B, H, W, 3]` of any size → tokens `[B, N, D]`, by the encoder's own card.

    Nobody else resizes or normalises. A subclass gives `tokens` and `blocks`; a library's own model stands under
    `tower`. `unread` holds the tensors of that model that are no part of the encoder because the tokens do not depend
    on them (pooling heads, blocks behind the readout) or because another slot has them (Qwen's merger): no parameters,
    only there to be exported as they came.
    """

    def __init__(self, card: Card) -> None:
        super().__init__()
        self.card = card
        self.unread: dict[str, Tensor] = {}

    @property
    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks (or stages) that are read, first to last."""

    @abstractmethod
    def tokens(self, pixels_BCHW: Tensor) -> Tensor:
        """Normalised pixels → `[B, N, D]`, read where the card says and without the prefix."""

    @final
    def forward(self, image_BHWC: Tensor) -> Tensor:
        """Raises `NotFrames` for anything but raw frames and `CardMismatch` where the tokens are not the card's."""
        seen_BND = self.tokens(self.pixels_BCHW(image_BHWC))
        stated = (image_BHWC.shape[0], self.card.tokens, self.card.dim)
        if tuple(seen_BND.shape) != stated:
            raise CardMismatch(
                f"The card of '{self.card.name}' states {self.card.tokens} tokens of width {self.card.dim}, "
                f"but the module returned [B, N, D] = {list(seen_BND.shape)}."
            )
        return seen_BND

    @final
    def pixels_BCHW(self, image_BHWC: Tensor) -> Tensor:
        """Frames as this encoder was trained to see them: float32 `[B, C, side, side]`, its own mean and std.

        C is 3, and 3 more for each further picture of the card. A frame that already has the card's side is not
        resampled. Raises `NotFrames`.
        """
        check_frames(image_BHWC)
        # contiguous: a channels-last view can take another convolution kernel, and so other last bits
        levels_BCHW = image_BHWC.permute(0, 3, 1, 2).contiguous().float()
        if levels_BCHW.shape[-2:] != (self.card.side, self.card.side):
            levels_BCHW = _squash(levels_BCHW, self.card)
        # made here, not buffers: `.to(bfloat16)` would round the statistics along with the weights
        mean_C11 = torch.tensor(self.card.mean, device=image_BHWC.device).view(-1, 1, 1)
        std_C11 = torch.tensor(self.card.std, device=image_BHWC.device).view(-1, 1, 1)
        if (pictures := len(self.card.mean) // 3) > 1:
            levels_BCHW = levels_BCHW.repeat(1, pictures, 1, 1)
        return levels_BCHW.div_(255).sub_(mean_C11).div_(std_C11)


def check_frames(image_BHWC: Tensor) -> None:
    """Raises `NotFrames`, saying what was given and what is wanted."""
    if image_BHWC.dtype != torch.uint8:
        raise NotFrames(
            f"An encoder takes raw uint8 frames (0 to 255) and normalises them itself; these are {image_BHWC.dtype}."
        )
    if image_BHWC.ndim != 4 or image_BHWC.shape[-1] != 3 or 0 in image_BHWC.shape[1:3]:
        raise NotFrames(
            f"An encoder takes frames [batch, height, width, 3]; these have the shape {list(image_BHWC.shape)}."
        )


def _squash(levels_BCHW: Tensor, card: Card) -> Tensor:
    """Grey levels → grey levels, antialiased, as Pillow resizes: the weights were trained on that.

    Pillow resamples along the width, then along the height, and stores bytes after each. Bicubic overshoots at edges,
    so that one pass with one clamp is up to 17 levels off where a small frame is enlarged.
    """
    for size in ((levels_BCHW.shape[-2], card.side), (card.side, card.side)):
        levels_BCHW = functional.interpolate(
            levels_BCHW, size=size, mode=card.interpolation, align_corners=False, antialias=True
        )
        levels_BCHW = levels_BCHW.round().clamp(0, 255)
    return levels_BCHW
