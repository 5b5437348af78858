"""Where LIBERO's files are: its package (definitions, initial states), and the scene files, which that has not."""

import importlib.util
import os
from pathlib import Path

from workbench.errors import UserError

ASSETS = "LIBERO_ASSETS"
"""The environment variable that names the folder of scene files."""
FOLDERS = (
    "articulated_objects",
    "scenes",
    "stable_hope_objects",
    "stable_scanned_objects",
    "textures",
    "turbosquid_objects",
)
DOWNLOAD = "hf download lerobot/libero-assets --repo-type dataset --local-dir FOLDER"
"""What hf-libero 0.1.4 downloads by itself (libero/libero/utils/download_utils.py), unasked."""
REMEDY = f"Download them with `{DOWNLOAD}` and set {ASSETS}=FOLDER."
INSTALL = "LIBERO's package is not installed ({reason}): pip install 'vla-workbench[libero]'."


def package_folder() -> Path:
    """The folder of `bddl_files` and `init_files`. Nothing is imported: the package asks a question when it is.

    Raises UserError where the package is missing.
    """
    folder = _package()
    if folder is None:
        raise UserError(INSTALL.format(reason="no module libero with its bddl_files"))
    return folder


def find_assets() -> Path:
    """The folder of scene files: LIBERO_ASSETS, or where the package itself keeps or puts them.

    Raises UserError, which says what to download, where they are missing; nothing is downloaded or asked.
    """
    named = os.environ.get(ASSETS)
    if named:
        return check_assets(Path(named).expanduser())
    package, cached = _package(), Path.home() / ".cache" / "libero" / "assets"
    for folder in (cached,) if package is None else (package / "assets", cached):
        if not missing_folders(folder):
            return folder
    raise UserError(f"LIBERO's scene files are not here, and {ASSETS} is not set. {REMEDY}")


def check_assets(folder: Path) -> Path:
    """The same folder; raises UserError where it is none, or has not all that LIBERO's scenes are made of."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise UserError(f"{ASSETS} names {folder}, which {what}. {REMEDY}")
    if missing := missing_folders(folder):
        inside = (folder / "assets", folder / "libero" / "libero" / "assets")
        nearer = next((path for path in inside if not missing_folders(path)), None)
        hint = f"Did you mean {nearer}?" if nearer else REMEDY
        raise UserError(f"{ASSETS} names {folder}, but that has no {', '.join(missing)}. {hint}")
    return folder


def missing_folders(folder: Path) -> tuple[str, ...]:
    """Which of the folders of scene files are not in it."""
    return tuple(name for name in FOLDERS if not (folder / name).is_dir())


def _package() -> Path | None:
    found = importlib.util.find_spec("libero")
    places = (found.submodule_search_locations if found else None) or ()
    folders = (Path(place) / "libero" for place in places)
    return next((one for one in folders if (one / "bddl_files").is_dir() and (one / "init_files").is_dir()), None)
