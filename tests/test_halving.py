"""Successive halving: who competes, who goes on by which episodes, what the table then says and does not say."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import recorded
from commands import refusal, say
from pydantic import ValidationError
from starts import Alone

from ablations.bottleneck import bottleneck
from ablations.gather import gather
from ablations.halving.halve import Halving, ahead, groups, halve, halved, rung_runs, runs_of
from ablations.halving.rungs import RUNGS, SEED, Score, better_half, by_arm
from ablations.halving.words import planned
from ablations.report.latex import escaped
from ablations.report.page import material, page
from ablations.report.text import WRITERS
from ablations.runs import Wanted, wanted
from ablations.screens import study as screen
from ablations.study import Study
from ablations.study_file import read_study
from workbench.benchmarks.contract import Protocol
from workbench.engines.means import Means
from workbench.engines.schedule import share_out
from workbench.plan import Finetune, Inject
from workbench.record import find

SIX = {"lora-2": 0.9, "lora-4": 0.5, "lora-8": 0.7, "norms": 0.3, "slow": 0.2, "last": 0.6}
"""Arms that compete in `TEXT`, and how well they do on the selection episodes."""
TEXT = """
name = "halved"
question = "Which update does best?"
seeds = [0, 1]
[data]
kind = "expert"
[budget]
steps = 130
warmup_steps = 20
[protocol]
tasks = ["reach", "lift"]
initial_states = 15
[injections.cloning]
data = { kind = "expert", split = "injection" }
budget = { steps = 130 }
[[arms]]
name = "all-trained"
[[arms]]
name = "freeze-vision"
edits = [{ edit = "tune", slot = "vision", tune = { kind = "frozen" } }]
[[arms]]
name = "freeze-language"
edits = [{ edit = "tune", slot = "language", tune = { kind = "frozen" } }]
[[arms]]
name = "lora-2"
edits = [{ edit = "tune", slot = "language", tune = { kind = "lora", rank = 2 } }]
[[arms]]
name = "lora-4"
edits = [{ edit = "tune", slot = "language", tune = { kind = "lora", rank = 4 } }]
learning_rates = [1e-3, 2e-3]
[[arms]]
name = "lora-8"
edits = [{ edit = "tune", slot = "language", tune = { kind = "lora", rank = 8 } }]
[[arms]]
name = "norms"
edits = [{ edit = "tune", slot = "language", tune = { kind = "norms" } }]
[[arms]]
name = "slow"
edits = [{ edit = "rate", slot = "language", factor = 0.1 }]
[[arms]]
name = "last"
edits = [{ edit = "tune", slot = "vision", tune = { kind = "last-blocks", blocks = 1 } }]
[[contrasts]]
name = "norms over all"
a = "norms"
b = "all-trained"
[[contrasts]]
name = "freeze cost of vision"
a = "all-trained"
b = "freeze-vision"
"""
RATES = """
name = "rates"
question = "Which rate does best?"
[data]
kind = "expert"
tasks = ["reach"]
episodes = 4
[budget]
steps = 4
batch = 4
[protocol]
tasks = ["reach"]
initial_states = 1
[base]
vision = { tune = { kind = "frozen" } }
language = { tune = { kind = "frozen" } }
""" + "".join(f'[[arms]]\nname = "rate-{n}"\nbudget = {{ learning_rate = {n}e-4 }}\n' for n in range(1, 6))
"""One model, so that little is built: the first arm, and four that compete with other learning rates."""


def study_of(folder: Path, *changes: str, text: str = TEXT) -> Study:
    file = folder / "halved.toml"
    file.write_text(text)
    return read_study(str(file), ["screen=true", *changes])


def planted(shares: Mapping[str, float]):
    """Scores as an arm's share says, the same on every rung and with every learning rate."""
    return lambda run: Score(run.arm, run.plan.budget.steps, shares[run.arm], 0.5)


def record_all(study: Study, root: Path, shares: Mapping[str, float], runs: list[Wanted]) -> None:
    """Record what of `runs` is missing, with arms as successful as `shares` say; no films, which nothing here shows."""
    specs = {run.id: run.plan.spec for run in wanted(study) if isinstance(run.plan, Finetune | Inject)}
    specs |= {run.id: run.plan.spec for run in runs if isinstance(run.plan, Finetune)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorded, "write_films", lambda *_: None)
        for arm, share in shares.items():
            patch.setitem(recorded.SHARES, arm, share)
        for run in runs:
            if find(root, run.plan) is None:
                recorded._record(run, root, specs)


def record_rungs(study: Study, root: Path, shares: Mapping[str, float]) -> Halving:
    """Record one rung after the other until it is decided."""
    for _ in RUNGS:
        record_all(study, root, shares, list(halved(study, root).due))
    return halved(study, root)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's file and its records: rungs as `SIX` says, and every arm in full, with the worst of them best."""
    folder = tmp_path_factory.mktemp("halved")
    study = study_of(folder)
    record_rungs(study, folder / "runs", SIX)
    reported = {arm: 1.0 - share for arm, share in SIX.items()} | {"all-trained": 0.9, "freeze-vision": 0.2}
    record_all(study, folder / "runs", reported, wanted(study))
    return folder


def test_the_better_half_goes_on_rounded_up_and_nothing_that_broke():
    scores = [Score("a", 9, 0.2, 0.9), Score("b", 9, 0.7, 0.1), Score("c", 9, 0.5, 0.5), Score("d", 9, error="NaN")]
    assert better_half(scores) == ("b", "c")
    assert better_half([*scores, Score("e", 9, 0.6, 0.0)]) == ("b", "c", "e")
    assert better_half([Score("a", 9, error="NaN"), Score("b", 9, error="NaN"), Score("c", 9, 0.0, 0.0)]) == ("c",)


def test_ties_go_to_the_episodes_that_came_further_and_then_to_the_arm_that_is_named_first():
    assert better_half([Score("a", 9, 0.5, 0.1), Score("b", 9, 0.5, 0.3)]) == ("b",)
    assert better_half([Score(name, 9, 0.0, 0.2) for name in "abcd"]) == ("a", "b")


def test_an_arm_that_tries_learning_rates_stands_for_its_best_one():
    tried = [Score("a", 9, 0.2), Score("a", 9, error="NaN"), Score("a", 9, 0.6), Score("b", 9, 0.4)]
    assert by_arm(tried) == (Score("a", 9, 0.6), Score("b", 9, 0.4))
    assert by_arm(tried[1:2])[0].error == "NaN"


def test_arms_compete_that_put_something_in_and_none_that_takes_something_away():
    assert groups(read_study("modality")) == groups(read_study("inputs")) == ((), ())
    competing, spared = groups(read_study("smoke"))
    assert competing == (("lora-language", "last-vision-block", "tiny-encoder", "slow-language"),)
    assert spared == ("injected-frozen",)


def test_signals_compete_with_those_that_freeze_the_same_slots_and_negative_controls_with_nobody():
    study = read_study("injection")
    (frozen, trained), spared = groups(study)
    assert {name.removesuffix("-frozen") for name in frozen} == {name.removesuffix("-trained") for name in trained}
    assert len(frozen) == 7 and not spared
    controls = {arm.name for arm in study.arms} - {*frozen, *trained}
    assert {"permuted-frozen", "sham-frozen", "captions-frozen", "masked-trained", "freeze-vision-longer"} < controls


@pytest.mark.parametrize(
    ("arm", "does"),
    [
        ("edits = [{ edit = 'replace', slot = 'vision', weights = 'run:0123456789ab' }]", False),
        ("edits = [{ edit = 'replace', slot = 'vision', weights = 'injection:cloning' }]", True),
        ("edits = [{ edit = 'reinit', slot = 'vision', weights = 'shuffled' }]", False),
        ("edits = [{ edit = 'replace', slot = 'projector', module = 'mlp', weights = 'random' }]", True),
        ("budget = { steps = 260 }", False),
        ("budget = { learning_rate = 1e-2 }", True),
        ("learning_rates = [1e-2, 2e-2]", True),
        ("edits = [{ edit = 'tune', slot = 'head', tune = { kind = 'frozen' } }]\nlearning_rates = [1, 2]", False),
        ("inputs = { image = 'blank' }", False),
        ("reference = 'expert'", False),
    ],
)
def test_what_an_arm_puts_in_decides_whether_it_competes(tmp_path: Path, arm: str, does: bool):
    competing, spared = groups(study_of(tmp_path, text=f'{TEXT}\n[[arms]]\nname = "new"\n{arm}\n'))
    assert ("new" in (*(name for group in competing for name in group), *spared)) is does


def test_a_rung_is_a_shorter_training_that_plays_the_selection_episodes(tmp_path: Path):
    study = study_of(tmp_path)
    full = {run.arm: run.plan for run in wanted(study) if isinstance(run.plan, Finetune)}
    for rung, steps, warmup in zip(RUNGS, (32, 65), (5, 10), strict=True):
        runs = list(rung_runs(study, SIX, rung))
        assert [run.arm for run in runs] == ["lora-2", "lora-4", "lora-4", "lora-8", "norms", "slow", "last"]
        for run in runs:
            assert isinstance(run.plan, Finetune) and run.plan.seed == SEED and run.chooses
            assert (run.plan.budget.steps, run.plan.budget.warmup_steps) == (steps, warmup)
            reported = full[run.arm].protocol.manifest()
            assert len(run.plan.protocol.manifest()) == len(reported)
            assert not set(run.plan.protocol.manifest()) & set(reported)
            assert (run.plan.spec, run.plan.data) == (full[run.arm].spec, full[run.arm].data)
    assert not {run.id for rung in RUNGS for run in rung_runs(study, SIX, rung)} & {run.id for run in wanted(study)}


def test_half_of_the_arms_are_left_after_each_rung(tmp_path: Path):
    study = study_of(tmp_path)
    halving = halve(study, planted(SIX))
    assert [one.left for one in halving.decided] == [("lora-2", "lora-8", "last"), ("lora-2", "lora-8")]
    assert list(halving.dropped) == ["lora-4", "norms", "slow", "last"] and not halving.due
    assert halving.dropped["last"].steps == 65 and halving.dropped["slow"].steps == 32
    full = [run.arm for run in runs_of(study, halving) if not run.chooses]
    assert sorted(set(full) & set(SIX)) == ["lora-2", "lora-8"] and full.count("lora-2") == 2
    asked = {run.id for run in wanted(study) if run.arm not in halving.dropped}
    assert asked == {run.id for run in runs_of(study, halving) if not run.rung}


def test_a_rung_is_open_until_all_of_its_runs_are_recorded(tmp_path: Path):
    study = study_of(tmp_path)
    halving = halve(study, lambda run: None if run.arm == "slow" else planted(SIX)(run))
    assert not halving.decided and set(halving.undecided) == set(SIX) and len(halving.due) == 7
    assert not set(SIX) & {run.arm for run in runs_of(study, halving) if not run.rung}
    second = halve(study, lambda run: None if run.rung == RUNGS[1].name else planted(SIX)(run))
    assert second.undecided == ("lora-2", "lora-8", "last") and set(second.dropped) == {"lora-4", "norms", "slow"}


def test_a_study_that_is_not_screened_and_one_with_too_few_arms_are_run_as_they_are(tmp_path: Path):
    study = study_of(tmp_path, "screen=false")
    assert runs_of(study, halve(study, planted({}))) == wanted(study) and not planned(study, halve(study, planted({})))
    few = study_of(tmp_path, text=TEXT.split('[[arms]]\nname = "lora-8"')[0])
    halving = halve(few, planted({}))
    assert runs_of(few, halving) == wanted(few) and not halving.competing
    [told] = planned(few, halving)
    assert "dropped no arm: it takes 4" in told and "2 arms could compete ('lora-2', 'lora-4')" in told


def test_survivors_depend_on_the_selection_episodes_alone(folder: Path, tmp_path: Path):
    """The reported episodes of `folder` say the opposite; those of the other root are not even played."""
    study = study_of(folder)
    elsewhere = record_rungs(study, tmp_path / "runs", SIX)
    assert halved(study, folder / "runs") == elsewhere
    assert [one.left for one in elsewhere.decided] == [("lora-2", "lora-8", "last"), ("lora-2", "lora-8")]
    reported = {
        row.name: row.success for row in bottleneck(gather(study_of(folder, "screen=false"), folder / "runs")).arms
    }
    assert (reported["slow"] or 0) > (reported["lora-8"] or 0) > (reported["lora-2"] or 0)


def test_arms_that_were_dropped_have_no_figure_even_where_they_are_recorded_in_full(folder: Path):
    table = bottleneck(gather(study_of(folder), folder / "runs"))
    rows = {row.name: row for row in table.arms}
    lost = ("lora-4", "norms", "slow", "last")
    assert all(rows[name].dropped and rows[name].success is None and not rows[name].missing for name in lost)
    assert all(rows[name].seeds == 2 and not rows[name].dropped for name in rows if name not in lost)
    assert rows["last"].facts.startswith("dropped after 65 of 130 steps: ")
    assert not {row.b for row in table.exploratory} & set(lost)
    gone, cost = table.contrasts
    assert (gone.difference, gone.dropped) == (None, ("norms",)) and cost.difference is not None and not cost.dropped
    assert table.verdict.endswith("Nothing is said of 4 arms that successive halving dropped.")
    assert {row.slot: row.freeze_cost is not None for row in table.slots if row.slot in ("vision", "language")} == {
        "vision": True,
        "language": True,
    }


def test_an_arm_that_was_dropped_is_compared_with_nothing(folder: Path, tmp_path: Path):
    (tmp_path / "s.toml").write_text("screen = true\n" + TEXT)
    asked = ("compare", "lora-2", "last", "--study", str(tmp_path / "s.toml"), "--root", str(folder / "runs"))
    assert "The arm 'last' was dropped after 65 of 130 steps: " in refusal(*asked)


def test_an_arm_that_was_dropped_has_no_figure_where_another_one_plays_its_policy(tmp_path: Path):
    """The training is made for the arm without its image, which does not compete."""
    edits = "edits = [{ edit = 'tune', slot = 'language', tune = { kind = 'norms' } }]"
    blind = f'[[arms]]\nname = "blind-norms"\n{edits}\ninputs = {{ image = "blank" }}\n'
    study, root = study_of(tmp_path, "seeds=[0]", text=TEXT + blind), tmp_path / "runs"
    runs = runs_of(study, record_rungs(study, root, SIX))
    assert "norms" not in {run.arm for run in runs if not run.rung} and "blind-norms (training)" in {
        r.arm for r in runs
    }
    record_all(study, root, SIX | dict.fromkeys(("blind-norms", "blind-norms (training)"), 0.1), runs)
    rows = {row.name: row for row in bottleneck(gather(study, root)).arms}
    assert rows["norms"].success is None and rows["norms"].dropped and rows["blind-norms"].success is not None


def test_without_it_the_table_of_the_same_folder_is_as_ever(folder: Path):
    table = bottleneck(gather(study_of(folder, "screen=false"), folder / "runs"))
    assert all(row.success is not None for row in table.arms)
    assert "dropped" not in table.as_json() and "halving" not in table.as_json()


def test_every_format_says_what_was_dropped_after_what(folder: Path):
    study = study_of(folder)
    table = bottleneck(gather(study, folder / "runs"))
    note, lost = (one for one in table.notes if "halving" in one or "dropped" in one)
    assert "of 6 arms that compete, 3 went on after a quarter and 2 went on after half of their steps" in note
    assert "after 32 of 130 steps 'lora-4' (" in note and "after 65 of 130 steps 'last' (" in note
    assert "30 selection episodes" in note and "took no part in this" in note and "'norms over all'" in lost
    told = {name: write(table) for name, write in WRITERS.items()} | {"page": page(material(study, folder / "runs"))}
    for name, text in told.items():
        said = escaped(note) if name == "latex" else note.replace("'", "&#39;") if name == "page" else note
        assert said in text or name in ("csv", "json"), name
        assert "norms dropped" in text or name == "json"
    assert "Seed 9999 · finetune · half of the steps, only to choose arms" in told["page"]
    assert note in json.loads(told["json"])["notes"]
    rows = list(csv.DictReader(io.StringIO(told["csv"])))
    assert note in [row["text"] for row in rows]
    assert [row["text"] for row in rows if row["row"] == "slow" and row["column"] == "success"] == ["dropped"]


def test_an_open_rung_keeps_its_arms_out_of_the_table_and_is_told(tmp_path: Path):
    study, root = study_of(tmp_path), tmp_path / "runs"
    record_all(study, root, SIX, [run for run in halved(study, root).due if run.arm != "slow"])
    record_all(study, root, SIX, [run for run in wanted(study) if run.arm in ("all-trained", "lora-2")])
    table = bottleneck(gather(study, root))
    rows = {row.name: row for row in table.arms}
    assert rows["all-trained"].seeds == 2 and rows["lora-2"].success is None and rows["lora-2"].missing == (0, 1)
    assert any("is not decided yet: 7 trainings of 6 arms with a quarter of their steps" in one for one in table.notes)


def test_a_run_that_broke_drops_its_arm_by_name(tmp_path: Path):
    study, root = study_of(tmp_path), tmp_path / "runs"
    first = list(halved(study, root).due)
    for run in [run for run in first if run.arm == "lora-2"]:
        recorded.write_result(recorded.begin(root, run.plan), {"error": "loss is NaN", "machine": {"packages": {}}})
    halving = record_rungs(study, root, SIX)
    assert halving.dropped["lora-2"] == Score("lora-2", 32, error="loss is NaN")
    [note, _] = planned(study, halving)
    assert "'lora-2' (broke: loss is NaN)" in note


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["data.split=selection"], "the choice of arms and data both use the 'selection' episodes"),
        ([f"seeds=[0, {SEED}]"], f"the seed {SEED} is that of its rungs"),
        ([f"arms.rate-2.seeds=[{SEED}]"], f"the seed {SEED} is that of its rungs"),
        (["screen=1"], "screen: Input should be a valid boolean"),
    ],
)
def test_what_cannot_be_screened_is_refused(tmp_path: Path, changes: list[str], said: str):
    study_of(tmp_path, text=RATES)
    words = [word for change in changes for word in ("--set", change)]
    assert said in refusal("plan", str(tmp_path / "halved.toml"), "--set", "screen=true", *words)


def test_a_benchmark_without_selection_episodes_cannot_be_screened():
    given = {"name": "x", "question": "?", "arms": [{"name": "a"}], "budget": {"chunk": 8}, "screen": True}
    data, protocol = (
        {"kind": "folder", "path": "none"},
        Protocol.model_validate({"benchmark": "libero-10"}).model_dump(),
    )
    with pytest.raises(ValidationError, match="libero-10 has no selection episodes to choose arms on"):
        Study.model_validate({**given, "data": data, "protocol": protocol})


def test_a_plan_and_a_dry_run_show_the_rung_and_the_most_that_it_can_cost(tmp_path: Path):
    study = study_of(tmp_path, "seeds=[0, 1, 2]", text=RATES)
    words = (str(tmp_path / "halved.toml"), "--screen", "--set", "seeds=[0, 1, 2]", "--root", str(tmp_path / "runs"))
    plan = json.loads(say("plan", *words, "--format", "json").out)
    assert [row["arm"] for row in plan["runs"] if row["rung"]] == [run.arm for run in halved(study, tmp_path).due]
    most = "at most 2 make half of their steps and 1 make all of their steps: that is 5 further runs at most"
    assert most in " ".join(plan["screen"])
    dry = " ".join(say("run", *words, "--dry-run").out.split())
    assert f"{3 + 4 + 5} of {3 + 4 + 5} runs are missing" in dry and most in dry and "cost most" in dry
    assert "rate-5 (a quarter)" in dry and dry.count("(half)") == 2
    assert not (tmp_path / "runs").exists()


def test_no_outcome_of_the_rungs_costs_more_than_the_most(tmp_path: Path):
    study = study_of(tmp_path)
    most = sum(
        sum(sorted((len(own) for own in part.runs.values()), reverse=True)[: part.most])
        for part in ahead(study, halve(study, lambda run: None))
    )
    for best in SIX:
        halving = halve(study, planted(SIX | {best: 1.0}))
        behind = [run for run in runs_of(study, halving) if run.arm in SIX and run.rung != RUNGS[0].name]
        assert len(behind) <= most


def test_its_option_is_the_field_of_the_study(folder: Path):
    file, root = str(folder / "halved.toml"), str(folder / "runs")
    shown, field = (
        say("table", file, "--root", root, "--format", "csv", *more).out
        for more in (("--screen",), ("--set", "screen=true"))
    )
    assert shown == field and ",dropped" in shown
    assert say("report", file, "--root", root, "--screen", "--output", str(folder / "page.html")).code == 0
    assert "of 6 arms that compete" in (folder / "page.html").read_text()


@pytest.mark.slow
def test_a_screened_study_is_really_run_rung_by_rung_and_costs_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Four steps and one episode an arm; the runs are done in this process, one after the other."""
    study = study_of(tmp_path, text=RATES)
    crews: list[Alone] = []

    def engine(means: Means):
        crews.append(Alone(tmp_path))
        return lambda jobs, root: share_out(jobs, root, crews[-1])

    monkeypatch.setattr(screen, "engine", engine)
    assert screen.make_missing(study, tmp_path, Means("local")) == ""
    halving = halved(study, tmp_path)
    assert [len(one.left) for one in halving.decided] == [2, 1] and len(halving.dropped) == 3
    made = [id for crew in crews for id in crew.performed]
    assert len(made) == 1 + 4 + 2 + 2 and len(crews) == 3  # demonstrations, rungs, the arms that are left
    assert sum(row.success is not None for row in bottleneck(gather(study, tmp_path)).arms) == 2
    assert screen.make_missing(study, tmp_path, Means("local")) == "" and len(crews) == 3
