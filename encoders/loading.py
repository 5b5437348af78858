"""The lines of plain code that load an exported encoder and read its tokens from a Pillow `image`: for a model card."""

from typing import assert_never

from torch import nn

from encoders.artefact import Form, named, takes_one_picture
from encoders.contract import Encoder
from encoders.hub import FILE


def loading(encoder: Encoder, form: Form, folder: str) -> list[str]:
    """Python that runs without this project, but for `folder`; `tokens` are what the encoder gives, `[1, N, D]`.

    `folder` is where the artefact lies, as the lines are to name it.
    """
    match form:
        case "timm":
            return _timm(encoder, folder)
        case "hf":
            return _hf(encoder, folder)
        case "open-clip":
            return _open_clip(encoder, folder)
        case "folder":
            return _ours(encoder, folder)
        case _:
            assert_never(form)


def _timm(encoder: Encoder, folder: str) -> list[str]:
    from encoders.timm_map import TimmMap, channels_last

    lines = [
        "import timm",
        f'model = timm.create_model("local-dir:{folder}", pretrained=True, num_classes=0).eval()',
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))",
        "pixels = transform(image).unsqueeze(0)",
    ]
    if isinstance(encoder, TimmMap):
        flat = ".flatten(1, 2)" if channels_last(encoder.get_submodule("tower")) else ".flatten(2).transpose(1, 2)"
        return [*lines, f"tokens = model.forward_features(pixels){flat}"]
    facts = encoder.card
    if facts.layer == "last" and facts.final_norm:
        return [*lines, f"tokens = model.forward_features(pixels){_behind(facts.prefix)}"]
    read = f'indices=[{_index(encoder)}], norm={facts.final_norm}, output_fmt="NLC", intermediates_only=True'
    if not facts.kept:
        return [*lines, f"tokens = model.forward_intermediates(pixels, {read})[0]"]
    return [
        "import torch",
        *lines,
        f"grid, prefix = model.forward_intermediates(pixels, {read}, return_prefix_tokens=True)[0]",
        "tokens = torch.cat([prefix, grid], dim=1)",
    ]


def _hf(encoder: Encoder, folder: str) -> list[str]:
    tower = encoder.get_submodule("tower")
    if not takes_one_picture(tower):
        return ["from transformers import AutoModel", f'model = AutoModel.from_pretrained("{folder}").eval()']
    changes = []
    if encoder.card.layer == "penultimate":
        changes.append(f"del model.{_blocks_list(encoder)}[-1]  # read at the penultimate block")
    changes += [f"model.{norm} = torch.nn.Identity()  # and without this norm" for norm in _norms_left_out(encoder)]
    return [
        *(["import torch"] if any("torch." in line for line in changes) else []),
        "from transformers import AutoImageProcessor, AutoModel",
        f'model = AutoModel.from_pretrained("{folder}").eval()',
        *changes,
        f'pixels = AutoImageProcessor.from_pretrained("{folder}")(image, return_tensors="pt")',
        f"tokens = model(**pixels).last_hidden_state{_behind(encoder.card.prefix)}",
    ]


def _open_clip(encoder: Encoder, folder: str) -> list[str]:
    from encoders.open_clip_source import PREFIX
    from encoders.open_clip_vit import OpenClipResNet

    facts = encoder.card
    architecture = facts.source.removeprefix(PREFIX).partition("/")[0]
    pixels = f'mean={facts.mean}, std={facts.std}, interpolation="{facts.interpolation}", resize_mode="{facts.resize}"'
    lines = [
        "import open_clip",
        "from safetensors.torch import load_file",
        f'visual = open_clip.create_model("{architecture}").visual.eval()',
        f'visual.load_state_dict(load_file("{folder}/{FILE}"), strict=True)',
        f"transform = open_clip.image_transform({facts.side}, is_train=False, {pixels})",
        "pixels = transform(image).unsqueeze(0)",
    ]
    if isinstance(encoder, OpenClipResNet):
        read = "visual.forward_intermediates(pixels, indices=[4], intermediates_only=True)"
        return [*lines, f'tokens = {read}["image_intermediates"][0].flatten(2).transpose(1, 2)']
    read = f"indices=[{_index(encoder)}], normalize_intermediates={facts.final_norm}, intermediates_only=True"
    lines.append(f'seen = visual.forward_intermediates(pixels, {read}, output_fmt="NLC", output_extra_tokens=True)')
    if not facts.kept:
        return [*lines, 'tokens = seen["image_intermediates"][0]']
    joined = 'torch.cat([seen["image_intermediates_prefix"][0], seen["image_intermediates"][0]], dim=1)'
    return ["import torch", *lines, f"tokens = {joined}"]


def _ours(encoder: Encoder, folder: str) -> list[str]:
    name = named(encoder.card)
    if name is None:
        kind = type(encoder.get_submodule("tower"))
        return [
            "from safetensors.torch import load_file",
            f'tensors = load_file("{folder}/{FILE}")  # a {kind.__name__} of {_package(kind)} takes them, strict=True',
        ]
    return [
        "import numpy, torch",
        "from encoders.registry import build_encoder",
        f'encoder = build_encoder("{name}@{folder}/{FILE}", weights="pretrained", seed=0).eval()',
        "tokens = encoder(torch.from_numpy(numpy.array(image)).unsqueeze(0))",
    ]


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _index(encoder: Encoder) -> int:
    return {"last": -1, "penultimate": -2}[encoder.card.layer]


def _behind(prefix: int) -> str:
    return f"[:, {prefix}:]" if prefix else ""


def _blocks_list(encoder: Encoder) -> str:
    lists = [(n, m) for n, m in encoder.get_submodule("tower").named_modules() if isinstance(m, nn.ModuleList)]
    return next(name for name, blocks in lists if len(blocks) and blocks[-1] is encoder.blocks[-1])


def _norms_left_out(encoder: Encoder) -> list[str]:
    """Modules that the encoder replaced by nothing, though the library's model has weights there."""
    held = encoder.get_submodule("tower").named_modules()
    return [name for name, module in held if isinstance(module, nn.Identity) and f"{name}.weight" in encoder.unread]
