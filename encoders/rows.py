"""The encoders that have a name of their own: one row each. A row is a registration.

A row states what its source cannot: where it is read and who recommends it. Statistics, interpolation and licence
come from the library's own configuration; shapes are stated so that a card costs no model, and a test holds them
against the architecture.
"""

from dataclasses import dataclass
from functools import partial

from encoders.contract import Facts, Layer

ARXIV = "https://arxiv.org/abs/"
DINO = "last layer's patches after the norm: `x_norm_patchtokens` of its authors' code"
PALIGEMMA = "all tokens of the last layer, before the pooling head: as PaliGemma (arXiv:2407.07726)"
LLAVA = "penultimate layer's patches, no norm: as LLaVA-1.5 (arXiv:2310.03744)"
AUTHORS_NORM = "last layer's patches after the norm: "
CONTROL = "as the encoder that it is a control for"


@dataclass(frozen=True)
class Row:
    """What is stated of an encoder, and by whom: `readout` says where it is read and who recommends that.

    `parameters` counts what is read. `facts` only where no timm configuration has them.
    """

    name: str
    source: str
    dim: int
    parameters: int
    side: int
    tokens: int
    prefix: int
    readout: str
    paper: str
    layer: Layer = "last"
    final_norm: bool = True
    facts: Facts | None = None


# 224 px is the side of DINOv2's main training phase; the published position embeddings (518 px) are resampled.
_dinov2 = partial(Row, readout=DINO, paper=ARXIV + "2304.07193", side=224, tokens=256)
_registers = partial(Row, readout=DINO, paper=ARXIV + "2309.16588", side=224, tokens=256, prefix=5)
_dinov3 = partial(Row, readout=DINO, paper=ARXIV + "2508.10104", side=256, tokens=256, prefix=5)
_siglip = partial(Row, readout=PALIGEMMA, paper=ARXIV + "2303.15343", prefix=0)
_siglip2 = partial(Row, readout=PALIGEMMA, paper=ARXIV + "2502.14786", prefix=0)
_clip = partial(Row, readout=LLAVA, paper=ARXIV + "2103.00020", layer="penultimate", prefix=1, final_norm=False)
_laion = partial(Row, readout=LLAVA, paper=ARXIV + "2212.07143", layer="penultimate", prefix=1, final_norm=False)
_mae = partial(
    Row,
    readout=AUTHORS_NORM + "what its authors' `forward_encoder` gives the decoder",
    paper=ARXIV + "2111.06377",
    side=224,
    tokens=196,
    prefix=1,
)
_eva02 = partial(
    Row,
    readout="last layer's patches, no norm (timm's belongs to the pooled feature): timm's `forward_features`",
    paper=ARXIV + "2303.11331",
    side=224,
    tokens=256,
    prefix=1,
    final_norm=False,
)
_resnet = partial(
    Row,
    readout="map before pooling: as ACT (arXiv:2304.13705)",
    paper=ARXIV + "1512.03385",
    side=224,
    tokens=49,
    prefix=0,
    final_norm=False,
)

# The same facts as in open_clip's configuration (a test compares them): asking it would import open_clip for a list.
_LAION_BASE = Facts(
    source="open_clip:ViT-B-16/laion2b_s34b_b88k",
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    interpolation="bicubic",
    licence="mit",
)
_LAION_LARGE = Facts(
    source="open_clip:ViT-L-14/laion2b_s32b_b82k",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    interpolation="bicubic",
    licence="mit",
)
_NO_WEIGHTS = Facts(
    source="",  # stated by the row
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    interpolation="bicubic",
    licence="none: published without weights",
)

ROWS = (
    Row(
        "tiny",
        "timm.models.vision_transformer.VisionTransformer",
        128,
        893_824,
        side=64,
        tokens=16,
        prefix=0,
        readout=AUTHORS_NORM + "the workbench's own",
        paper=ARXIV + "2010.11929",
        facts=_NO_WEIGHTS,
    ),
    _dinov2("dinov2-small", "timm:vit_small_patch14_dinov2.lvd142m", 384, 21_628_800, prefix=1),
    _dinov2("dinov2-base", "timm:vit_base_patch14_dinov2.lvd142m", 768, 85_724_928, prefix=1),
    _dinov2("dinov2-large", "timm:vit_large_patch14_dinov2.lvd142m", 1024, 303_227_904, prefix=1),
    _dinov2("dinov2-giant", "timm:vit_giant_patch14_dinov2.lvd142m", 1536, 1_134_769_664, prefix=1),
    _registers("dinov2-small-registers", "timm:vit_small_patch14_reg4_dinov2.lvd142m", 384, 21_629_952),
    _registers("dinov2-base-registers", "timm:vit_base_patch14_reg4_dinov2.lvd142m", 768, 85_727_232),
    _registers("dinov2-large-registers", "timm:vit_large_patch14_reg4_dinov2.lvd142m", 1024, 303_230_976),
    _registers("dinov2-giant-registers", "timm:vit_giant_patch14_reg4_dinov2.lvd142m", 1536, 1_134_774_272),
    _dinov3("dinov3-small", "timm:vit_small_patch16_dinov3.lvd1689m", 384, 21_586_944),
    _dinov3("dinov3-base", "timm:vit_base_patch16_dinov3.lvd1689m", 768, 85_641_216),
    _dinov3("dinov3-large", "timm:vit_large_patch16_dinov3.lvd1689m", 1024, 303_079_424),
    _dinov3("dinov3-7b", "timm:vit_7b_patch16_dinov3.lvd1689m", 4096, 6_716_030_976),
    _siglip("siglip-base", "timm:vit_base_patch16_siglip_224.webli", 768, 85_797_120, side=224, tokens=196),
    _siglip("siglip-large", "timm:vit_large_patch16_siglip_256.webli", 1024, 303_361_024, side=256, tokens=256),
    _siglip("siglip-so400m", "timm:vit_so400m_patch14_siglip_224.webli", 1152, 412_442_352, side=224, tokens=256),
    _siglip2("siglip2-base", "timm:vit_base_patch16_siglip_224.v2_webli", 768, 85_797_120, side=224, tokens=196),
    _siglip2("siglip2-large", "timm:vit_large_patch16_siglip_256.v2_webli", 1024, 303_361_024, side=256, tokens=256),
    _siglip2("siglip2-so400m", "timm:vit_so400m_patch14_siglip_224.v2_webli", 1152, 412_442_352, side=224, tokens=256),
    _clip("clip-base-32", "timm:vit_base_patch32_clip_quickgelu_224.openai", 768, 80_366_592, side=224, tokens=49),
    _clip("clip-base", "timm:vit_base_patch16_clip_quickgelu_224.openai", 768, 78_710_016, side=224, tokens=196),
    _clip("clip-large", "timm:vit_large_patch14_clip_quickgelu_224.openai", 1024, 290_581_504, side=224, tokens=256),
    _clip(
        "clip-large-336", "timm:vit_large_patch14_clip_quickgelu_336.openai", 1024, 290_909_184, side=336, tokens=576
    ),
    _laion(
        "clip-laion-base",
        "open_clip:ViT-B-16/laion2b_s34b_b88k",
        768,
        78_710_016,
        side=224,
        tokens=196,
        facts=_LAION_BASE,
    ),
    _laion(
        "clip-laion-large",
        "open_clip:ViT-L-14/laion2b_s32b_b82k",
        1024,
        290_581_504,
        side=224,
        tokens=256,
        facts=_LAION_LARGE,
    ),
    _mae("mae-base", "timm:vit_base_patch16_224.mae", 768, 85_798_656),
    _mae("mae-large", "timm:vit_large_patch16_224.mae", 1024, 303_301_632),
    Row(
        "vit-in21k-base",
        "timm:vit_base_patch16_224.augreg_in21k",
        768,
        85_798_656,
        side=224,
        tokens=196,
        prefix=1,
        readout=AUTHORS_NORM + "`encoder_norm` of its authors' code",
        paper=ARXIV + "2106.10270",
    ),
    _eva02("eva02-base", "timm:eva02_base_patch14_224.mim_in22k", 768, 85_757_184),
    _eva02("eva02-large", "timm:eva02_large_patch14_224.mim_m38m", 1024, 303_266_752),
    Row(
        "aimv2-large",
        "timm:aimv2_large_patch14_224.apple_pt",
        1024,
        309_197_824,
        side=224,
        tokens=256,
        prefix=0,
        readout=AUTHORS_NORM + "what its authors' trunk returns",
        paper=ARXIV + "2411.14402",
    ),
    Row(
        "radio-base",
        "timm:vit_base_patch16_radio_v3.c_radio",
        768,
        86_456_064,
        side=512,
        tokens=1024,
        prefix=8,
        readout="last layer's patches, no norm: the spatial features of its authors' code",
        paper=ARXIV + "2412.07679",
        final_norm=False,
    ),
    Row(
        "convnext-base",
        "timm:convnext_base.fb_in22k",
        1024,
        87_564_416,
        side=224,
        tokens=49,
        prefix=0,
        readout="map before pooling: timm's `forward_features`",
        paper=ARXIV + "2201.03545",
        final_norm=False,
    ),
    _resnet("resnet-18", "timm:resnet18.tv_in1k", 512, 11_176_512),
    _resnet("resnet-50", "timm:resnet50.tv_in1k", 2048, 23_508_032),
    Row(
        "dinov2-siglip",
        "fused:dinov2-large-registers+siglip-so400m",
        2176,
        687_831_200,
        side=224,
        tokens=256,
        prefix=5,
        layer="penultimate",
        final_norm=False,
        readout="penultimate layer of both, channels concatenated: as Prismatic (arXiv:2402.07865)",
        paper=ARXIV + "2402.07865",
    ),
    _dinov2("dinov2-base-random", "random:dinov2-base", 768, 85_724_928, prefix=1, readout=CONTROL),
    _dinov2("dinov2-base-shuffled", "shuffled:dinov2-base", 768, 85_724_928, prefix=1, readout=CONTROL),
    Row(
        "raw-patches",
        "patches",
        588,
        0,
        side=224,
        tokens=256,
        prefix=0,
        final_norm=False,
        readout="normalised pixels of 14 × 14 px",
        paper=ARXIV + "2010.11929",
        facts=_NO_WEIGHTS,
    ),
)
