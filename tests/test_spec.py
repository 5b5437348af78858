from itertools import permutations
from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from workbench.edits import Edit, Reinit, Replace, SetTune, apply, edited
from workbench.spec import SLOTS, Frozen, Full, LastBlocks, Lora, Norms, Slot, Spec, Tune, digest, with_random_weights


def test_an_edit_changes_one_slot_and_leaves_the_given_spec_alone():
    base = Spec()
    frozen = apply(base, SetTune(slot="vision", tune=Frozen()))
    assert frozen.vision == Slot(tune=Frozen())
    assert base == Spec()
    assert all(frozen.slot(name) == base.slot(name) for name in SLOTS if name != "vision")


def test_each_edit_touches_only_what_it_names():
    base = Spec(vision=Slot(module="tiny", weights="random", tune=Lora(rank=2, alpha=3)))
    tuned = apply(base, SetTune(slot="vision", tune=LastBlocks(blocks=1)))
    replaced = apply(base, Replace(slot="vision", module="siglip-base", weights="run:0123456789ab"))
    fresh = apply(base, Reinit(slot="language"))
    assert tuned.vision == Slot(module="tiny", weights="random", tune=LastBlocks(blocks=1))
    assert replaced.vision == Slot(module="siglip-base", weights="run:0123456789ab", tune=Lora(rank=2, alpha=3))
    assert fresh.language == Slot(weights="random") and fresh.vision == base.vision


def test_adapters_are_those_of_the_weights_and_go_with_them():
    kept = Slot(weights="run:0123456789ab", tune=Lora(), adapters="kept")
    base = Spec(language=kept)
    assert apply(base, Reinit(slot="language")).language == Slot(weights="random", tune=Lora())
    assert with_random_weights(base).language == Slot(weights="random", tune=Lora())
    taken = Replace(slot="language", weights="run:0123456789ab", adapters="kept")
    assert apply(Spec(language=Slot(tune=Lora())), taken).language == kept
    assert apply(base, Replace(slot="language")).language == Slot(tune=Lora())


def test_edits_are_applied_in_order():
    twice = (SetTune(slot="head", tune=Frozen()), SetTune(slot="head", tune=Full()))
    assert edited(Spec(), twice) == Spec()
    assert edited(Spec(), twice[::-1]).head.tune == Frozen()


def test_every_kind_of_tune_and_edit_survives_json():
    blocks = {LastBlocks: {"blocks": 2}}
    for kind in get_args(get_args(Tune)[0]):
        tune = kind(**blocks.get(kind, {}))
        assert Slot.model_validate_json(Slot(tune=tune).model_dump_json()).tune == tune
    edits: TypeAdapter[Edit] = TypeAdapter(Edit)
    for edit in (SetTune(slot="vision", tune=Lora()), Replace(slot="projector", module="mlp"), Reinit(slot="head")):
        assert edits.validate_json(edit.model_dump_json()) == edit


def test_slots_that_belong_together_are_replaced_in_any_order():
    parts = [Replace(slot=slot, module="hf:owner/model") for slot in ("language", "embeddings")]
    parts.append(Replace(slot="projector", module="mlp", weights="random", tokens="match"))
    specs = [edited(Spec(), order) for order in permutations(parts)]
    assert all(spec == specs[0] for spec in specs) and specs[0].projector.tokens == "match"


def test_a_spec_cannot_be_changed_in_place():
    with pytest.raises(ValidationError, match="frozen"):
        Spec().vision.weights = "random"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"visoin": {}}, "Extra inputs"),
        ({"vision": {"tune": {"kind": "lora", "rnak": 4}}}, "Extra inputs"),
        ({"vision": {"tune": {"kind": "lora", "rank": 0}}}, "greater than or equal to 1"),
        ({"vision": {"tune": {"kind": "lora", "alpha": float("nan")}}}, "finite|greater"),
        ({"vision": {"tune": {"kind": "lora", "alpha": float("inf")}}}, "finite"),
        ({"vision": {"tune": {"kind": "last-blocks"}}}, "Field required"),
        ({"vision": {"weights": "pretraind"}}, "No weights named 'pretraind'. Did you mean 'pretrained'"),
        ({"vision": {"weights": "run:0123"}}, "No weights named 'run:0123'. Did you mean 'run:<id>'"),
        ({"head": {"module": "chunk-mlp"}}, "no backbone has an action head"),
        ({"language": {"module": "other"}}, "language.module is 'other'"),
        ({"language": {"module": "first-blocks:0"}}, "language.module is 'first-blocks:0'"),
        ({"embeddings": {"module": "other"}}, "embeddings.module is 'other'"),
        ({"language": {"module": "hf:a/b"}}, "embeddings.module is 'native'; beside .* 'hf:a/b'"),
        ({"embeddings": {"module": "hf:a/b"}}, "embeddings.module is 'hf:a/b'; beside .* has to be 'native'"),
        (
            {"language": {"module": "hf:a/b"}, "embeddings": {"module": "hf:a/b"}},
            "projector.module is 'native', which was trained for the backbone's own language model",
        ),
        ({"vision": {"tokens": "match"}}, "vision.tokens is 'match', but only a new projector"),
        ({"projector": {"tokens": 16}}, "projector.tokens is 16, but only a new projector"),
        ({"projector": {"module": "mlp", "weights": "random", "tokens": 0}}, "greater than or equal to 1"),
        ({"projector": {"module": "mlp", "weights": "random", "tokens": "some"}}, "'keep' or 'match'"),
        ({"vision": {"tune": {"kind": "lora", "dropout": 1.0}}}, "less than 1"),
        (
            {"vision": {"tune": {"kind": "lora"}, "adapters": "kept"}},
            "vision.adapters is 'kept', but its weights are 'pretrained'",
        ),
        (
            {"vision": {"weights": "run:0123456789ab", "adapters": "kept"}},
            "vision.adapters is 'kept', but .* its tune is 'full'",
        ),
        ({"vision": {"tune": {"kind": "lora", "targets": []}}}, "at least 1 item"),
    ],
)
def test_an_impossible_spec_is_refused(value: dict, said: str):
    with pytest.raises(ValidationError, match=said):
        Spec.model_validate(value)


def test_an_edit_that_makes_an_impossible_spec_is_refused():
    with pytest.raises(ValidationError, match="no backbone has an action head"):
        apply(Spec(), Replace(slot="head", module="chunk-mlp"))
    with pytest.raises(ValidationError, match=r"language\.module is 'mlp'"):
        apply(Spec(), Replace(slot="language", module="mlp"))


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [1.5, None, "é"]}) == digest({"b": [1.5, None, "é"], "a": 1}) == "700fa8a95fa9"


def test_every_difference_between_specs_is_in_the_digest():
    tunes: list[Tune] = [Full(), Frozen(), Lora(), Lora(rank=4), Lora(alpha=8), LastBlocks(blocks=1), Norms()]
    tunes += [Lora(dropout=0.1), Lora(dora=True), Lora(targets=("*.q_proj",))]
    specs = [Spec(backbone="other/"), *(Spec(vision=Slot(tune=tune)) for tune in tunes)]
    specs += [Spec(vision=Slot(weights="random")), Spec(vision=Slot(module="tiny")), Spec(language=Slot(tune=Frozen()))]
    assert len({digest(spec) for spec in specs}) == len(specs)
    assert digest(Spec()) == digest(Spec(vision=Slot(weights="pretrained", tune=Full())))


def test_fields_that_were_added_later_left_the_digests_of_older_specs_as_they_were():
    assert digest(Spec(language=Slot(tune=Lora(rank=4, alpha=8)))) == "1549120bd53d"
    assert digest(Spec(projector=Slot(module="mlp", weights="random"))) == "be377ebc25ae"
    assert digest(Spec()) == "db1f208d9bc7"
