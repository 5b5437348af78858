"""A policy that is told where its robot is: at play as in its demonstrations, changed where asked, kept and served."""

import json
import shutil
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SmallRun
from served import openpi_array, openpi_read, openpi_write, running, vla_read, vla_write

from workbench.benchmarks.contract import Protocol
from workbench.benchmarks.registry import open_env
from workbench.collect import collect
from workbench.data.dataset import Dataset
from workbench.data.lerobot import open_dataset
from workbench.errors import UserError
from workbench.evaluate import Played, Player, _seat, in_manifest_order
from workbench.execute import execute
from workbench.interventions import Interventions
from workbench.plan import Evaluate, Finetune, Inputs, run_id
from workbench.player import player_of
from workbench.proprioception import Proprioception
from workbench.publish import load_policy, policy_digest, save_policy
from workbench.recipes import Expert
from workbench.record import Record, collected_folder, open_record
from workbench.restarts import play
from workbench.serving.door import Door
from workbench.serving.policy import ServedPolicy

DEMONSTRATED = Protocol(tasks=("reach",), initial_states=4, split="finetune")
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
STATE = np.array([0.01, -0.02, 0.15, -1.0])


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """What the undisturbed expert shows of the first episodes: it solves each, so that none is left out."""
    recipe = Expert(tasks=("reach",), episodes=DEMONSTRATED.initial_states, noise=0.0)
    return open_dataset(collect(recipe, tmp_path_factory.mktemp("shown") / "data"))


@pytest.fixture(scope="module")
def record(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """The smoke study's first arm, told where the robot is."""
    root = tmp_path_factory.mktemp("told")
    budget = small_run.plan.budget.model_copy(update={"steps": 2})
    plan = Finetune.model_validate({**dict(small_run.plan), "spec": {"proprioception": 4}, "budget": budget})
    assert isinstance(plan.data, Expert)
    shutil.copytree(collected_folder(small_run.root, plan.data), collected_folder(root, plan.data))
    execute(plan, root)
    return open_record(root, run_id(plan))


@pytest.fixture(scope="module")
def player(record: Record) -> Player:
    return player_of(record)


@dataclass(frozen=True)
class Witness(Player):
    """Writes down what it is told of the robot, and acts."""

    told: list[np.ndarray] = field(default_factory=list)
    zeros: bool = False

    def act(
        self,
        pixels_BHWC: np.ndarray,
        instructions: list[str],
        *,
        noise: Sequence[torch.Generator],
        state_BS: np.ndarray | None = None,
    ) -> np.ndarray:
        assert state_BS is not None and state_BS.dtype == np.float32
        self.told.append(state_BS.copy())
        given = np.zeros_like(state_BS) if self.zeros else state_BS
        return super().act(pixels_BHWC, instructions, noise=noise, state_BS=given)


def witness(player: Player, **changed: Any) -> Witness:
    return Witness(**{**vars(player), **changed})


def told(player: Player, how: str, protocol: Protocol = DEMONSTRATED, **changed: Any) -> tuple[Witness, list[Played]]:
    seen = witness(player, **changed)
    inputs = Inputs.model_validate({"proprioception": how})
    return seen, in_manifest_order(list(play(seen, protocol, inputs)), protocol)


def test_the_state_at_play_is_the_one_that_is_stored_all_along(shown: Dataset):
    """The same start, bit for bit; actions are stored in float32, so that later ones are the same to a micrometre."""
    env = open_env(DEMONSTRATED, 1)
    for index, start in enumerate(DEMONSTRATED.manifest()):
        episode = shown.episode(index)
        observation, _ = env.reset(options={"starts": [start]})
        assert np.array_equal(observation["agent_pos"][0], episode.state[0])
        for stored, action in zip(episode.state, episode.action, strict=True):
            np.testing.assert_allclose(observation["agent_pos"][0], stored, atol=1e-6)
            observation, *_ = env.step(action[None].astype(np.float64))
    env.close()
    assert shown.state_names == env.rules.state


def test_a_policy_is_told_at_its_first_look_what_it_would_learn_from(player: Player, shown: Dataset):
    seen, _ = told(player, "given")
    stored = np.stack([shown.episode(index).state[0] for index in range(len(DEMONSTRATED.manifest()))])
    assert player.proprioception is not None
    np.testing.assert_array_equal(seen.told[0], player.proprioception.scaled(stored))
    assert np.abs(seen.told[0][:, :3]).max() > 0.1 and not np.array_equal(seen.told[0], seen.told[1])


def test_it_is_told_zeros_where_that_is_asked_and_does_what_zeros_make_it_do(player: Player):
    seen, masked = told(player, "zero")
    assert len(seen.told) > 1 and not any(state.any() for state in seen.told)
    other, given = told(player, "given", zeros=True)
    assert other.told[0].any()
    assert all(np.array_equal(one.actions, two.actions) for one, two in zip(masked, given, strict=True))
    _, own = told(player, "given")
    assert any(not np.array_equal(one.actions, two.actions) for one, two in zip(masked, own, strict=True))


def test_the_state_of_another_episode_is_the_first_one_of_the_next_all_along(player: Player):
    own, _ = told(player, "given")
    seen, _ = told(player, "other-episode")
    assert np.array_equal(seen.told[0], np.roll(own.told[0], -1, axis=0)) and len(np.unique(own.told[0][:, 0])) == 4
    assert np.array_equal(seen.told[0], seen.told[1])
    starts, env = DEMONSTRATED.manifest(), open_env(DEMONSTRATED, 4)
    given = Interventions(Inputs(proprioception="other-episode"), PICTURE[0, 0], (), starts, player.proprioception)
    _seat(env, {}, deque(starts), given)
    assert player.proprioception is not None and tuple(env.starts) == starts  # and it is their own that begin
    assert np.array_equal(player.proprioception.scaled(env.observe()["agent_pos"]), own.told[0])
    env.close()


def test_the_next_episodes_of_a_row_are_told_their_own_states(player: Player):
    """More episodes than rows: a row that is taken again is told of its new episode."""
    protocol = DEMONSTRATED.model_copy(update={"initial_states": 40, "horizon": 4})
    env = open_env(protocol, 1)
    first = {}
    for start in protocol.manifest():
        observation, _ = env.reset(options={"starts": [start]})
        first[start] = observation["agent_pos"][0]
    env.close()
    manifest = protocol.manifest()
    for how, shift in (("given", 0), ("other-episode", 1)):
        seen, _ = told(player, how, protocol)
        expected = [player.proprioception.scaled(first[manifest[(i + shift) % 40]]) for i in range(32, 40)]
        begun = [state for state in seen.told if len(state) == 8]
        assert begun and np.array_equal(begun[0], np.stack(expected))


def test_its_statistics_are_recorded_and_those_of_others_are_not(record: Record, small_run: SmallRun):
    assert "state_statistics" not in small_run.record.result
    statistics = record.result["state_statistics"]
    frames = open_dataset(collected_folder(record.folder.parent, small_run.plan.data))  # pyright: ignore
    stored = np.concatenate([frames.episode(index).state for index in range(len(frames.episodes))])
    np.testing.assert_allclose(statistics["mean"], stored.astype(np.float64).mean(0), rtol=1e-6)
    np.testing.assert_allclose(statistics["std"], stored.astype(np.float64).std(0), rtol=1e-6)
    rows = {row["slot"]: row for row in record.ledger()["rows"]}
    plain = {row["slot"]: row for row in small_run.record.ledger()["rows"]}
    assert rows["head"]["trainable"] - plain["head"]["trainable"] == 96 * 5


def test_a_saved_policy_does_the_same_bit_for_bit(record: Record, player: Player, tmp_path: Path):
    save_policy(record, tmp_path / "policy")
    loaded, config = load_policy(tmp_path / "policy")
    assert config.spec.proprioception == 4
    (_, first), (_, again) = told(player, "given"), told(loaded, "given")
    assert all(np.array_equal(one.actions, two.actions) for one, two in zip(first, again, strict=True))
    before = policy_digest(tmp_path / "policy")
    statistics = tmp_path / "policy" / "state_statistics.json"
    changed = json.loads(statistics.read_text())
    changed["mean"][0] += 0.1
    statistics.write_text(json.dumps(changed))
    assert policy_digest(tmp_path / "policy") != before
    statistics.unlink()
    with pytest.raises(UserError, match="state_statistics.json is missing"):
        load_policy(tmp_path / "policy")


def test_it_is_played_again_without_and_one_that_is_told_nothing_is_not(record: Record, small_run: SmallRun):
    root, inputs = record.folder.parent, Inputs(proprioception="zero")
    again = Evaluate(of=record.id, protocol=small_run.plan.protocol, inputs=inputs)
    execute(again, root)
    assert open_record(root, run_id(again)).result["episodes"] == 4
    with pytest.raises(UserError, match="is given no state of its robot: proprioception cannot be 'zero'"):
        list(play(player_of(small_run.record), small_run.plan.protocol, inputs))


def test_a_benchmark_that_tells_something_else_is_not_played(player: Player):
    assert player.proprioception is not None
    wide = {
        name: np.append(values, 1.0)
        for name, values in vars(player.proprioception.statistics).items()
        if name != "count"
    }
    other = replace(player, proprioception=Proprioception(replace(player.proprioception.statistics, **wide)))
    with pytest.raises(UserError, match="is given 5 numbers of its robot's state, but tabletop-v1 tells 4"):
        list(play(other, DEMONSTRATED, Inputs()))


def request(state: Any) -> dict[str, Any]:
    return {"observation/image": PICTURE, "prompt": "reach the red block", "observation/state": state}


def test_a_served_policy_takes_the_state_of_each_request(player: Player):
    served = ServedPolicy(player, "told", executed=1)
    assert served.state == 4 and player.proprioception is not None
    with running(served, Door(port=0)) as server, server.connect() as client:
        facts = openpi_read(client.recv())
        assert (facts["state_key"], facts["state_dim"]) == ("observation/state", 4)
        for state in (STATE, STATE + 0.1):
            client.send(openpi_write(request(state)))
            scaled = player.proprioception.scaled(state[None])
            noise = [torch.Generator().manual_seed(0)]
            expected = player.act(PICTURE[None], ["reach the red block"], noise=noise, state_BS=scaled)[0]
            assert np.array_equal(openpi_read(client.recv())["actions"], expected)
        with server.connect("/vla-eval") as other:
            seen = {"images": {"front": openpi_array(PICTURE)}, "task_description": "reach the red block"}
            for states, kind in (({"states": STATE.tolist()}, "action"), ({}, "error")):
                other.send(vla_write("observation", {**seen, **states}))
                answer = vla_read(other.recv())
                assert answer["type"] == kind
            assert "The observation has no 'states'" in answer["payload"]["error"] and "--state-key" in str(answer)
    served.close()
