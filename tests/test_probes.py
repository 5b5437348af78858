"""Retention probes: what they measure is planted, and the command says it of real runs."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import refusal, say
from torch import Tensor

from encoders.contract import Encoder
from encoders.registry import build_encoder
from workbench.backbones.registry import load_backbone
from workbench.benchmarks.contract import Protocol
from workbench.collect import collect
from workbench.execute import execute
from workbench.plan import Budget, Finetune, Inject, run_id
from workbench.player import trained_encoder
from workbench.probes.correlation import ENOUGH, rank_correlation
from workbench.probes.layers import READ, blocks, layers
from workbench.probes.linear import Parts, Reading, Target, change, kernel, probe, split
from workbench.probes.material import FRAMES, Material, gather, probed_data
from workbench.probes.rank import effective_rank, effective_rank_of_covariance
from workbench.probes.retention import Base, base_of, open_base, probe_encoder, retention
from workbench.probes.sheet import Kind, Row, unranked
from workbench.probes.similarity import Comparison, linear_cka, mean_cosine
from workbench.probes.success import Success, frozen_success
from workbench.recipes import Expert, Folder
from workbench.record import collected_folder, open_record, read_json, write_json, write_result
from workbench.spec import Frozen, Full, Slot, Spec

EPISODES = 40


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rotation(width: int) -> Tensor:
    return torch.linalg.qr(noise(width, width, seed=9).double()).Q


def test_cka_is_one_up_to_rotation_scaling_and_shift_and_cosine_is_not():
    seen = noise(300, 12).double()
    turned = 3.0 * seen @ rotation(12) + 5.0
    assert linear_cka(seen, turned) == pytest.approx(1.0, abs=1e-12)
    assert abs(mean_cosine(seen, turned - 5.0)) < 0.5
    assert linear_cka(seen, seen) == 1.0 and mean_cosine(seen, seen) == 1.0
    assert mean_cosine(seen, -2 * seen) == pytest.approx(-1.0)
    assert linear_cka(seen, seen @ torch.diag(torch.linspace(0.01, 3, 12).double())) < 0.95


def test_cka_of_independent_noise_is_the_bias_that_is_stated():
    samples, width = 2000, 50
    bias = (width / samples) / (1 + width / samples)
    assert linear_cka(noise(samples, width), noise(samples, width, seed=1)) == pytest.approx(bias, rel=0.15)
    assert linear_cka(noise(50, 2000), noise(50, 2000, seed=1)) > 0.9  # why a sample is a token and not a frame


def test_cka_does_not_depend_on_the_order_of_samples_nor_on_batches():
    before, after = noise(64, 5, 8), noise(64, 5, 6, seed=1)
    after[..., :3] += before[..., :3]
    order = torch.from_numpy(np.random.default_rng(0).permutation(64))
    whole, parts, shuffled = Comparison(), Comparison(), Comparison()
    whole.add(before, after)
    shuffled.add(before[order], after[order])
    for start in (0, 40):
        parts.add(before[start : start + 40][: 64 - start], after[start : start + 40][: 64 - start])
    assert 0.2 < whole.cka < 0.8
    assert parts.cka == pytest.approx(whole.cka, abs=1e-12) == shuffled.cka
    broken = Comparison()
    broken.add(before, after[order])
    assert broken.cka < whole.cka / 2


def test_what_all_frames_share_at_a_position_is_not_taken_for_likeness():
    position = 100 * noise(1, 5, 8, seed=3)
    comparison = Comparison()
    comparison.add(noise(400, 5, 8) + position, noise(400, 5, 8, seed=1) + position)
    assert comparison.cka < 0.02 and comparison.cosine > 0.95


def test_the_effective_rank_of_r_equal_directions_is_r():
    left, right = torch.linalg.qr(noise(60, 5).double()).Q, torch.linalg.qr(noise(20, 5, seed=1).double()).Q
    matrix = left @ right.T
    assert effective_rank(7 * matrix) == pytest.approx(5)
    assert effective_rank_of_covariance(matrix.T @ matrix) == pytest.approx(5, rel=1e-4)
    halves = left[:, :3] @ torch.diag(torch.tensor([2, 1, 1]).double()) @ right[:, :3].T
    assert effective_rank(halves) == pytest.approx(2**1.5)  # shares 1/2, 1/4, 1/4: an entropy of 1.5 bits
    skewed = left @ torch.diag(torch.tensor([1, 0.1, 0.01, 0.01, 0.01]).double()) @ right.T
    assert 1 < effective_rank(skewed) < 2 and effective_rank(matrix[:, :1]) == pytest.approx(1)


@dataclass(frozen=True)
class Planted:
    """Tokens of 60 episodes of 5 frames, and what a linear map makes of them, with a tenth of noise."""

    tokens_NTW: np.ndarray
    wanted_ND: np.ndarray
    episode_N: np.ndarray
    parts: Parts

    def read(self, wanted_ND: np.ndarray, there_N: np.ndarray | None = None) -> Reading:
        there_N = np.ones(len(wanted_ND), bool) if there_N is None else there_N
        inner_NN = kernel(self.tokens_NTW, self.parts.training_N)
        return probe(inner_NN, [Target(wanted_ND, there_N)], self.parts, self.episode_N)


@pytest.fixture(scope="module")
def planted() -> Planted:
    random = np.random.default_rng(0)
    tokens = random.normal(size=(300, 4, 10)) * random.uniform(0.1, 10, (4, 10)) + 3
    clean = (tokens / tokens.std(0)).reshape(300, -1) @ random.normal(size=(40, 2))
    wanted = clean + 0.1 * clean.std() * random.normal(size=clean.shape)
    episode = np.repeat(np.arange(60), 5)
    return Planted(tokens.astype(np.float32), wanted, episode, split(episode, random))


def test_a_planted_linear_map_is_read_and_permuted_labels_are_not(planted: Planted):
    assert planted.read(planted.wanted_ND).r2 > 0.95
    assert planted.read(planted.wanted_ND + 1000).r2 > 0.95  # an intercept
    permuted = planted.wanted_ND[np.random.default_rng(1).permutation(300)]
    assert -0.2 < planted.read(permuted).r2 < 0.05


def test_no_number_of_a_frame_counts_more_for_its_unit(planted: Planted):
    training_N, tokens_NTW = planted.parts.training_N, planted.tokens_NTW
    rescaled = tokens_NTW * np.linspace(0.01, 100, 10, dtype=np.float32)
    rescaled = np.concatenate([rescaled, np.full((300, 4, 1), 7, np.float32)], axis=2)  # and a constant is nothing
    assert kernel(rescaled, training_N) == pytest.approx(kernel(tokens_NTW, training_N), rel=1e-3, abs=1e-3)


def test_episodes_are_never_divided_and_what_is_there_is_all_that_counts(planted: Planted):
    parts = planted.parts
    assert (parts.fit_N.astype(int) + parts.validation_N + parts.held_out_N == 1).all()
    for part in (parts.fit_N, parts.validation_N, parts.held_out_N):
        assert not set(planted.episode_N[part]) & set(planted.episode_N[~part])
    assert [len(set(planted.episode_N[part])) for part in (parts.training_N, parts.held_out_N)] == [36, 24]
    there = planted.episode_N % 3 > 0
    spoiled = np.where(there[:, None], planted.wanted_ND, 1e6)
    assert planted.read(spoiled, there).r2 == planted.read(planted.wanted_ND, there).r2 > 0.95


def test_held_out_labels_change_no_prediction(planted: Planted):
    """Nothing is chosen by the held-out part: its labels shifted by a constant, residuals move by just that."""
    shifted = np.where(planted.parts.held_out_N[:, None], planted.wanted_ND + 4.0, planted.wanted_ND)
    honest, moved = planted.read(planted.wanted_ND), planted.read(shifted)
    assert moved.deviation_E == pytest.approx(honest.deviation_E)
    assert moved.residual_E.sum() > honest.residual_E.sum() + 0.8 * 16 * 2 * planted.parts.held_out_N.sum()


def test_the_interval_of_a_change_holds_what_was_planted():
    random = np.random.default_rng(2)
    deviation = random.uniform(1, 2, 200)
    before, after = (
        Reading(0.6 * deviation, deviation),
        Reading(0.4 * deviation * random.uniform(0.5, 1.5, 200), deviation),
    )
    low, high = change(before, after, random)
    assert low < after.r2 - before.r2 < high and 0.15 < low < high < 0.25
    assert change(before, before, random) == (0.0, 0.0)


def test_a_rank_correlation_needs_runs_and_admits_how_few_they_are():
    random = np.random.default_rng(0)
    assert rank_correlation([1, 2, 3], [1, 2, 3], random) is None and ENOUGH == 4
    assert rank_correlation([1, 1, 1, 1], [1, 2, 3, 4], random) is None
    four = rank_correlation([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.9], random)
    assert four and (four.rho, four.runs) == (pytest.approx(1), 4) and four.p == pytest.approx(2 / 24)
    many = np.linspace(0, 1, 40)
    down = rank_correlation(many, (many - 2) ** 3 * -1 + random.normal(0, 0.5, 40), random)
    assert down and down.low < down.rho < down.high < -0.7 and down.p < 0.001
    nothing = rank_correlation(random.normal(size=40), random.normal(size=40), random)
    assert nothing and nothing.low < 0 < nothing.high and nothing.p > 0.05


@pytest.mark.parametrize("name", ["tiny", "resnet-18", "timm:swin_tiny_patch4_window7_224.ms_in1k", "fused:tiny+tiny"])
def test_layers_are_tokens_of_every_block_whatever_the_library(name: str):
    encoder = build_encoder(name, weights="random", seed=0).eval()
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8))
    seen = layers(encoder, image)
    assert list(seen) == [*(block.name for block in blocks(encoder)), READ] and len(seen) > 2
    assert all(tokens.ndim == 3 and len(tokens) == 2 for tokens in seen.values())
    assert seen[READ].shape[1:] == (encoder.card.tokens, encoder.card.dim)
    last = [tokens for tokens in seen.values()][-2]
    assert last.shape[1] in (encoder.card.tokens, encoder.card.tokens + encoder.card.prefix)
    assert not any(module._forward_hooks for module in encoder.modules())


@dataclass(frozen=True)
class Runs:
    """Finished runs of two steps under one root: an injection, and a policy with frozen vision from the base's own."""

    root: Path
    injected: str
    frozen: str

    @property
    def both(self) -> tuple[str, str]:
        return self.injected, self.frozen


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("probed")
    data, budget = Expert(tasks=("reach",), episodes=2), Budget(steps=2, batch=4, learning_rate=3e-3, warmup_steps=0)
    collect(data, collected_folder(root, data))
    protocol = Protocol(tasks=("reach",), initial_states=1)
    inject = Inject(spec=Spec(vision=Slot(tune=Full())), data=data, budget=budget)
    frozen = Finetune(spec=Spec(vision=Slot(tune=Frozen())), data=data, budget=budget, protocol=protocol)
    for plan in (inject, frozen):
        execute(plan, root)
    return Runs(root, run_id(inject), run_id(frozen))


@pytest.fixture(scope="module")
def material(runs: Runs) -> Material:
    return gather(runs.root, probed_data(Expert(tasks=("reach",)), EPISODES), EPISODES)


def test_what_is_probed_is_of_the_same_benchmark_and_seen_as_it_was_learned_from():
    trained = Expert(benchmark="metaworld-mt10", tasks=("reach-v3",), camera="corner2 64x64", render="official")
    probed = probed_data(trained, 9)
    assert probed == trained.model_copy(update={"episodes": 9, "split": "selection", "noise": 0.3})
    assert probed_data(Expert(tasks=("reach",)), 9).model_dump()["privileged"] is True


@pytest.fixture(scope="module")
def base(runs: Runs) -> Base:
    return open_base(base_of(Spec()), runs.root)


def test_material_is_of_the_selection_split_and_shows_every_colour(material: Material):
    assert probed_data(Expert(tasks=("lift",), split="injection", noise=0.9), 30) == Expert(
        tasks=("lift",), episodes=30, split="selection", privileged=True
    )
    assert set(material.targets) == {"places", "tip", "depth", "state", "action"}
    assert len(material.targets["places"]) == 6
    assert np.bincount(material.episode_N).max() == FRAMES
    assert material.count(material.parts.held_out_N) == 16 and material.count(material.parts.training_N) == 24


def test_a_folder_without_privileged_columns_is_read_for_what_it_has(tmp_path: Path):
    plain = Folder(path=str(collect(Expert(tasks=("reach",), episodes=24, split="selection"), tmp_path / "plain")))
    assert probed_data(plain, 20) == plain
    seen = gather(tmp_path, plain, 20)
    assert set(seen.targets) == {"state", "action"} and len(set(seen.episode_N)) == 20 and not seen.privileged


def test_a_random_encoder_reads_less_than_the_pretrained_one_and_cannot_point(base: Base, material: Material):
    drawn: Encoder = load_backbone("embedded", weights="random", seed=0).vision
    before = probe_encoder(base.encoder, base.judge, material)
    after = probe_encoder(drawn, base.judge, material)
    assert before.readings["places"].r2 > after.readings["places"].r2 + 0.1
    assert before.readings["tip"].r2 > after.readings["tip"].r2 + 0.3
    assert before.pointing is not None and after.pointing is not None
    assert before.pointing > 0.25 and after.pointing < 0.05


@pytest.mark.slow
def test_what_was_not_trained_is_exactly_what_it_was_and_what_was_is_not(runs: Runs, base: Base, material: Material):
    before = probe_encoder(base.encoder, base.judge, material)
    same = retention(base, before, trained_encoder(open_record(runs.root, runs.frozen), runs.root), material)
    assert all((layer.cka, layer.cosine) == (1.0, 1.0) for layer in same.layers)
    assert all(layer.rank_before == layer.rank_after for layer in same.layers)
    assert all(same.interval(name) == (0.0, 0.0) for name in before.readings) and same.after.pointing == before.pointing
    other = retention(base, before, trained_encoder(open_record(runs.root, runs.injected), runs.root), material)
    assert all(0 < layer.cka < 1 and layer.cosine < 1 for layer in other.layers)
    assert [layer.name for layer in other.layers] == ["block 1", "block 2", "block 3", READ]


@pytest.mark.slow
def test_the_command_prints_one_run_and_leaves_its_figures_whole(runs: Runs):
    asked = ("probe", runs.injected, "--root", str(runs.root), "--episodes", str(EPISODES))
    shown = say(*asked)
    assert shown.code == 0 and all(word in shown.out for word in ("block 3", READ, "places, R²", "pointing, exact"))
    kept = json.loads((runs.root / runs.injected / "retention.json").read_text())
    seen = json.loads(say(*asked, "--format", "json").out)
    assert all(isinstance(value, float) and np.isfinite(value) for value in kept.values())
    assert kept["R² of places"] == seen["runs"][runs.injected]["probes"]["places"]["after"]
    assert kept["linear CKA, tokens read"] == seen["runs"][runs.injected]["layers"][-1]["cka"] < 1
    assert seen["held_out_episodes"] == 16 and seen["data"]["privileged"] is True
    assert not list((runs.root / runs.injected).glob("*.tmp"))


@pytest.mark.slow
def test_the_model_card_of_an_exported_encoder_has_the_figures(runs: Runs, tmp_path: Path):
    assert say("probe", runs.injected, "--root", str(runs.root), "--episodes", str(EPISODES)).code == 0
    assert say("encoders", "export", runs.injected, str(tmp_path / "out"), "--root", str(runs.root)).code == 0
    card, kept = (tmp_path / "out/README.md").read_text(), read_json(runs.root / runs.injected / "retention.json")
    assert all(f"| {name} | {value:.4g} |" in card for name, value in kept.items())


@pytest.mark.slow
def test_the_command_sets_several_runs_side_by_side_and_claims_nothing_of_two(runs: Runs):
    asked = ("probe", *runs.both, "--root", str(runs.root), "--episodes", str(EPISODES))
    seen = json.loads(say(*asked, "--format", "json").out)
    assert [row["name"] for row in seen["rows"]] == ["embedded", *runs.both]
    assert seen["rows"][0]["values"] == seen["rows"][2]["values"] != seen["rows"][1]["values"]
    assert seen["rows"][0]["success"]["policies"] == 1  # the frozen policy is one that reads the base's encoder
    assert seen["rows"][1]["success"] is None and seen["rows"][2]["success"]["policies"] == 1
    assert seen["correlations"] == {} and "1 of 2 runs have success" in seen["no_correlations_because"]
    shown = say(*asked).out
    assert "No rank correlation" in shown and all(id in shown for id in runs.both)


def copies(runs: Runs, root: Path, tune: Frozen | Full, successes: dict[tuple[str, int], float]) -> None:
    """Records of policies by vision weights and seed, with planted success."""
    plan = open_record(runs.root, runs.frozen).plan
    assert isinstance(plan, Finetune)
    for (weights, seed), success in successes.items():
        changed = plan.model_copy(update={"seed": seed, "spec": Spec(vision=Slot(weights=weights, tune=tune))})
        folder = root / run_id(changed)
        shutil.copytree(runs.root / runs.frozen, folder)
        write_json(folder / "plan.json", changed.model_dump(mode="json"))
        write_result(folder, read_json(folder / "result.json") | {"success": success})


def test_success_of_an_injection_is_that_of_policies_that_keep_it_frozen(runs: Runs, tmp_path: Path):
    ours = f"run:{runs.injected}"
    planted = {(ours, 0): 0.25, (ours, 1): 0.75, ("pretrained", 0): 0.5, ("run:0123456789ab", 0): 0.9}
    copies(runs, tmp_path, Frozen(), planted)
    copies(runs, tmp_path, Full(), {(ours, 0): 1.0, ("pretrained", 0): 1.0, ("pretrained", 1): 1.0})
    found = frozen_success(tmp_path, ["pretrained", ours])
    assert {name: (one.value, one.policies) for name, one in found.items()} == {ours: (0.5, 2), "pretrained": (0.5, 1)}
    assert frozen_success(tmp_path, ["run:ba9876543210"]) == {}


def test_what_does_not_compare_is_not_ranked():
    def rows(kinds: str, manifests: str) -> list[Row]:
        named: dict[str, Kind] = {"i": "inject", "f": "finetune"}
        return [Row("b", "before", {}, Success(0.5, 1, "other"))] + [
            Row(str(i), named[kind], {}, Success(i / 9, 1, one))
            for i, (kind, one) in enumerate(zip(kinds, manifests, strict=True))
        ]

    assert unranked(rows("ffff", "aaaa")) is None and unranked(rows("iiii", "aaaa")) is None
    assert "rank them apart" in (unranked(rows("iiif", "aaaa")) or "")
    assert "different episodes" in (unranked(rows("ffff", "aaab")) or "")
    assert "3 of 3 runs have success" in (unranked(rows("fff", "aaa")) or "")


@pytest.mark.slow
def test_four_policies_are_ranked(runs: Runs, tmp_path: Path):
    planted = {("random", 0): 0.0, ("random", 1): 0.25, ("pretrained", 0): 0.5, ("pretrained", 1): 0.75}
    copies(runs, tmp_path, Frozen(), planted)
    shutil.copytree(runs.root / "data", tmp_path / "data")
    ids = [path.parent.name for path in tmp_path.glob("*/result.json")]
    seen = json.loads(say("probe", *ids, "--root", str(tmp_path), "--episodes", str(EPISODES), "--format", "json").out)
    assert seen["no_correlations_because"] is None
    assert all(found["runs"] == 4 and found["p"] >= 0.08 for found in seen["correlations"].values())


def test_a_mistake_is_one_sentence(runs: Runs, tmp_path: Path):
    near = runs.injected[:-1] + ("0" if runs.injected[-1] != "0" else "1")
    assert f"Did you mean '{runs.injected}'?" in refusal("probe", near, "--root", str(runs.root))
    failed = shutil.copytree(runs.root / runs.injected, tmp_path / runs.injected)
    write_result(failed, {"error": "NotFinite: loss"})
    assert "has failed and left no weights" in refusal("probe", runs.injected, "--root", str(tmp_path))
    assert not (tmp_path / "data").exists()  # said before anything is collected
    assert "No finished run" in refusal("probe", runs.injected, "--root", str(tmp_path / "nowhere"))
