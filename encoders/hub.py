"""A file of the Hugging Face hub: from the cache, else downloaded, else a plain sentence at once."""

from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]  # of httpx or httpx2, whichever this hub is built on
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import validate_repo_id

from encoders.errors import UnknownEncoder, WeightsMissing

FILE = "model.safetensors"  # never a pickle
PATIENCE = 5.0  # seconds to wait for the hub's first answer


def weights_file(repository: str, *, names: tuple[str, ...] = (FILE,)) -> Path:
    """The path of the first of `names` that the repository has, downloaded into the hub's cache where need be.

    Asks the hub once before downloading: the hub's own client retries an unreachable network for most of a minute.
    Raises `WeightsMissing` where the hub cannot be reached, refuses, or has none of them, and
    `UnknownEncoder` for what is no repository's name.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UnknownEncoder(f"'{repository}' is neither a folder here nor a hub id (owner/name).") from error
    for name in names:
        cached = try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached)
    refusal: Exception | None = None
    for name in names:
        try:
            get_hf_file_metadata(hf_hub_url(repository, name), timeout=PATIENCE)
            return Path(hf_hub_download(repository, name))
        except EntryNotFoundError as error:
            refusal = error
        except (HTTPError, OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
            refusal = error
            break
    instead = '; or use weights = "random"' if names[0].endswith(".safetensors") else ""
    raise WeightsMissing(
        f"The file {names[0]} of '{repository}' is not on this machine and the Hugging Face hub did not give it "
        f"({type(refusal).__name__}). Where there is a network, run `hf download {repository} {names[0]}` and bring "
        f"the cache here (HF_HOME){instead}."
    ) from refusal
