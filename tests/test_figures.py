"""The pictures of a study: as SVG, PDF and PNG, alike twice, and only of what was played, recovered or trained."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from planted import arm, full_study
from pytest import approx

from ablations.bottleneck import bottleneck
from ablations.curves import Curve, smoothed
from ablations.figures import recovery, success, write_figures
from ablations.figures_curves import learning
from ablations.figures_tasks import tasks
from ablations.table import Table


@pytest.fixture(scope="module")
def table() -> Table:
    study = full_study(np.random.default_rng(0), episodes=60)
    broken = arm("broken", {}, {}, failed={0: "loss is NaN at step 12"}, seconds=None)
    waiting = arm("not-yet", {}, {}, trainable_parameters=None, missing=(0,))
    return bottleneck(replace(study, arms=(*study.arms, broken, waiting)))


def curve(name: str, seed: int) -> Curve:
    return smoothed(name, seed, "0123456789ab", steps=range(100), losses=[0.5 / (1 + step) for step in range(100)])


KINDS = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}


def test_the_pictures_are_written_twice_alike_in_every_format(table, tmp_path):
    curves = (curve("all-trained", 0), curve("all-trained", 1))
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    first, second = (write_figures(table, folder, curves=curves) for folder in folders)
    names = {f"{name}.{kind}" for name in ("contrasts", "success", "tasks", "recovery", "curves") for kind in KINDS}
    assert {path.name for path in first} == names
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.read_bytes().startswith(KINDS[one.suffix[1:]])
        assert one.suffix != ".svg" or "· planted" in one.read_text(), one.name
    words = (folders[0] / "success.svg").read_text()
    assert "failed" in words and "not run" in words and "all-trained" in words


def test_a_study_with_nothing_recorded_has_only_the_pictures_that_say_so(tmp_path):
    study = full_study(np.random.default_rng(0))
    empty = bottleneck(replace(study, arms=(arm("only", {}, {}, missing=(0,)),), contrasts=()))
    assert {path.stem for path in write_figures(empty, tmp_path)} == {"contrasts", "success"}


def test_each_injection_has_a_bar_that_ends_at_its_recovery_and_a_control_has_another_colour(table):
    control = table.injections[0].model_copy(update={"name": "permuted-actions", "control": True})
    axes = recovery(table.model_copy(update={"injections": (*table.injections, control)})).axes[0]
    figure = table.slots[0].recovery
    names = ["behaviour-cloning (vision)", "permuted-actions (vision)"]
    assert figure is not None and [label.get_text() for label in axes.get_yticklabels()] == names
    bars = [bar for bar in axes.patches if isinstance(bar, Rectangle)]
    assert [bar.get_width() for bar in bars] == [approx(100 * figure.value)] * 2
    assert bars[0].get_facecolor() != bars[1].get_facecolor()


def test_success_per_task_says_every_share_of_every_played_arm(table):
    words = [text.get_text() for text in tasks(table).axes[0].texts]
    played = [one for one in table.arms if one.by_task]
    assert words == [f"{100 * share:.1f}" for one in played for share in one.by_task.values()]
    assert len(success(table).axes[0].get_yticks()) == len(table.arms)


def test_a_panel_shows_its_arm_in_colour_and_the_others_in_grey():
    picture = learning("planted", [curve("a", 0), curve("a", 1), curve("b", 0)])
    panels = [axes for axes in picture.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["a", "b"]
    colors = [[line.get_color() for line in axes.lines] for axes in panels]
    assert [len(set(found)) for found in colors] == [3, 2] and colors[1][:2] == ["#d5dbe2"] * 2
