"""The embedded backbone's pretraining: pictures whose truth is true, right answers, the same bits twice."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.torchvision_ops import ensure
from workbench.backbones.embedded import tiny_paligemma
from workbench.backbones.registry import load_backbone
from workbench.benchmarks.rendering import Camera, View
from workbench.benchmarks.simulator import mujoco
from workbench.benchmarks.tabletop.world import BLOCKS, CAMERA, PLATES, World
from workbench.plan import Budget
from workbench.pretraining.dense import CLASSES, DenseHead, classes, dense_loss, dense_targets
from workbench.pretraining.questions import BINS, LOCATIONS, NUMBERS, VERBS, ask, name, relation
from workbench.pretraining.reading import look
from workbench.pretraining.recipe import Recipe, pretrain
from workbench.pretraining.scenes import KINDS, SHADES, Scenes, render_scenes
from workbench.training.train import train

ensure()

from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: E402

SIDE = 64


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    *_, (done, scenes) = render_scenes(300, SIDE, 0)
    assert done == len(scenes) == 300
    return scenes


def test_projected_points_are_where_mujoco_draws_them():
    """A small red disc alone on the table, from many sides: its centroid in the picture is where it was projected."""
    world, random = World(), np.random.default_rng(0)
    camera = Camera(world.model, SIDE)
    data = mujoco.MjData(world.model)
    for geom in range(world.model.ngeom):
        if geom != world.model.geom("table").id:
            world.model.geom_rgba[geom, 3] = 0.0
    disc = world.object_geoms[BLOCKS]
    world.model.geom_size[disc, :2] = 0.012, 0.0005
    world.model.geom_rgba[disc] = [1.0, 0.0, 0.0, 1.0]
    checked = 0
    for _ in range(40):
        view = View(
            azimuth=CAMERA.azimuth + random.uniform(-40, 40),
            elevation=CAMERA.elevation + random.uniform(-20, 20),
            distance=CAMERA.distance * random.uniform(0.8, 1.3),
            lookat=tuple(np.asarray(CAMERA.lookat) + random.uniform(-0.05, 0.05, 3)),
        )
        point = np.array([*random.uniform(-0.12, 0.12, 2), random.uniform(0.0, 0.1)])
        data.mocap_pos[world.plate_mocap[0]] = point
        mujoco.mj_kinematics(world.model, data)
        camera.aim(view)
        frame = camera.frame(data).astype(int)
        rows, columns = np.nonzero(frame[..., 0] > 2 * frame[..., 1] + 20)
        x, y = view.project(point[None])[0] * SIDE
        if 2 < x < SIDE - 2 and 2 < y < SIDE - 2:
            assert abs(columns.mean() + 0.5 - x) < 0.6 and abs(rows.mean() + 0.5 - y) < 0.6  # pixels
            checked += 1
    camera.close()
    assert checked > 20


def test_the_truth_of_a_scene_is_what_its_picture_shows(scenes):
    """At the place where a coloured thing is said to be, the picture has that colour, unless something covers it."""
    shades = np.array(list(SHADES.values()))
    shades /= np.linalg.norm(shades, axis=1, keepdims=True)
    right, total = 0, 0
    for n in range(len(scenes)):
        for m in np.flatnonzero(scenes.shown[n, : BLOCKS + PLATES]):
            x, y = (scenes.at[n, m] * SIDE).astype(int)
            pixel = scenes.image[n, y, x] / max(1.0, np.linalg.norm(scenes.image[n, y, x]))
            right += int((shades @ pixel).argmax() == scenes.colour[n, m])
            total += 1
    assert total > 500 and right / total > 0.85


def test_scenes_vary_and_hold_shades_that_the_benchmark_never_shows(scenes):
    assert set(np.unique(scenes.colour)) == {-1, *range(len(SHADES))}
    assert 0.2 < scenes.shown[:, : BLOCKS + PLATES].mean() < 0.95
    corners = scenes.image[:, 0, 0].astype(float).mean(-1)
    assert corners.std() > 10  # tables and lights of many brightnesses
    for row in scenes.colour[:, : BLOCKS + PLATES]:
        assert len(set(row)) == BLOCKS + PLATES  # a colour names one thing


def test_the_same_seed_gives_the_same_scenes_and_another_seed_others(scenes):
    *_, (_, again) = render_scenes(20, SIDE, 0)
    for field in ("image", "kind", "colour", "at", "shown"):
        np.testing.assert_array_equal(getattr(again, field), getattr(scenes.part(0, 20), field))
    *_, (_, other) = render_scenes(20, SIDE, 1)
    assert not np.array_equal(other.image, again.image)


def at_of(answer: str) -> np.ndarray:
    """The middle of the bin that two location tokens name."""
    x, y = (LOCATIONS.index(f"<loc{part[:2]}>") for part in answer.split("<loc")[1:])
    return (np.array([x, y]) + 0.5) / BINS


def test_pointing_answers_are_where_the_named_thing_is(scenes):
    random, seen = np.random.default_rng(0), 0
    for n in list(range(len(scenes))) * 2:
        question, answer = ask(scenes, n, random)
        verb = next((verb for verb in VERBS if question.startswith(f"{verb} the ") and " from " not in question), None)
        if verb is None or not answer.startswith("<loc"):
            continue
        asked = question.removeprefix(f"{verb} the ")
        meant = [m for m in np.flatnonzero(scenes.shown[n]) if name(scenes, n, int(m)) == asked]
        assert len(meant) == 1, "a name is one thing that is in the picture"
        assert np.abs(at_of(answer) - scenes.at[n, meant[0]]).max() <= 0.5 / BINS + 1e-9
        seen += 1
    assert seen > 100


def test_counting_answers_count_what_is_in_the_picture(scenes):
    random, seen = np.random.default_rng(1), set()
    for n in list(range(len(scenes))) * 4:
        question, answer = ask(scenes, n, random)
        if question.startswith("how many "):
            kind = KINDS.index(question.removeprefix("how many ").removesuffix("s"))
            assert NUMBERS.index(answer) == int((scenes.shown[n] & (scenes.kind[n] == kind)).sum())
            seen.add(answer)
    assert len(seen) >= 3


def test_relations_are_seen_from_the_second_thing():
    here = np.array([0.5, 0.5])
    assert relation(np.array([0.2, 0.5]), here) == "left" and relation(np.array([0.8, 0.5]), here) == "right"
    assert relation(np.array([0.5, 0.2]), here) == "above" and relation(np.array([0.5, 0.8]), here) == "below"
    assert relation(np.array([0.2, 0.8]), here) == "left below" and relation(here, here) == "here"


def test_dense_targets_say_which_patch_holds_a_centre_and_where_in_it(scenes):
    grid = 4
    there, offset = dense_targets(scenes, grid)
    assert there.shape == (300, grid * grid, CLASSES) and offset.shape == (300, grid * grid, CLASSES, 2)
    kinds = classes(scenes)
    assert kinds.min() >= 0 and kinds.max() < CLASSES
    assert int(there.sum()) == int(scenes.shown.sum())
    for n in range(50):
        for m in np.flatnonzero(scenes.shown[n]):
            patch = there[n, :, kinds[n, m]].argmax().item()
            middle = (np.array([patch % grid, patch // grid]) + 0.5) / grid
            found = middle + offset[n, patch, kinds[n, m]].numpy() / grid
            np.testing.assert_allclose(found, scenes.at[n, m], atol=1e-6)


def small() -> Recipe:
    """The whole recipe in a few steps, on a model that fits in a thimble."""
    steps = {field: 2 for field in Recipe.model_fields if field.endswith("_steps")}
    assert len(steps) >= 2
    sizes = {"width": 32, "vision_width": 32, "vision_layers": 1, "layers": 1, "batch": 4}
    return Recipe.model_validate({"scenes": 120, "held_out": 50, "questions": 2, **sizes, **steps})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained") / "vlm"
    told = list(pretrain(small(), folder))
    stages = list(dict.fromkeys(stage for stage, *_ in told))
    assert len(stages) >= 3
    for stage in stages:
        done = [(now, total) for title, _, now, total in told if title == stage]
        assert done[-1][0] == done[-1][1] and [now for now, _ in done] == sorted(now for now, _ in done)
    return folder


def test_the_same_recipe_makes_the_same_folder_bit_for_bit(made, tmp_path):
    torch.manual_seed(77)  # whatever was drawn before
    for _ in pretrain(small(), tmp_path / "again"):
        pass
    files = {path.name: path.read_bytes() for path in made.iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == files
    assert {"model.safetensors", "config.json", "tokenizer.json", "recipe.json"} <= set(files)


def test_the_folder_is_a_backbone_and_says_how_it_was_made(made):
    backbone = load_backbone(str(made), weights="pretrained", seed=0)
    assert (backbone.language.width, backbone.vision.card.dim, len(backbone.vision.blocks)) == (32, 32, 1)
    stated = json.loads((made / "recipe.json").read_text())
    assert Recipe.model_validate(stated["recipe"]) == small()
    assert 0.0 <= stated["scores"]["pointing_near"] <= 1.0 and stated["scores"]["pointing_median"] > 0.0


def test_a_made_folder_loads_with_the_auto_classes_offline(made):
    model = AutoModelForImageTextToText.from_pretrained(made, local_files_only=True)
    processor = AutoProcessor.from_pretrained(made, local_files_only=True)
    given = processor(images=[np.zeros((90, 70, 3), np.uint8)], text=["<image>find the red block"], return_tensors="np")
    given = {key: torch.from_numpy(np.asarray(value)) for key, value in given.items() if key != "labels"}
    words = model.generate(**given, max_new_tokens=3, do_sample=False)
    assert words.shape[1] <= given["input_ids"].shape[1] + 3
    assert max(processor.tokenizer(" ".join(LOCATIONS))["input_ids"]) < model.config.text_config.vocab_size


@pytest.mark.slow
def test_the_dense_stage_teaches_the_tower_what_is_where(scenes):
    torch.manual_seed(0)
    model = tiny_paligemma(300, side=SIDE, patch=16, width=32, vision_width=64, vision_layers=2, layers=1)
    head, random = DenseHead(64), np.random.default_rng(0)

    def batches():
        while True:
            yield scenes.pick(random.integers(0, len(scenes), 32))

    steps = train(
        torch.nn.ModuleList([model.model.vision_tower, head]),
        batches(),
        loss=lambda batch: dense_loss(head, look(model, batch), dense_targets(batch, 4)),
        budget=Budget(steps=250, learning_rate=2e-3, warmup_steps=10),
    )
    presence = [step.parts["presence"] for step in steps]
    share = dense_targets(scenes, 4)[0].mean(
        0
    )  # how often each class is in each patch: the best that can be said unseen
    unseen = -(torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share)).sum().item() / 4
    assert np.mean(presence[-10:]) < 0.65 * unseen < 0.65 * presence[0]
