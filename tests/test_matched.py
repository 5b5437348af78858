"""Arms at equal trainable parameters: the rank that makes one as large as another, the same run, what was reached."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import say
from conftest import SmallRun

from ablations.arms import Arm
from ablations.gather import gather
from ablations.matched import as_large, ranks, trained, with_rank
from ablations.runs import arm_runs, wanted
from ablations.study import Study
from ablations.study_file import read_study
from workbench.actions import Actions
from workbench.edits import SetTune, edited
from workbench.execute import execute
from workbench.plan import run_id
from workbench.spec import LastBlocks, Lora, Spec

SMOKE = read_study("smoke")
FORM: dict[str, Any] = {"chunk": 4, "actions": Actions()}
LAST = {"name": "last", "edits": [{"edit": "tune", "slot": "vision", "tune": {"kind": "last-blocks", "blocks": 1}}]}


def lora(name: str = "lora", of: str | None = "last", **tune: Any) -> dict[str, Any]:
    edits = [{"edit": "tune", "slot": "vision", "tune": {"kind": "lora", **tune}}]
    return {"name": name, "edits": edits, "parameters_of": of}


def study(*arms: dict[str, Any]) -> Study:
    content = SMOKE.model_dump(mode="json") | {"contrasts": (), "injections": {}, "arms": [LAST, *arms]}
    return Study.model_validate(content)


def model(asked: Study, name: str) -> Spec:
    return asked.model_of(next(arm for arm in asked.arms if arm.name == name))


@pytest.mark.parametrize("tune", [{}, {"dora": True}, {"targets": ["*.fc1", "*.fc2"]}, {"rank": 64}])
def test_no_other_rank_comes_nearer_to_the_size_that_is_asked_for(tune: dict[str, Any]):
    found, size = model(study(lora(**tune)), "lora"), trained(model(study(), "last"), **FORM)
    (rank,) = ranks(found).values()

    def off(rank: int) -> int:
        return abs(trained(with_rank(found, rank), **FORM) - size)

    assert rank > 1 and off(rank) == min(off(other) for other in (1, rank - 1, rank, rank + 1))
    assert off(rank) < 0.1 * size


def test_it_is_one_rank_in_every_slot_with_its_scale_kept():
    tunes = {"vision": Lora(rank=4, alpha=8), "language": Lora(rank=8, alpha=32)}
    spec = edited(Spec(), tuple(SetTune(slot=slot, tune=tune) for slot, tune in tunes.items()))  # type: ignore[arg-type]
    found = as_large(spec, 400_000, **FORM)
    assert len(ranks(found)) == 2 and len(set(ranks(found).values())) == 1
    for slot, tune in tunes.items():
        own = getattr(found, slot).tune
        assert own.alpha / own.rank == tune.alpha / tune.rank and own != tune


def test_one_is_the_smallest_rank():
    frozen = {"name": "frozen", "edits": [{"edit": "tune", "slot": "vision", "tune": {"kind": "frozen"}}]}
    assert ranks(model(study(frozen, lora(of="frozen")), "lora")) == {"vision": 1}


def test_its_runs_are_those_of_an_arm_with_that_rank_written_out():
    asked = study(lora())
    tune = model(asked, "lora").vision.tune
    assert isinstance(tune, Lora)
    written = study(lora(of=None, rank=tune.rank, alpha=tune.alpha))
    ids = [[run.id for run in wanted(one)] for one in (asked, written)]
    assert ids[0] == ids[1] and len(ids[0]) == 2


def test_arms_that_name_no_other_are_what_they_were():
    for arm in SMOKE.arms:
        for run in arm_runs(SMOKE, arm):
            assert "parameters_of" not in run.plan.model_dump_json() and run.id == run_id(run.plan)
    assert not any(arm.parameters_of for arm in SMOKE.arms) and "parameters_of" in Arm.model_fields


def test_reading_such_a_study_counts_nothing(tmp_path: Path):
    """Nor does it import torch: only who asks for the runs pays."""
    (tmp_path / "s.toml").write_text((Path(__file__).parent.parent / "configs" / "smoke.toml").read_text() + TEXT)
    code = f"import sys; from ablations.study_file import read_study; read_study({str(tmp_path / 's.toml')!r}); "
    done = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr


TEXT = """
[[arms]]
name = "as-large"
parameters_of = "last-vision-block"
edits = [{ edit = "tune", slot = "vision", tune = { kind = "lora" } }]
"""


@pytest.mark.parametrize(
    ("arms", "says"),
    [
        ([lora(of="lats")], "arm 'lora': parameters_of: No arm named 'lats'. Did you mean 'last'"),
        ([lora(of="lora")], "names 'lora', which takes its own size from 'lora'"),
        ([lora(), lora("second", of="lora", dora=True)], "names 'lora', which takes its own size from 'last'"),
        ([lora(of="expert"), {"name": "expert", "reference": "expert"}], "names 'expert', which trains nothing"),
        ([{"name": "full", "parameters_of": "last"}], "arm 'full': parameters_of chooses a rank, but no slot is tuned"),
        (
            [{"name": "expert", "reference": "expert", "parameters_of": "last"}],
            "parameters_of says nothing of the expert",
        ),
    ],
)
def test_a_size_that_cannot_be_had_is_refused(arms: list[dict[str, Any]], says: str):
    with pytest.raises(ValueError, match=says):
        study(*arms)


def test_as_many_operations_are_those_of_the_rank_that_was_chosen():
    asked = study(lora()).model_copy(update={"matched": "operations"})
    arm = asked.arms[1]
    tune = model(asked, "lora").vision.tune
    assert isinstance(tune, Lora) and isinstance(asked.arms[0].edits[0].tune, LastBlocks)  # type: ignore[union-attr]
    written = study(lora(of=None, rank=tune.rank, alpha=tune.alpha)).model_copy(update={"matched": "operations"})
    assert asked.budget_of(arm) == written.budget_of(written.arms[1])


def test_the_table_says_what_was_reached(small_run: SmallRun, tmp_path: Path):
    asked = study(lora(), {"name": "expert", "reference": "expert"})
    assert gather(asked, small_run.root).notes == ()
    for run in wanted(asked):
        execute(run.plan, small_run.root)
    own, size = (trained(model(asked, name), **FORM) for name in ("lora", "last"))
    (rank,) = ranks(model(asked, "lora")).values()
    (note,) = [note for note in gather(asked, small_run.root).notes if "parameters" in note]
    assert note.startswith("'lora' was to train as many parameters as 'last'")
    assert f"at rank {rank} it trains {own:,}, beside {size:,} ({100 * (own / size - 1):+.1f} %)" in note
    (tmp_path / "s.toml").write_text((Path(__file__).parent.parent / "configs" / "smoke.toml").read_text() + TEXT)
    command = ("--root", str(small_run.root), "--format", "json")
    planned = json.loads(say("plan", str(tmp_path / "s.toml"), *command).out)["runs"]
    assert {run["trainable_parameters"] for run in planned if run["arm"] == "as-large"} == {own}
    assert any(
        f"at rank {rank}" in note for note in json.loads(say("table", str(tmp_path / "s.toml"), *command).out)["notes"]
    )
