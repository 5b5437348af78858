"""Where a backbone lies: shipped with the package, a local folder, or a repository of the Hugging Face hub."""

import re
from pathlib import Path

from encoders.pretrained import INDEX, weight_map
from workbench.errors import UserError, unknown

EMBEDDED = Path(__file__).parent / "embedded_weights"
"""The pretrained copy that the package ships; `workbench pretrain` makes such a folder."""

BACKBONES: dict[str, Path] = {"embedded": EMBEDDED}

CONFIG, WEIGHTS = "config.json", "model.safetensors"
WANTED = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
PATIENCE = 5.0  # seconds to wait for the hub's first answer
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def folder(name: str) -> Path:
    """Where the configuration of the backbone `name` lies; a hub id's is downloaded where it is not cached.

    `name` is a registered backbone, a local folder (as `workbench pretrain` makes one) or a hub id `org/name`.
    Raises UserError, at once and with the remedy, where it cannot be had.
    """
    if name in BACKBONES:
        return _with_config(name, BACKBONES[name])
    if "/" not in name:
        raise unknown("backbone", name, BACKBONES)
    local = Path(name).expanduser()
    if local.is_dir() or not REPOSITORY.fullmatch(name):
        return _with_config(name, local)
    return _cached(name, CONFIG) or fetched(name, CONFIG, [CONFIG], what="backbone")


def complete(name: str, *, weights: bool) -> Path:
    """The folder of `name` with tokenizer and processor files, and with its weights where `weights` says so."""
    found = folder(name)
    if name in BACKBONES or Path(name).expanduser().is_dir():
        return found
    lacking = _missing(found, weights)
    if lacking is None:
        return found
    kinds = WANTED if weights else [kind for kind in WANTED if kind != "*.safetensors"]
    found = fetched(name, lacking, kinds, what="backbone")
    if lacking := _missing(found, weights):
        raise UserError(
            f"The repository {name!r} has no {lacking}; a backbone needs safetensors weights, a tokenizer and a "
            "processor (pickled weights are not read)."
        )
    return found


def _with_config(name: str, found: Path) -> Path:
    if not (found / CONFIG).is_file():
        raise UserError(
            f"The backbone {name!r} has no config.json in {found}. Make one with: workbench pretrain --output {found}"
        )
    return found


def _cached(name: str, file: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name, file)
    return Path(path).parent if isinstance(path, str) else None


def _missing(found: Path, weights: bool) -> str | None:
    """The first file of a snapshot that is not there."""
    if not any((found / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        return "tokenizer.json"
    if not any((found / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        return "preprocessor_config.json"
    if not weights or (found / WEIGHTS).is_file():
        return None
    if not (found / INDEX).is_file():
        return WEIGHTS
    try:
        shards = sorted(set(weight_map(found / INDEX).values()))
    except ValueError as error:
        raise UserError(f"{error}.") from error
    return next((shard for shard in shards if not (found / shard).is_file()), None)


def fetched(name: str, file: str, kinds: list[str], *, what: str) -> Path:
    """The snapshot of the hub id `name` with all files of `kinds`; `file` is the one that was found missing.

    Asks the hub once before downloading: its own client retries an unreachable network for most of a minute.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download
    from huggingface_hub.errors import (
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]  # of httpx or httpx2, whichever this hub is built on
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        get_hf_file_metadata(hf_hub_url(name, CONFIG), timeout=PATIENCE)
        return Path(snapshot_download(name, allow_patterns=kinds))
    except (HTTPError, OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
        raise UserError(
            f"The file {file} of {what} {name!r} is not on this machine and the Hugging Face hub did not give it "
            f"({type(error).__name__}). Where there is a network, run `hf download {name}` and bring the cache here "
            "(HF_HOME); or name a local folder."
        ) from error
