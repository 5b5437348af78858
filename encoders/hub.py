"""A weights file of the Hugging Face hub: from the cache, else downloaded, else a plain sentence at once."""

from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]  # of httpx or httpx2, whichever this hub is built on
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from safetensors import SafetensorError, safe_open

FILE = "model.safetensors"  # never a pickle
PATIENCE = 5.0  # seconds to wait for the hub's first answer


class WeightsMissing(LookupError):
    """Pretrained weights are not on this machine and cannot be had; says which, and how to fetch them."""


def weights_file(repository: str) -> Path:
    """The path of the repository's `model.safetensors`, downloaded into the hub's cache where it is not there yet.

    Asks the hub once before downloading: the hub's own client retries an unreachable network for most of a minute.
    Raises `WeightsMissing` where the hub cannot be reached or refuses, and where the cached file is damaged.
    """
    cached = try_to_load_from_cache(repository, FILE)
    if isinstance(cached, str):
        return _whole(Path(cached))
    try:
        get_hf_file_metadata(hf_hub_url(repository, FILE), timeout=PATIENCE)
        return _whole(Path(hf_hub_download(repository, FILE)))
    except (HTTPError, OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
        raise WeightsMissing(
            f"The weights '{repository}' are not on this machine and the Hugging Face hub did not give them "
            f"({type(error).__name__}). Where there is a network, run `hf download {repository} {FILE}` and bring "
            'the cache here (HF_HOME); or use weights = "random".'
        ) from error


def _whole(path: Path) -> Path:
    try:
        with safe_open(path, framework="pt"):  # reads the header, which states the length of the file
            return path
    except SafetensorError as error:
        raise WeightsMissing(f"The weights file {path} is damaged ({error}). Delete it and fetch it again.") from error
