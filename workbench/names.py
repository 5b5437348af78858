"""Whether every name in a spec stands for something: asked before anything is collected, built or trained."""

from workbench.backbones.registry import folder
from workbench.errors import UserError, unknown
from workbench.heads import HEADS
from workbench.projectors import PROJECTORS
from workbench.spec import Spec


def check_names(spec: Spec) -> None:
    """Raises UserError, with the nearest name, for a backbone, encoder, projector or head that there is not."""
    folder(spec.backbone)
    if spec.vision.module != "native":
        from encoders.registry import UnknownEncoder, card  # imports timm: seconds, only where they are needed

        try:
            card(spec.vision.module)
        except UnknownEncoder as error:
            raise UserError(str(error)) from error
    for kind, name, known in (
        ("projector", spec.projector.module, ["native", *PROJECTORS]),
        ("head", spec.head.module, [*HEADS]),
    ):
        if name not in known:
            raise unknown(kind, name, known)
