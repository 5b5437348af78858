"""The one door to transformers' readers: files of this folder alone, and none of the code that may lie among them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INDEX = "model.safetensors.index.json"
"""Where the weights are in several files."""
ADAPTERS = "adapter_config.json"


def read_pretrained(kind: Any, folder: Path | str, **given: Any) -> Any:
    """`kind.from_pretrained` of what lies in `folder`.

    Raises ValueError, which begins with what is wrong, where the folder asks for code: for modules of its own
    (`auto_map`), or for a kernel from the hub as its attention; and where a file is nested too deep to be one of a
    model. Else raises what transformers does.
    """
    try:
        read = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **given)
    except RecursionError as error:
        raise ValueError("a file of it is nested too deep to be read") from error
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ValueError("it asks for code of its own, and no code that comes with a model is run") from error
    from transformers import PreTrainedConfig

    if isinstance(read, PreTrainedConfig):
        _check_kernels(read)
    return read


def weight_map(index: Path) -> Mapping[str, str]:
    """The file of each tensor. Raises ValueError for a damaged one, and for files but safetensors beside it."""
    try:
        files = json.loads(index.read_text())["weight_map"]
        names = set(files.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{index} is no index of weights: {type(error).__name__}") from error
    for name in sorted(map(str, names)):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{index} names the file {name!r}, and weights are read from safetensors beside it alone")
    return files


def check_weights(folder: Path) -> None:
    """Raises ValueError where who reads the weights of `folder` would read files elsewhere, or a pickle."""
    if (folder / INDEX).is_file():
        weight_map(folder / INDEX)
    if (folder / ADAPTERS).is_file():
        raise ValueError(f"{folder / ADAPTERS} stands for adapters of another model: merge them into it, and save that")


def _check_kernels(config: Any) -> None:
    """`owner/kernel` for an attention is code that transformers would fetch."""
    for part in [config, *(getattr(config, name) for name in config.sub_configs)]:
        asked = None if part is None else part._attn_implementation
        if isinstance(asked, str) and "/" in asked:
            raise ValueError(
                f"its attention is {asked!r}, code from the hub, and no code that comes with a model is run"
            )
