"""The direction of imports, read from the source: encoders ← workbench ← ablations ← workbench/cli.py."""

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
MAY_IMPORT = {
    "encoders": {"encoders"},
    "workbench": {"encoders", "workbench"},
    "ablations": {"encoders", "workbench", "ablations"},
}
COMPOSITION_ROOT = "workbench.cli"
STARTED = "workbench.__main__"
"""What `python -m workbench` starts: it calls the composition root."""
WITHOUT_TORCH = (
    "workbench.errors",
    "workbench.spec",
    "workbench.plan",
    "workbench.record",
    "workbench.benchmarks.contract",
    "ablations.parse",
    "ablations.study",
    "workbench.engines.local",
    "workbench.cli",
)
HEAVY = ("torch", "transformers", "timm", "mujoco", "scipy", "matplotlib")


def module_name(path: Path) -> str:
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, module: str) -> set[str]:
    """Full names of all that `source` imports, inside functions too; `from a import b` may import a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def wrong_imports(module: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that `module` must not import."""
    allowed = set(MAY_IMPORT) if module == COMPOSITION_ROOT else MAY_IMPORT[module.split(".")[0]]
    ours = [name for name in names if name.split(".")[0] in MAY_IMPORT]
    above = () if module == STARTED else (COMPOSITION_ROOT,)
    return sorted(name for name in ours if name.split(".")[0] not in allowed or name in above)


MODULES = {module_name(path): path for package in MAY_IMPORT for path in sorted((HOUSE / package).rglob("*.py"))}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_in_one_direction(module: str):
    assert wrong_imports(module, imported(MODULES[module].read_text(), module)) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("encoders.tiny", "from workbench.spec import Slot"),
        ("encoders.tiny", "def f():\n    import workbench.spec"),
        ("workbench.spec", "from ablations import study"),
        ("ablations.study", "from workbench import cli"),
        ("ablations.study", "import workbench.cli as c"),
        ("workbench.engines.local", "from ..cli import app"),
    ],
)
def test_a_planted_wrong_import_is_caught(module: str, source: str):
    assert wrong_imports(module, imported(source, module)) != []


def test_what_plans_and_parses_loads_no_heavy_library():
    script = "; ".join(
        ["import sys", *(f"import {module}" for module in WITHOUT_TORCH)]
        + ["from ablations.runs import wanted", "from ablations.study_file import read_study"]
        + ["assert wanted(read_study('smoke'))"]
        + [f"print([name for name in {HEAVY} if name in sys.modules])"]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=HOUSE)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_every_package_is_listed_for_installation():
    listed = (HOUSE / "pyproject.toml").read_text()
    packages = {module_name(path) for package in MAY_IMPORT for path in (HOUSE / package).rglob("__init__.py")}
    folders = {path.parent for package in MAY_IMPORT for path in (HOUSE / package).rglob("*.py")}
    assert {".".join(folder.relative_to(HOUSE).parts) for folder in folders} == packages
    assert all(f'"{package}",' in listed for package in packages)
