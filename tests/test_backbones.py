"""One test over every family: taken apart into slots, it computes what its own class computes whole.

The reference needs nothing of ours: the folder is loaded by `AutoModelForImageTextToText` and `AutoProcessor`, the
prompt goes through the processor's own chat template, and a real token stands where the query would.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_vlms import TINY, make
from torch import Tensor, nn

from encoders.export import export_state_dict
from workbench.backbones.contract import Backbone, Words
from workbench.backbones.family import QUESTION
from workbench.backbones.registry import FAMILIES, load_backbone
from workbench.heads.registry import build_head
from workbench.policy import Policy

# after our own modules, which make torchvision importable
from transformers import AutoModelForImageTextToText, AutoProcessor  # isort: skip
from workbench.actions import Actions

CLOSE = {"rtol": 0, "atol": 1e-5}
SHORT, LONG = "lift the red block", "put the yellow block on the purple plate, please"
TOKEN = 300  # of the tiny vocabularies; it stands where the query would


@dataclass(frozen=True)
class Both:
    """A family's folder, opened by transformers and by us."""

    family: str
    native: Any
    processor: Any
    ours: Backbone


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Both]:
    @cache
    def open_family(family: str) -> Both:
        folder = make(family, tmp_path_factory.mktemp("vlm") / family)
        native = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True).eval()
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        return Both(family, native, processor, load_backbone(str(folder), weights="pretrained", seed=0))

    return open_family


@pytest.fixture(params=TINY)
def both(request: pytest.FixtureRequest, opened: Callable[[str], Both]) -> Both:
    return opened(request.param)


def frames(backbone: Backbone, count: int) -> Tensor:
    side = backbone.vision.card.side
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def test_the_tower_leaves_as_the_familys_own_class_loads_it(both: Both):
    """What the policy drops or holds as its projector goes out as it came."""
    whole = both.native.get_submodule(FAMILIES[both.native.config.model_type].vision)
    before = {key: tensor.clone() for key, tensor in whole.state_dict().items()}
    exported = export_state_dict(both.ours.vision)
    type(whole)(whole.config).load_state_dict(exported, strict=True)
    assert all(torch.equal(exported[key], tensor) for key, tensor in before.items())


def slots(backbone: Backbone) -> dict[str, nn.Module]:
    return {name: getattr(backbone, name) for name in ("vision", "projector", "embeddings", "language")}


def query(both: Both) -> Tensor:
    return both.ours.embeddings(torch.tensor(TOKEN)).detach()


@torch.no_grad()
def walked(backbone: Backbone, frames_BHWC: Tensor, words: Words, query_E: Tensor) -> Tensor:
    """The query's hidden state by the slots, in the policy's order."""
    for slot in slots(backbone).values():
        slot.eval()
    seen_BNE = backbone.projector(backbone.vision(frames_BHWC))
    return backbone.language(seen_BNE, backbone.embeddings(words.ids_BT), words.mask_BT, query_E[None, None]).query_BE


def processed(both: Both, frame_HWC: Tensor, instruction: str) -> dict[str, Tensor]:
    """What the family's processor makes of one picture and one question."""
    image, question = Image.fromarray(frame_HWC.numpy()), QUESTION.replace("{instruction}", instruction)
    if both.family.startswith("paligemma"):
        return both.processor(images=image, text=f"<image>{question}", return_tensors="pt")
    if both.family == "kosmos-2":
        return both.processor(images=image, text=f"Question: {question} Answer:", return_tensors="pt")
    said = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": question}]}]
    return both.processor.apply_chat_template(
        said, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )


def with_tokens(both: Both, given: dict[str, Tensor], tokens: tuple[int, ...]) -> dict[str, Tensor]:
    """The processor's inputs with `tokens` behind the prompt."""
    given = {key: value for key, value in given.items() if key != "labels"}
    ends = {
        "attention_mask": 1,
        "token_type_ids": int(both.family.startswith("paligemma")),
        "mm_token_type_ids": 0,
        "image_embeds_position_mask": 0,
    }
    for key in ends.keys() & given.keys():
        given[key] = torch.cat([given[key], given[key].new_full((1, len(tokens)), ends[key])], dim=1)
    given["input_ids"] = torch.cat([given["input_ids"], torch.tensor([tokens])], dim=1)
    return given


@torch.no_grad()
def whole(both: Both, frame_HWC: Tensor, instruction: str) -> Tensor:
    """The model's own forward over its own processor's picture and prompt; the last position's final hidden state."""
    given = with_tokens(both, processed(both, frame_HWC, instruction), (TOKEN,))
    if both.family == "llava_onevision":
        return onevision(both, given)[:, -1]
    return both.native(**given, output_hidden_states=True).hidden_states[-1][:, -1]


def onevision(both: Both, given: dict[str, Tensor]) -> Tensor:
    """A frame as one of several images: the class's own features for two, the first of them fed to the class."""
    model, place = both.native.model, both.native.config.image_token_id
    base = given["pixel_values"][0, :1].expand(2, -1, -1, -1)
    sizes = given["image_sizes"].expand(2, -1)
    outputs = model.get_image_features(base, sizes, batch_num_images=torch.tensor([2]))
    outputs.pooler_output = outputs.pooler_output[:1]
    ids = given["input_ids"][0]
    first = int((ids == place).nonzero()[0])
    image = torch.full((len(outputs.pooler_output[0]),), place)
    ids = torch.cat([ids[:first], image, ids[ids != place][first:]])[None]
    mask = torch.ones_like(ids)
    return model(ids, attention_mask=mask, mm_encoder_outputs={"image": outputs}).last_hidden_state


def test_every_listed_family_is_tested():
    assert set(FAMILIES) == {name for name in TINY if name != "paligemma2"}


@pytest.mark.parametrize("instruction", [SHORT, LONG, ""])
def test_slot_by_slot_equals_the_class_own_forward(both: Both, instruction: str):
    picture = frames(both.ours, 1)
    expected = whole(both, picture[0], instruction)
    got = walked(both.ours, picture, both.ours.tokenize([instruction]), query(both))
    torch.testing.assert_close(got, expected, **CLOSE)
    assert expected.abs().max() > 0.1  # not two zeros


@torch.no_grad()
def test_an_answer_is_read_as_the_class_reads_it(both: Both):
    """What is said behind the prompt and behind each of an answer's tokens, beside a row whose prompt is longer."""
    picture, answer = frames(both.ours, 1), (TOKEN, TOKEN + 1, TOKEN + 2)
    given = with_tokens(both, processed(both, picture[0], SHORT), answer)
    if both.family == "llava_onevision":
        expected = both.native.lm_head(onevision(both, given)[:, -4:])
    else:
        expected = both.native(**given).logits[:, -4:]
    head = build_head("chunk-mlp", query(both), chunk=1, actions=Actions())
    policy = Policy(**slots(both.ours), head=head).eval()
    words, ids = both.ours.tokenize([SHORT, LONG]), torch.tensor([answer, answer])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    hidden = policy.read(picture.expand(2, -1, -1, -1), words, policy.embeddings(ids), mask)
    torch.testing.assert_close(both.ours.lm_head(hidden)[:1], expected, **CLOSE)
    assert expected.std() > 0.01


def test_the_picture_and_the_words_both_matter(both: Both):
    pictures = frames(both.ours, 2)
    short, other = (both.ours.tokenize([text]) for text in (SHORT, "lift the blue block"))
    first = walked(both.ours, pictures[:1], short, query(both))
    assert (walked(both.ours, pictures[1:], short, query(both)) - first).abs().max() > 1e-3
    assert (walked(both.ours, pictures[:1], other, query(both)) - first).abs().max() > 1e-3


def test_padding_on_the_right_changes_nothing(both: Both):
    pictures, words = frames(both.ours, 2), both.ours.tokenize([SHORT, LONG])
    assert words.mask_BT[0].sum() < words.mask_BT[1].sum() == words.ids_BT.shape[1]
    together = walked(both.ours, pictures, words, query(both))
    for row, text in enumerate([SHORT, LONG]):
        alone = walked(both.ours, pictures[row : row + 1], both.ours.tokenize([text]), query(both))
        torch.testing.assert_close(together[row : row + 1], alone, **CLOSE)


def test_a_picture_of_another_size_is_squashed_to_the_towers_side(both: Both):
    wide = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 30, 70, 3), dtype=np.uint8))
    assert walked(both.ours, wide, both.ours.tokenize([SHORT]), query(both)).isfinite().all()


def test_every_parameter_is_in_one_slot_or_counted_unused(both: Both):
    held = [id(p) for slot in slots(both.ours).values() for p in slot.parameters()]
    assert len(held) == len(set(held))
    kept = sum(p.numel() for slot in slots(both.ours).values() for p in slot.parameters())
    assert kept + both.ours.unused_parameters == both.native.num_parameters()


def test_one_step_reaches_every_parameter_of_all_four_slots(both: Both):
    for slot in slots(both.ours).values():
        slot.eval().zero_grad()
    words = both.ours.tokenize([SHORT, LONG])
    seen_BNE = both.ours.projector(both.ours.vision(frames(both.ours, 2)))
    hidden = both.ours.language(seen_BNE, both.ours.embeddings(words.ids_BT), words.mask_BT, query(both)[None, None])
    hidden.query_BE.pow(3).sum().backward()
    dead = [
        f"{name}.{key}"
        for name, slot in slots(both.ours).items()
        for key, p in slot.named_parameters()
        if p.grad is None or not p.grad.any()
    ]
    for slot in slots(both.ours).values():
        slot.zero_grad()
    assert not dead


def test_the_blocks_are_the_towers_and_the_decoders(both: Both):
    vision, language = both.ours.vision.blocks, both.ours.language.blocks
    assert len(language) == 3 and len({type(block) for block in language}) == 1
    assert len({type(block) for block in vision}) == 1
    tower = both.native.get_submodule(FAMILIES[both.native.config.model_type].vision)
    unread = 1 if both.family == "llava" else 0  # LLaVA reads one layer before the last
    assert len(vision) == sum(type(module) is type(vision[0]) for module in tower.modules()) - unread


BRIDGES = ("merger", "connector", "multi_modal_projector", "image_to_text_projection", "image_newline")


def test_freezing_vision_freezes_the_tower_and_nothing_that_bridges_to_the_language_model(both: Both):
    """The same for every family: mergers, connectors, latent queries and the image newline are the projector's."""
    sizes = {name: sum(p.numel() for p in slot.parameters()) for name, slot in slots(both.ours).items()}
    named = dict(both.native.named_parameters())
    bridging = {name for name in named if any(bridge in name for bridge in BRIDGES)}
    assert sizes["projector"] == sum(named[name].numel() for name in bridging)
    tower = FAMILIES[both.native.config.model_type].vision + "."
    held = sum(p.numel() for name, p in named.items() if name.startswith(tower) and name not in bridging)
    unread = both.ours.unused_parameters if both.family in ("internvl", "llava", "llava_onevision") else 0
    assert held - unread <= sizes["vision"] <= held
    assert sizes["embeddings"] == both.native.get_input_embeddings().weight.numel()


def test_what_the_decoder_is_told_is_in_words_for_the_record(both: Both):
    assert any(line.startswith("position_ids: ") for line in both.ours.passes)
    assert any(line.startswith("attention_mask: ") for line in both.ours.passes)
    assert both.ours.chat.count("{instruction}") == 1 and both.ours.prompt.strip() == QUESTION


def test_words_are_the_processors_and_the_head_is_the_same_for_every_instruction(both: Both):
    words, at = both.ours.tokenize([SHORT, LONG]), both.ours.language.image_at
    assert torch.equal(words.ids_BT[0, :at], words.ids_BT[1, :at])
    ids = processed(both, frames(both.ours, 1)[0], SHORT)["input_ids"][0]
    after = words.ids_BT[0, at:][words.mask_BT[0, at:].bool()]
    assert torch.equal(ids[:at], words.ids_BT[0, :at]) and torch.equal(ids[-len(after) :], after)


def test_random_weights_are_a_function_of_the_seed_and_pass_the_picture_on(both: Both):
    name = both.ours.name
    first, same, other = (load_backbone(name, weights="random", seed=seed) for seed in (1, 1, 2))
    for slot in slots(first):
        bits = [getattr(one, slot).state_dict() for one in (first, same, other)]
        assert all(torch.equal(bits[0][key], bits[1][key]) for key in bits[0]), slot
        assert any(not torch.equal(bits[0][key], bits[2][key]) for key in bits[0]), slot
    assert first.projector(first.vision(frames(first, 1))).abs().max() > 0


def test_a_foreign_encoder_of_any_token_count_is_taken(both: Both):
    """Nine tokens, five tokens: a square grid and a row; none of a native encoder's deepstack layers."""
    words = both.ours.tokenize([SHORT])
    for tokens in (9, 5):
        image = torch.randn(1, tokens, both.ours.language.width, generator=torch.Generator().manual_seed(0))
        hidden = both.ours.language(image, both.ours.embeddings(words.ids_BT), words.mask_BT, query(both)[None, None])
        assert hidden.all_BLE.shape[1] == tokens + words.ids_BT.shape[1] + 1 and hidden.query_BE.isfinite().all()
