"""What a tower of transformers has to be given."""

import inspect

from torch import nn


def required_inputs(tower: nn.Module) -> list[str]:
    """Names of the arguments of its forward that have no default, in order."""
    inputs = inspect.signature(tower.forward).parameters.values()
    return [p.name for p in inputs if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
