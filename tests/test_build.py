"""From a spec to a policy: each slot has the weights that the spec names, and a spec that cannot be is refused."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from encoders.registry import build_encoder
from workbench import build as builds
from workbench.backbones.registry import EMBEDDED, load_backbone
from workbench.build import build
from workbench.edits import Reinit, Replace, edited
from workbench.errors import UserError
from workbench.policy import Policy
from workbench.spec import SLOTS, Slot, SlotName, Spec

NATIVE: tuple[SlotName, ...] = ("vision", "projector", "embeddings", "language")
IN_FILE = {
    "vision": ("tower.", "vision_tower."),
    "projector": ("", "multi_modal_projector."),
    "embeddings": ("", "language_model.model.embed_tokens."),
    "language": ("base.language_model.", "language_model.model."),
}
"""How a slot's tensors are called in the policy, and in the file that `save_pretrained` wrote."""


def made(spec: Spec, *, seed: int = 0, root: Path = Path()) -> Policy:
    return build(spec, seed, chunk=2, root=root)[0]


def same(a: Policy, b: Policy, slot: str) -> bool:
    first, second = (policy.get_submodule(slot).state_dict() for policy in (a, b))
    assert first.keys() == second.keys()
    return all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return made(Spec())


def in_the_file(slot: str) -> dict[str, Tensor]:
    """The slot's tensors in the shipped weights file, read without transformers."""
    ours, theirs = IN_FILE[slot]
    found = load_file(EMBEDDED / "model.safetensors")
    return {ours + name.removeprefix(theirs): t for name, t in found.items() if name.startswith(theirs)}


@pytest.mark.parametrize("slot", NATIVE)
def test_a_pretrained_slot_equals_the_file(policy, slot):
    expected, found = in_the_file(slot), policy.get_submodule(slot).state_dict()
    if slot == "language":
        expected = {name: tensor for name, tensor in expected.items() if "embed_tokens" not in name}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.fixture(scope="module")
def scratch() -> Policy:
    """Every slot drawn from seed 1."""
    return made(edited(Spec(), tuple(Reinit(slot=slot) for slot in SLOTS)), seed=1)


def test_random_slots_are_a_function_of_the_seed(scratch, policy):
    spec = edited(Spec(), tuple(Reinit(slot=slot) for slot in SLOTS))
    torch.manual_seed(123)  # whatever was drawn before
    again, other = made(spec, seed=1), made(spec, seed=2)
    assert all(same(scratch, again, slot) for slot in SLOTS)
    assert not any(same(scratch, other, slot) or same(scratch, policy, slot) for slot in SLOTS)
    assert not any(same(scratch, other, part) for part in ("head.trunk", "head.arm", "head.grip"))


@pytest.mark.parametrize("slot", NATIVE)
def test_a_random_slot_leaves_the_others_pretrained_and_does_not_depend_on_them(policy, scratch, slot):
    one = made(edited(Spec(), (Reinit(slot=slot),)), seed=1)
    assert same(one, scratch, slot)
    assert all(same(one, policy, name) for name in NATIVE if name != slot)


@pytest.mark.parametrize("slot", NATIVE)
def test_a_shuffled_slot_has_the_same_numbers_in_another_order(policy, slot):
    spec = edited(Spec(), (Reinit(slot=slot, weights="shuffled"),))
    first, again, other = (made(spec, seed=seed) for seed in (1, 1, 2))
    own = dict(policy.get_submodule(slot).named_parameters())
    for name, parameter in first.get_submodule(slot).named_parameters():
        assert torch.equal(parameter.flatten().sort().values, own[name].flatten().sort().values)
        assert parameter.unique().numel() < 10 or not torch.equal(parameter, own[name])
    assert same(first, again, slot) and not same(first, other, slot) and not same(first, policy, slot)
    assert all(same(first, policy, name) for name in NATIVE if name != slot)


def test_the_head_of_a_seed_is_the_same_in_every_arm(policy):
    arms = [
        (Reinit(slot="vision"), Reinit(slot="language")),
        (
            Replace(slot="vision", module="tiny", weights="random"),
            Replace(slot="projector", module="linear", weights="random"),
        ),
        (Replace(slot="projector", module="mlp", weights="random"),),
    ]
    assert all(same(made(edited(Spec(), arm)), policy, "head") for arm in arms)


def test_a_foreign_encoder_is_the_registrys_own(policy):
    spec = Spec(vision=Slot(module="tiny", weights="random"), projector=Slot(module="linear", weights="random"))
    found = made(spec, seed=5).vision.state_dict()
    expected = build_encoder("tiny", weights="random", seed=5).state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(9)
    state = torch.random.get_rng_state()
    made(edited(Spec(), (Reinit(slot="vision"), Replace(slot="projector", module="mlp", weights="random"))))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_slot_takes_over_the_weights_of_a_finished_run(small_run):
    root, id = small_run.root, small_run.record.id
    trained = load_file(small_run.record.folder / "policy.safetensors")
    spec = edited(Spec(), tuple(Replace(slot=slot, weights=f"run:{id}") for slot in ("vision", "language")))
    policy = made(spec, root=root)
    for slot in ("vision", "language"):
        found = policy.get_submodule(slot).state_dict()
        assert all(torch.equal(found[name], trained[f"{slot}.{name}"]) for name in found)
        assert not same(policy, made(Spec()), slot)
    assert same(policy, made(Spec()), "embeddings")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (Spec(backbone="embeded"), "No backbone named 'embeded'. Did you mean 'embedded'"),
        (Spec(vision=Slot(module="dinov2-smal", weights="random")), "'dinov2-smal'. Did you mean 'dinov2-small'"),
        (Spec(vision=Slot(module="tiny")), "No weights of .tiny. were published"),
        (Spec(projector=Slot(module="mpl", weights="random")), "No projector named 'mpl'. Did you mean 'mlp'"),
        (Spec(projector=Slot(module="mlp")), "No backbone has a pretrained 'mlp' projector"),
        (Spec(vision=Slot(module="dinov2-small", weights="random")), r"width \d+, but 'dinov2-small' gives 384"),
        (Spec(head=Slot(module="diffusion", weights="random")), "No head named 'diffusion'"),
        (Spec(vision=Slot(weights="run:0123456789ab")), "No finished run '0123456789ab'"),
    ],
)
def test_a_spec_that_cannot_be_built_is_refused_in_one_sentence(spec, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        made(spec, root=tmp_path)


@pytest.mark.parametrize(
    ("spec", "drawn"),
    [
        (Spec(projector=Slot(module="mlp", weights="random")), ["pretrained"]),
        (Spec(projector=Slot(weights="random")), ["pretrained", "random"]),
        (Spec(language=Slot(module="first-blocks:1", weights="random")), ["pretrained", "random"]),
    ],
)
def test_a_random_backbone_is_made_only_where_a_slot_takes_something_of_it(spec, drawn, monkeypatch):
    asked: list[str] = []

    def counted(name: str, *, weights: Literal["pretrained", "random"], **rest: Any):
        asked.append(weights)
        return load_backbone(name, weights=weights, **rest)

    monkeypatch.setattr(builds, "load_backbone", counted)
    made(spec)
    assert sorted(asked) == drawn
