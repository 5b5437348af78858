"""torchvision beside a CPU build of torch: importable, so that timm, open_clip and transformers are."""

import importlib
import sys

import torch

# A Library undefines its operators when it is collected, so the one that we make lives as long as the process.
_alive: list[torch.library.Library] = []


def ensure() -> None:
    """Make `import torchvision` work; call it before importing timm, open_clip or transformers' vision models.

    A torchvision wheel without its compiled operators fails at import, where it registers shapes for `nms`. That one
    failure is met by declaring the operators (not implementing them: nothing here detects boxes). Does nothing where
    torchvision loads; every other error passes.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
        _declare_operators()
        importlib.import_module("torchvision")


def _declare_operators() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the failed import left half made
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _alive.append(library)
