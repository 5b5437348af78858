"""Device, precision, attention and checkpointing: settings of the plan that do what they say, for every family."""

from pathlib import Path

import pytest
import torch
from conftest import SmallRun
from safetensors.torch import load_file
from test_slots import BUDGET, FAMILIES, batches, folder  # noqa: F401  # a fixture

from workbench.build import build
from workbench.compute import place
from workbench.errors import UserError
from workbench.execute import execute
from workbench.plan import Compute
from workbench.policy import Policy
from workbench.record import collected_folder, find
from workbench.spec import SLOTS, Frozen, Slot, Spec
from workbench.training.adapt import adapt
from workbench.training.imitate import imitation_loss

FROZEN_VISION = Slot(tune=Frozen())


def gradients(policy: Policy, backbone, compute: Compute) -> dict[str, torch.Tensor]:
    """Of one batch, in training mode; dropout draws the same."""
    spot = place(compute)
    torch.manual_seed(0)
    with spot.autocast():
        loss = sum(imitation_loss(policy, next(batches(backbone))).values())
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    return {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}


def test_on_this_machine_auto_is_what_torch_has():
    spot = place(Compute())
    assert (spot.device.type, spot.dtype) == (
        ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    )


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="'cuda:99', but torch sees"):
        place(Compute(device="cuda:99"))


def test_slots_are_not_spread_over_a_gpu_and_the_cpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert place(Compute(device_map={"language": "cuda:1"})).elsewhere == {"language": torch.device("cuda:1")}
    with pytest.raises(UserError, match="compute.device_map.language is 'cuda:1' beside 'cpu'"):
        place(Compute(device="cpu", device_map={"language": "cuda:1"}))
    with pytest.raises(UserError, match="compute.device_map.head is 'cuda:2', but torch sees 2 GPUs"):
        place(Compute(device_map={"head": "cuda:2"}))


@pytest.mark.parametrize("crossing", range(1, len(SLOTS)))
def test_the_walk_crosses_from_one_device_to_the_next(crossing: int):
    """The meta device stands for a second one: nothing comes back from it, so that every hand-over shows."""
    policy, backbone = build(Spec(), 0, chunk=BUDGET.chunk, root=Path())
    query_E = policy.head.query_E  # the one tensor that goes the other way, from the head to the language model
    for name in SLOTS[crossing:]:
        policy.get_submodule(name).to("meta")
    policy.head.query_E = query_E
    policy.places = {name: torch.device("meta" if name in SLOTS[crossing:] else "cpu") for name in SLOTS}
    loss = imitation_loss(policy, next(batches(backbone)))
    assert {part.device.type for part in loss.values()} == {"meta"}


def test_a_frozen_tower_with_batch_norm_sees_in_bfloat16():
    compute = Compute(device="cpu", dtype="bfloat16")
    vision = Slot(module="resnet-18", weights="random", tune=Frozen())
    spec = Spec(vision=vision, projector=Slot(module="linear", weights="random"))
    policy, backbone = build(spec, 0, chunk=BUDGET.chunk, root=Path(), compute=compute)
    adapt(policy, spec, seed=0)
    place(compute).settle(policy)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(policy, backbone, compute).values())


def test_flash_attention_is_refused_where_it_would_drop_the_prefix():
    with pytest.raises(UserError, match="would lose its bidirectional prefix"):
        build(Spec(), 0, chunk=2, root=Path(), compute=Compute(device="cpu", attention="flash_attention_2"))


def test_attention_that_is_not_installed_is_refused(folder):  # noqa: F811
    with pytest.raises(UserError, match="'flash_attention_2', which cannot be had"):
        flash = Compute(device="cpu", attention="flash_attention_2")
        build(Spec(backbone=folder("llava")), 0, chunk=2, root=Path(), compute=flash)


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_computes_blocks_twice_and_changes_no_gradient(folder, family):  # noqa: F811
    found, calls = [], []
    for compute in (Compute(device="cpu"), Compute(device="cpu", gradient_checkpointing=True)):
        spec = Spec(backbone=folder(family), vision=FROZEN_VISION)
        policy, backbone = build(spec, 0, chunk=BUDGET.chunk, root=Path(), compute=compute)
        adapt(policy, spec, seed=0)
        calls.append([])
        inside = next(part for part in policy.language.blocks[0].modules() if isinstance(part, torch.nn.Linear))
        inside.register_forward_hook(lambda *_, made=calls[-1]: made.append(1))
        found.append(gradients(policy, backbone, compute))
    kept, computed_twice = found
    assert [len(made) for made in calls] == [1, 2]
    assert kept.keys() == computed_twice.keys() and len(kept) > 10
    for name, gradient in kept.items():
        torch.testing.assert_close(computed_twice[name], gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_only_what_is_frozen_is_stored_so_and_every_trained_tensor_has_a_gradient(folder, family):  # noqa: F811
    compute = Compute(device="cpu", dtype="bfloat16")
    spec = Spec(backbone=folder(family), vision=FROZEN_VISION)
    policy, backbone = build(spec, 0, chunk=BUDGET.chunk, root=Path(), compute=compute)
    adapt(policy, spec, seed=0)
    place(compute).settle(policy)
    types = {name: p.dtype for name, p in policy.named_parameters()}
    matrices = {name for name, p in policy.named_parameters() if p.ndim > 1}
    assert {kind for name, kind in types.items() if name.startswith("vision.") and name in matrices} == {torch.bfloat16}
    assert {kind for name, kind in types.items() if not name.startswith("vision.")} == {torch.float32}
    found = gradients(policy, backbone, compute)
    assert found.keys() == {name for name, p in policy.named_parameters() if p.requires_grad}
    assert all(torch.isfinite(gradient).all() for gradient in found.values())


def test_a_run_in_bfloat16_is_recorded_as_such_and_its_policy_plays_the_same_again(small_run: SmallRun, tmp_path: Path):
    from workbench.player import player_of

    data = collected_folder(small_run.root, small_run.plan.data)  # type: ignore[arg-type]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / data.name).symlink_to(data)
    compute = Compute(device="cpu", dtype="bfloat16", gradient_checkpointing=True)
    plan = small_run.plan.model_copy(update={"compute": compute, "spec": Spec(vision=FROZEN_VISION)})
    execute(plan, tmp_path)
    record = find(tmp_path, plan)
    assert record is not None and record.error is None
    assert (record.result["device"], record.result["dtype"]) == ("cpu", "bfloat16")
    assert any(line.startswith("attention_mask") for line in record.result["passes"])
    stored = load_file(record.folder / "policy.safetensors")
    assert {v.dtype for k, v in stored.items() if k.startswith("vision.tower") and v.ndim > 1} == {torch.bfloat16}
    assert all(torch.equal(stored[k], v) for k, v in player_of(record).policy.state_dict().items())
