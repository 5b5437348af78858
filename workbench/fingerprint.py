"""Local files that a spec or an objective names, known by their content.

Whoever trains on in the same folder gets other run ids. No torch here. Gigabytes of weights are not read whole at every
command: a file's size and blocks all over it are digested, and training moves nearly every tensor.
"""

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from workbench.backbones.source import WANTED
from workbench.errors import UserError
from workbench.objectives.facts import terms
from workbench.plan import Inject
from workbench.spec import Spec

BLOCK, BLOCKS = 1 << 16, 64
"""Bytes of a block, and how many are read of each file; a file of up to 4 MiB is read whole."""


def pinned(spec: Spec) -> Spec:
    """The spec with the fingerprint of every local file and folder that it names."""
    contents = {name: fingerprint(Path(name).expanduser()) for name in local_names(spec)}
    return spec.model_copy(update={"contents": contents})


def contents_of(objective: str) -> dict[str, str]:
    """The fingerprint of every local file and folder that stands behind a colon in an objective."""
    named = {term.path: Path(term.path).expanduser() for term in terms(objective) if term.path}
    return {name: fingerprint(path) for name, path in sorted(named.items()) if path.exists()}


def check_contents(planned: Spec | Inject) -> None:
    """Raises UserError where a file or folder is no longer what it was when it was planned."""
    for name, stated in planned.contents.items():
        path = Path(name).expanduser()
        if not path.exists() or fingerprint(path) != stated:
            raise UserError(f"{name} has changed since it was planned, or is gone: plan the study again.")


def local_names(spec: Spec) -> list[str]:
    """What in the spec is a path of this machine: the backbone, `hf:FOLDER`, `ENCODER@FILE`."""
    vision = spec.vision.module
    named = [spec.backbone] if "/" in spec.backbone else []
    named += re.findall(r"hf:([^+@#]+)", f"{vision}+{spec.language.module}") + re.findall(r"@([^+#]+)", vision)
    return sorted({name for name in named if Path(name).expanduser().exists()})


def fingerprint(path: Path) -> str:
    """SHA-256 over the names, sizes and blocks of a file, or of a model folder's files."""
    files = [path] if path.is_file() else sorted({file for kind in WANTED for file in path.glob(kind)})
    facts = [(file.name, _digest(file, file.stat().st_size, file.stat().st_mtime_ns)) for file in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


@lru_cache(maxsize=256)
def _digest(file: Path, size: int, changed: int) -> str:
    """Of one state of a file: `changed` (nanoseconds) is there to tell states apart."""
    found = hashlib.sha256(str(size).encode())
    with file.open("rb") as content:
        if size <= BLOCK * BLOCKS:
            found.update(content.read())
        else:
            for i in range(BLOCKS):
                content.seek((size - BLOCK) * i // (BLOCKS - 1))
                found.update(content.read(BLOCK))
    return found.hexdigest()
