"""Whether every name in a spec stands for something: asked before anything is collected, built or trained."""

from workbench.backbones.registry import folder
from workbench.errors import encoder_errors, unknown
from workbench.heads.registry import HEADS
from workbench.language_models import language_folder
from workbench.projectors import PROJECTORS
from workbench.spec import Spec


def check_names(spec: Spec) -> None:
    """Raises UserError, with the nearest name, for a backbone, or for what fills a slot, that there is not."""
    folder(spec.backbone)
    kind, _, name = spec.language.module.partition(":")
    if kind == "hf":
        language_folder(name)
    if spec.vision.module != "native":
        from encoders.registry import card  # imports timm: seconds, only where they are needed

        with encoder_errors():
            card(spec.vision.module)
    for kind, name, known in (
        ("projector", spec.projector.module, ["native", *PROJECTORS]),
        ("head", spec.head.module, [*HEADS]),
    ):
        if name not in known:
            raise unknown(kind, name, known)
