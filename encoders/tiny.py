"""A small encoder that trains on a CPU: timm's own VisionTransformer, 64 px, 16 tokens of width 128."""

from encoders.contract import Card
from encoders.timm_vit import TimmViT
from encoders.torchvision_ops import ensure

ensure()  # timm imports torchvision

from timm.models.vision_transformer import VisionTransformer  # noqa: E402

CARD = Card(
    name="tiny",
    source="timm.models.vision_transformer.VisionTransformer",
    side=64,
    tokens=16,
    dim=128,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    interpolation="bicubic",
    resize="squash",
    layer="last",
    prefix=0,
    final_norm=True,
    paper="https://arxiv.org/abs/2010.11929",
    licence="none: published without weights",
)


def tiny_vit(card: Card) -> TimmViT:
    """Random weights, by timm's own initialisation (global generator)."""
    tower = VisionTransformer(
        img_size=card.side,
        patch_size=16,
        embed_dim=card.dim,
        depth=4,
        num_heads=4,
        class_token=False,
        global_pool="",
        num_classes=0,
    )
    return TimmViT(card, tower)
