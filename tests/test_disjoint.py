"""A run may not play, or be trained on, episodes that something before it was trained on."""

from pathlib import Path

import pytest

from workbench.benchmarks.contract import Protocol
from workbench.disjoint import check_disjoint, lineage
from workbench.errors import UserError
from workbench.execute import execute
from workbench.plan import Budget, Evaluate, Finetune, Inject, Inputs, Plan, run_id
from workbench.recipes import Data, Expert, Folder
from workbench.record import begin, write_json
from workbench.spec import Frozen, Slot, Spec

BUDGET = Budget(steps=1)


def injection(data: Data, start: str = "pretrained") -> Inject:
    return Inject(spec=Spec(vision=Slot(weights=start)), data=data, budget=BUDGET)


def policy(start: str, data: Data | None = None, split: str = "evaluation") -> Finetune:
    protocol = Protocol.model_validate({"split": split})
    spec = Spec(vision=Slot(weights=start, tune=Frozen()))
    return Finetune(spec=spec, data=data or Expert(tasks=("reach",)), budget=BUDGET, protocol=protocol)


def recorded(root: Path, plan: Plan) -> str:
    write_json(begin(root, plan) / "result.json", {"error": "not run"})
    return f"run:{run_id(plan)}"


def test_an_injection_of_episodes_of_its_own_passes(tmp_path: Path):
    first = recorded(tmp_path, injection(Expert(split="injection")))
    second = recorded(tmp_path, injection(Expert(split="injection"), start=first))
    plan = policy(second)
    check_disjoint(plan, tmp_path, run="x")
    assert [type(one) for one in lineage(plan, tmp_path, {})] == [Finetune, Inject, Inject]


def test_an_injection_that_leaks_the_evaluation_episodes_is_refused_also_behind_another(tmp_path: Path):
    leaking = recorded(tmp_path, injection(Expert(split="evaluation")))
    with pytest.raises(UserError, match="plays the 'evaluation' episodes, which it or a run that it starts from"):
        check_disjoint(policy(leaking), tmp_path, run="x")
    behind = recorded(tmp_path, injection(Expert(split="injection"), start=leaking))
    with pytest.raises(UserError, match="plays the 'evaluation' episodes"):
        execute(policy(behind), tmp_path)
    assert not (tmp_path / run_id(policy(behind))).exists()


def test_a_policy_that_plays_its_own_demonstrations_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="plays the 'finetune' episodes"):
        check_disjoint(policy("pretrained", split="finetune"), tmp_path, run="x")
    trained = recorded(tmp_path, policy("pretrained")).removeprefix("run:")
    again = Evaluate(of=trained, protocol=Protocol(split="finetune"), inputs=Inputs())
    with pytest.raises(UserError, match="plays the 'finetune' episodes"):
        check_disjoint(again, tmp_path, run="x")
    check_disjoint(again.model_copy(update={"protocol": Protocol(split="selection")}), tmp_path, run="x")


@pytest.mark.parametrize("same", [Expert(split="finetune", episodes=3), Folder(path="mine", digest="abc")])
def test_a_policy_that_is_trained_on_the_injections_episodes_is_refused(same: Data, tmp_path: Path):
    start = recorded(tmp_path, injection(same))
    own = same if isinstance(same, Folder) else Expert(tasks=("reach",))
    with pytest.raises(UserError, match="is trained on the episodes of the injection"):
        check_disjoint(policy(start, own), tmp_path, run="x")
    check_disjoint(policy(start, Folder(path="other", digest="def")), tmp_path, run="x")
