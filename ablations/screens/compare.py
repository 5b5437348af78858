"""What a person sees when encoders are compared: progress, then costs and contrasts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from ablations.bottleneck import bottleneck
from ablations.compare import REFERENCE, Comparison, EncoderRow, Start, arm_name, comparing
from ablations.gather import gather
from ablations.report.comparison import WRITERS, print_comparison
from ablations.runs import wanted
from ablations.screens.study import make_missing
from ablations.study import Study
from ablations.study_file import read_study
from encoders.contract import Encoder
from encoders.cost import BATCH, flops, images_per_second
from encoders.registry import build_encoder, card
from workbench.backbones.registry import load_backbone
from workbench.compute import Place, place
from workbench.count import trainable_parameters
from workbench.edits import edited
from workbench.engines.means import Means
from workbench.errors import UserError, encoder_errors
from workbench.recipes import actions_of
from workbench.record import find
from workbench.screens.console import console, stage, told_aside

Format = Literal["terminal", "json", "markdown"]


def compare_encoders(
    names: Sequence[str], study: str, root: Path, means: Means, *, weights: Start, format: Format
) -> None:
    """Do what is missing, then print what each encoder costs and how it compares with the native one."""
    chosen = comparing(read_study(study), names, weights=weights)
    with told_aside(format != "terminal"):
        console.print(chosen.question, style="bold", markup=False)
        rows, measured = _costs(chosen, names, root, weights)
        complaint = make_missing(chosen, root, means)
    comparison = Comparison(rows, measured, bottleneck(gather(chosen, root)))
    if format == "terminal":
        print_comparison(comparison, console)
    else:
        print(WRITERS[format](comparison))
    if complaint:
        raise UserError(complaint)


def _costs(study: Study, names: Sequence[str], root: Path, weights: Start) -> tuple[tuple[EncoderRow, ...], str]:
    """A row an encoder, the native one first, and on what they were timed.

    An encoder that has to be trained is built from its own weights: missing ones are said before anything is trained.
    """
    _check(study, names)
    spot = place(study.compute)
    missing = {run.arm for run in wanted(study) if find(root, run.plan) is None}
    with stage("Encoders", "operations of one image, images a second") as progress:
        rows = [_row(REFERENCE, "native", *_native(study), spot)]
        for name in names:
            progress(len(rows), 1 + len(names))
            with encoder_errors(), torch.device("meta"):
                outline = build_encoder(name, weights="random", seed=0)
            with encoder_errors():
                encoder = build_encoder(name, weights=weights if arm_name(name) in missing else "random", seed=0)
            rows.append(_row(arm_name(name), name, outline, encoder, spot))
        progress(len(rows), len(rows))
    return tuple(rows), _measured(spot)


def _check(study: Study, names: Sequence[str]) -> None:
    """Raises UserError for an unknown name, and for an arm whose model cannot be built or tuned as the base says."""
    with encoder_errors():
        for name in names:
            card(name)
    for arm in study.arms:
        trainable_parameters(edited(study.base, arm.edits), chunk=study.budget.chunk, actions=actions_of(study.data))


def _native(study: Study) -> tuple[Encoder, Encoder]:
    """The native encoder of the study's backbone, outlined and real."""
    weights = "random" if study.base.vision.weights == "random" else "pretrained"
    with torch.device("meta"):
        outline = load_backbone(study.base.backbone, weights="random", seed=0).vision
    return outline, load_backbone(study.base.backbone, weights=weights, seed=0, compute=study.compute).vision


def _row(arm: str, name: str, outline: Encoder, encoder: Encoder, spot: Place) -> EncoderRow:
    return EncoderRow(
        name=name,
        arm=arm,
        source=encoder.card.source,
        side=encoder.card.side,
        tokens=encoder.card.tokens,
        width=encoder.card.dim,
        parameters=sum(parameter.numel() for parameter in outline.parameters()),
        flops=flops(outline),
        images_per_second=images_per_second(encoder, device=spot.device, dtype=spot.dtype),
    )


def _measured(spot: Place) -> str:
    where = (
        torch.cuda.get_device_name(spot.device)
        if spot.device.type == "cuda"
        else f"the CPU with {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    )
    return f"batch {BATCH}, {str(spot.dtype).removeprefix('torch.')}, on {where}"
