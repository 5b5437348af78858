"""A policy folder or a finished run, opened to be served."""

from dataclasses import replace
from pathlib import Path

from workbench.errors import UserError
from workbench.plan import Finetune, Inputs
from workbench.player import player_of, training_plan
from workbench.publish import load_policy
from workbench.record import open_record
from workbench.serving.policy import ServedPolicy


def open_policy(policy: str, root: Path, *, device: str = "auto") -> ServedPolicy:
    """The policy in the folder `policy`, or of the finished run of that id in `root`, on this machine's `device`.

    Raises UserError where it is neither, or where the run was trained without some of its inputs.
    """
    if Path(policy).is_dir():
        player, config = load_policy(Path(policy), device=device)
        return ServedPolicy(player, config.run, executed=config.protocol and config.protocol.n_action_steps)
    if "/" in policy:
        raise UserError(f"There is no folder {policy}: give a policy folder (`workbench save`) or a finished run's id.")
    record = open_record(root, policy)
    plan = training_plan(record)
    if isinstance(plan, Finetune) and plan.inputs != Inputs():
        raise UserError(f"The run {record.id} was trained without some of its inputs: a control, no policy.")
    here = plan.model_copy(update={"compute": plan.compute.model_copy(update={"device": device})})
    executed = plan.protocol.n_action_steps if isinstance(plan, Finetune) else None
    return ServedPolicy(player_of(replace(record, plan=here)), record.id, executed=executed)
