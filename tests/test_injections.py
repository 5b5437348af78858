"""A row for each injection: figures that can be computed by hand, signals before controls, and what each rests on."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from planted import arm, facts, injected, pretrained, record
from recorded import record_study

from ablations.bottleneck import ArmRecord, SlotFact, bottleneck
from ablations.gather import gather
from ablations.runs import wanted
from ablations.study_file import read_study
from ablations.table import Figure, InjectionRow, Table
from ablations.taught import stages_of
from workbench.errors import UserError

EPISODES, SEEDS = 20, (0, 1, 2)
ORDER = ("inverse-dynamics", "masked-image", "state", "permuted-actions", "behaviour-cloning")
WON = {"inverse-dynamics": 10, "masked-image": 9, "state": 16, "permuted-actions": 11, "behaviour-cloning": 12}


def won(count: int) -> dict[int, np.ndarray]:
    """The first `count` of 20 episodes are won, by every seed."""
    return {seed: np.arange(EPISODES) < count for seed in SEEDS}


def into(name: str, count: int, *stages: str, moved: str = "frozen", slot: str = "vision") -> ArmRecord:
    """An arm whose slot starts from the last of these injections, which made one run."""
    return arm(name, facts(**{slot: injected(moved, *stages, run=run_of(*stages))}), won(count))


def run_of(*stages: str) -> str:
    return sha256(repr(stages).encode()).hexdigest()[:12]


def study(*more: ArmRecord, trained: int = 18) -> Table:
    """All trained wins 18 of 20, vision frozen 8; five injections, each frozen; `state` trained too."""
    base = [arm("all-trained", facts(), won(trained)), arm("freeze-vision", facts(vision=pretrained("frozen")), won(8))]
    own = [into(f"{name}-frozen", WON[name], name) for name in ORDER]
    return bottleneck(record([*base, *own, into("state-trained", 19, "state", moved="full"), *more]))


def rows(table: Table) -> Mapping[str, InjectionRow]:
    return {row.name: row for row in table.injections}


def value(figure: Figure | None) -> float | None:
    return figure and round(figure.value, 9)


def test_signals_come_first_by_their_gain_and_controls_after_them_by_theirs():
    found = study().injections
    assert [(row.name, row.control) for row in found] == [
        ("state", False),
        ("behaviour-cloning", False),
        ("inverse-dynamics", False),
        ("permuted-actions", True),
        ("masked-image", True),
    ]


def test_every_figure_is_the_one_that_is_computed_by_hand():
    found = rows(study())
    figures = {
        name: tuple(map(value, (row.success, row.gain, row.specific, row.recovery, row.trained_gain)))
        for name, row in found.items()
    }
    assert figures == {
        "state": (0.8, 0.4, 0.25, 0.8, 0.05),
        "behaviour-cloning": (0.6, 0.2, 0.05, 0.4, None),
        "inverse-dynamics": (0.5, 0.1, -0.05, 0.2, None),
        "permuted-actions": (0.55, 0.15, None, 0.3, None),
        "masked-image": (0.45, 0.05, None, 0.1, None),
    }
    state = found["state"]
    assert (state.frozen, state.trained, state.slot) == ("state-frozen", "state-trained", "vision")
    assert (state.seeds, state.screening) == (3, False) and state.mde is not None and state.mde > 0
    assert found["masked-image"].trained is None


def test_holm_counts_the_signals_and_no_control():
    found = rows(study())
    p = [found[name].p or 1.0 for name in ("state", "behaviour-cloning", "inverse-dynamics")]
    assert p == sorted(p) and p[0] < p[1] < p[2] < 1
    adjusted = [found[name].p_adjusted for name in ("state", "behaviour-cloning", "inverse-dynamics")]
    assert adjusted == pytest.approx([3 * p[0], max(3 * p[0], 2 * p[1]), max(2 * p[1], p[2])])
    for name in ("permuted-actions", "masked-image"):
        assert found[name].p is not None and found[name].p_adjusted is None


def test_the_slots_row_is_that_of_the_first_signal_and_no_note_says_that_others_are_left_out():
    table = study()
    first, vision = rows(table)["inverse-dynamics"], table.slots[0]
    assert (vision.injection_gain, vision.specific_gain, vision.recovery) == (
        first.gain,
        first.specific,
        first.recovery,
    )
    assert table.notes == ()


def test_nothing_is_recovered_where_freezing_costs_nothing():
    found = study(trained=8).injections
    assert [row.recovery for row in found] == [None] * 5
    assert [value(row.gain) for row in found] == [0.4, 0.2, 0.1, 0.15, 0.05]


def test_an_injection_that_was_only_trained_has_no_gain_and_is_no_part_of_holms_family():
    found = study(into("progress-trained", 17, "progress", moved="full"))
    row = rows(found)["progress"]
    assert [one.name for one in found.injections][2:4] == ["inverse-dynamics", "progress"]
    assert (row.frozen, row.trained, row.success, row.gain, row.p, row.p_adjusted) == (
        None,
        "progress-trained",
        *[None] * 4,
    )
    assert (row.specific, row.recovery, row.seeds, row.mde, row.screening) == (None, None, 0, None, False)
    assert value(row.trained_gain) == -0.05
    assert rows(found)["state"] == rows(study())["state"]


def test_an_arm_that_is_not_played_yet_is_not_known_to_be_injected():
    waiting = arm("progress-frozen", {}, {}, trainable_parameters=None, seconds=None, missing=SEEDS)
    assert study(waiting).injections == study().injections
    trained = into("progress-trained", 17, "progress", moved="full")
    assert rows(study(waiting, trained))["progress"].frozen is None


def test_two_injections_of_one_objective_are_told_apart_by_their_arms():
    other = arm("state-longer", facts(vision=injected("frozen", "state", run=12 * "f")), won(14))
    table = study(other)
    found = rows(table)
    assert list(found)[:2] == ["state (state-frozen)", "state (state-longer)"]
    assert found["state (state-longer)"].trained is None and found["state (state-frozen)"].trained == "state-trained"
    assert table.notes == ()


def test_the_weights_of_a_finished_policy_are_named_as_such():
    found = rows(study(into("state", 15, "policy")))
    assert found["policy (state)"].control is False and value(found["policy (state)"].gain) == 0.35


def test_two_arms_of_one_injection_are_noted_and_the_first_is_used():
    table = study(into("again", 20, "state"))
    assert rows(table)["state"].frozen == "state-frozen"
    assert table.notes == (
        f"'state-frozen' and 'again' are both 'vision injected and frozen' with the weights run:{run_of('state')}; "
        "the injection's row uses the first.",
    )


def test_the_control_of_another_slot_or_a_trained_one_is_no_part_of_the_specific_gain():
    elsewhere = into("elsewhere", 20, "random-distillation", slot="language")
    trained = into("permuted-trained", 20, "permuted-actions", moved="full")
    found = rows(study(elsewhere, trained))
    assert found["random-distillation"].slot == "language" and found["random-distillation"].gain is None
    assert value(found["state"].specific) == 0.25


def test_a_gain_on_fewer_than_three_seeds_is_screening():
    single = into("progress-frozen", 17, "progress")
    one = arm(single.name, single.slots, {0: single.outcomes[0]})
    row = rows(study(one))["progress"]
    assert (row.seeds, row.screening) == (1, True) and row.gain is not None and row.gain.screening


def test_a_chain_is_a_control_where_each_of_its_stages_is_one_and_no_signal_where_one_is():
    chains = study(
        into("only-controls", 17, "captions", "masked-image"),
        into("control-first", 14, "permuted-actions", "state"),
        into("control-last", 13, "state", "captions"),
        into("signals", 12, "state", "depth"),
    )
    found = {row.name: (row.control, row.p_adjusted is None) for row in chains.injections}
    assert found["captions → masked-image"] == (True, True)
    for mixed in ("permuted-actions → state", "state → captions", "state → depth"):
        assert found[mixed] == (False, False)
    assert value(rows(chains)["state"].specific) == -0.05, "the chain of two controls is the best of all controls"
    assert chains.notes == (
        "'control-first' began with permuted-actions → state. Nothing of control was taught by permuted-actions, but "
        "by another stage: what is gained is no negative control's, and no single signal's.",
        "'control-last' began with state → captions. Nothing of control was taught by captions, but by another stage: "
        "what is gained is no negative control's, and no single signal's.",
    )


def test_a_policy_in_a_chain_teaches_and_a_slot_that_no_stage_trained_was_taught_nothing():
    untaught = arm("untaught", facts(vision=SlotFact("run:" + 12 * "e", "frozen")), won(9))
    found = rows(study(into("after-policy", 9, "policy", "captions"), untaught))
    assert not found["policy → captions"].control and not found["nothing (untaught)"].control


FROZEN = '[[arms]]\nname = "{name}"\nedits = [{edits}]\n'
KEPT = '{ edit = "tune", slot = "vision", tune = { kind = "frozen" } }'
OBJECTIVE = "permuted-actions"
INJECTION = f"""
[injections.cloning]
objective = "{OBJECTIVE}"
data = {{ kind = "expert", split = "injection" }}
budget = {{ steps = 130 }}
"""


def text(weights: str, injection: str = "") -> str:
    """A study of one seed whose arm `injected-frozen` starts from `weights`."""
    given = f'{{ edit = "replace", slot = "vision", weights = "{weights}" }}, {KEPT}'
    arms = [("all-trained", ""), ("freeze-vision", KEPT), ("injected-frozen", given)]
    return "\n".join(
        [
            'name = "planted"\nquestion = "?"\n[data]\nkind = "expert"\n[budget]\nsteps = 130',
            '[protocol]\ntasks = ["reach", "lift"]\ninitial_states = 15',
            injection,
            *(FROZEN.format(name=name, edits=edits) for name, edits in arms),
        ]
    )


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return record_study(tmp_path_factory.mktemp("declared"), text("injection:cloning", INJECTION))


def test_an_injection_of_a_run_outside_the_study_is_read_from_that_run(declared, tmp_path):
    file, root = declared
    study = read_study(file)
    run = next(one.id for one in wanted(study) if one.arm == "injection:cloning")
    other = tmp_path / "other.toml"
    other.write_text(text(f"run:{run}"))
    for found in (bottleneck(gather(read_study(str(other)), root)), bottleneck(gather(study, root))):
        assert [(row.name, row.control, row.frozen) for row in found.injections] == [
            (OBJECTIVE, True, "injected-frozen")
        ]
        assert found.injections[0].gain is not None and found.slots[0].injection_gain is None


def test_a_run_that_is_not_recorded_is_asked_for_only_where_the_study_does_not_declare_it(declared, tmp_path):
    file, root = declared
    run = next(one.id for one in wanted(read_study(file)) if one.arm == "injection:cloning")
    aside = root / run
    aside.rename(tmp_path / "aside")
    try:
        assert gather(read_study(file), root).arms[2].control
        other = tmp_path / "other.toml"
        other.write_text(text(f"run:{run}"))
        with pytest.raises(UserError, match=f"No finished run '{run}'"):
            gather(read_study(str(other)), root)
        other.write_text(text(12 * "0").replace('weights = "0', 'weights = "run:0'))
        assert bottleneck(gather(read_study(str(other)), root)).injections == ()
    finally:
        (tmp_path / "aside").rename(aside)


CHAIN = """
[injections.controls]
objective = "permuted-actions"
data = { kind = "expert", split = "injection" }
budget = { steps = 130 }
[injections.behind]
objective = "state"
after = "controls"
data = { kind = "expert", split = "injection" }
budget = { steps = 130 }
"""


def test_the_stages_of_each_slot_are_read_along_the_runs_and_where_it_was_frozen_it_was_taught_nothing(tmp_path):
    """`state` reads the encoder alone: language stays as the control left it."""
    file = tmp_path / "chain.toml"
    file.write_text(text("injection:behind", CHAIN))
    runs = wanted(read_study(str(file)))
    plans = {run.id: run.plan for run in runs}
    last = next(f"run:{run.id}" for run in runs if run.arm == "injection:behind")
    assert stages_of("vision", last, plans.__getitem__) == ("permuted-actions", "state")
    assert stages_of("language", last, plans.__getitem__) == ("permuted-actions",)
    policy = next(f"run:{run.id}" for run in runs if run.arm == "injected-frozen")
    assert stages_of("vision", policy, plans.__getitem__) == ("permuted-actions", "state"), "the policy froze it"
    assert stages_of("language", policy, plans.__getitem__) == ("policy",)
    assert stages_of("vision", "pretrained", plans.__getitem__) == ()
    with pytest.raises(KeyError):
        stages_of("vision", "run:0123456789ab", plans.__getitem__)
