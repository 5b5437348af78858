"""Others' simulators are answered in their own language, with the bits that the policy itself gives."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SmallRun
from PIL import Image
from served import Running, openpi_array, openpi_read, openpi_write, running, vla_image, vla_read, vla_write
from websockets.exceptions import InvalidStatus

from workbench.errors import UserError
from workbench.evaluate import Player
from workbench.player import player_of
from workbench.publish import save_policy
from workbench.screens.serve import serve_policy
from workbench.serving.door import Door
from workbench.serving.opened import open_policy
from workbench.serving.policy import ServedPolicy

TOKEN = "a-token-of-23-letters-x"
PICTURE = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
SAID = "reach the red block"


@pytest.fixture(scope="module")
def player(small_run: SmallRun) -> Player:
    return player_of(small_run.record)


@pytest.fixture(scope="module")
def policy(player: Player) -> Iterator[ServedPolicy]:
    served = ServedPolicy(player, "small", executed=1)
    yield served
    served.close()


@pytest.fixture(scope="module")
def server(policy: ServedPolicy) -> Iterator[Running]:
    with running(policy, Door(port=0)) as found:
        yield found


def directly(player: Player, picture_HWC: np.ndarray, said: str) -> np.ndarray:
    return player.act(picture_HWC[None], [said], noise=[torch.Generator().manual_seed(0)])[0]


def observation(picture_HWC: np.ndarray = PICTURE, said: str = SAID) -> dict:
    return {"observation/image": picture_HWC, "observation/state": np.ones(8), "prompt": said}


def test_an_openpi_client_gets_the_policys_own_bits(player: Player, server: Running):
    with server.connect() as client:
        facts = openpi_read(client.recv())
        assert (facts["policy"], facts["image_key"], facts["prompt_key"]) == ("small", "observation/image", "prompt")
        for picture, said in ((PICTURE, SAID), (PICTURE[::-1].copy(), SAID), (PICTURE, "lift the blue block")):
            client.send(openpi_write(observation(picture, said)))
            answer = openpi_read(client.recv())
            expected = directly(player, picture, said)
            assert answer["actions"].shape == (facts["chunk"], facts["action_dim"])
            assert answer["actions"].dtype == expected.dtype and np.array_equal(answer["actions"], expected)
        assert answer["server_timing"]["infer_ms"] > 0 and answer["server_timing"]["prev_total_ms"] > 0


def test_observations_within_observations_are_found(player: Player, server: Running):
    with server.connect() as client:
        client.recv()
        client.send(openpi_write({"observation": {"image": openpi_array(PICTURE)}, "prompt": SAID}))
        assert np.array_equal(openpi_read(client.recv())["actions"], directly(player, PICTURE, SAID))


def png(picture_HWC: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture_HWC).save(file, "PNG")
    return file.getvalue()


def test_a_vla_eval_client_gets_the_chunk_one_action_at_a_time(player: Player):
    served = ServedPolicy(player, "small", executed=2)
    assert served.chunk >= 2, "the smoke study's chunks must have two actions"
    pictures = [np.roll(PICTURE, shift, axis=1) for shift in range(5)]
    with running(served, Door(port=0)) as server, server.connect("/vla-eval") as client:
        client.send(vla_write("hello", {"harness_version": "0.8.0", "protocol_version": 1}, 1))
        hello = vla_read(client.recv())
        assert (hello["type"], hello["seq"], hello["payload"]["protocol_version"]) == ("hello", 1, 1)
        client.send(vla_write("episode_start", {"task": {"name": "reach"}}, 2))
        got = []
        for seq, picture in enumerate(pictures, 3):
            if seq == 6:  # after the third observation: what is left of the second chunk must go
                client.send(vla_write("episode_end", {"metrics": {"success": False}}, 60))
                client.send(vla_write("episode_start", {"task": {"name": "reach"}}, 61))
            cameras = {"agentview": vla_image("png", png(picture), list(picture.shape))}
            client.send(vla_write("observation", {"images": cameras, "task_description": SAID}, seq))
            reply = vla_read(client.recv())
            assert (reply["type"], reply["seq"]) == ("action", seq)
            got.append(reply["payload"]["actions"])
    served.close()
    chunks = [directly(player, picture, SAID) for picture in pictures]
    expected = [chunks[0][0], chunks[0][1], chunks[2][0], chunks[3][0], chunks[3][1]]
    assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def test_of_several_cameras_the_named_one_is_read(player: Player, policy: ServedPolicy, server: Running):
    raw = {"__ndarray__": True, "data": PICTURE.tobytes(), "dtype": "|u1", "shape": list(PICTURE.shape)}
    cameras = {"wrist": raw | {"data": bytes(PICTURE.size)}, "front": raw}
    asked = vla_write("observation", {"images": cameras, "task_description": SAID})
    with server.connect("/vla-eval") as client:
        client.send(asked)
        refused = vla_read(client.recv())
        assert refused["type"] == "error" and "('front', 'wrist')" in refused["payload"]["error"]
    with running(policy, Door(port=0, image_key="images/front")) as named, named.connect("/vla-eval") as client:
        client.send(asked)
        action = vla_read(client.recv())["payload"]["actions"]
        assert np.array_equal(action, directly(player, PICTURE, SAID)[0])


def test_clients_at_the_same_time_get_their_own_answers(player: Player, server: Running):
    pictures = [np.roll(PICTURE, shift, axis=0) for shift in range(4)]
    got: dict[int, list[np.ndarray]] = {}

    def ask(number: int) -> None:
        with server.connect() as client:
            client.recv()
            for _ in range(5):
                client.send(openpi_write(observation(pictures[number])))
                got.setdefault(number, []).append(openpi_read(client.recv())["actions"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    [thread.start() for thread in threads]
    [thread.join(30) for thread in threads]
    for number, picture in enumerate(pictures):
        expected = directly(player, picture, SAID)
        assert len(got[number]) == 5 and all(np.array_equal(one, expected) for one in got[number])


def status(server: Running, path: str, **options) -> int:
    with pytest.raises(InvalidStatus) as caught, server.connect(path, **options):
        pass
    return caught.value.response.status_code


def test_with_a_token_only_those_who_have_it_come_in(policy: ServedPolicy):
    with running(policy, Door(port=0, token=TOKEN)) as server:
        assert status(server, "/") == status(server, "/vla-eval") == status(server, f"/?token={TOKEN}x") == 401
        assert status(server, "/", additional_headers={"Authorization": f"Basic {TOKEN}"}) == 401
        for path, headers in (
            (f"/vla-eval?token={TOKEN}", {}),
            ("/", {"Authorization": f"Bearer {TOKEN}"}),
            ("/", {"Authorization": f"Api-Key {TOKEN}"}),
        ):
            with server.connect(path, additional_headers=headers) as client:
                client.ping().wait(5)
        assert not any(TOKEN in line for line in server.lines)


def test_a_web_page_and_an_unknown_path_are_turned_away(server: Running):
    assert status(server, "/", origin="http://example.org") == 403
    assert status(server, "/nowhere") == 404
    assert status(server, "//[") == 400
    assert status(server, "/healthz") == status(server, "/health") == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org", ""])
def test_others_than_this_machine_need_a_token(host: str):
    with pytest.raises(UserError, match="give a --token"):
        Door(host=host)
    assert Door(host=host, token=TOKEN).token == TOKEN and TOKEN not in repr(Door(host=host, token=TOKEN))
    with pytest.raises(UserError, match="it needs 16"):
        Door(host=host, token="short")


def test_a_folder_and_a_runs_id_are_the_same_policy(small_run: SmallRun, tmp_path: Path):
    save_policy(small_run.record, tmp_path / "policy")
    for policy in (str(tmp_path / "policy"), small_run.record.id):
        served = open_policy(policy, small_run.root, device="cpu")
        assert (served.name, served.chunk) == (small_run.record.id, small_run.plan.budget.chunk)
        assert served.executed == small_run.plan.protocol.n_action_steps
        served.close()
    with pytest.raises(UserError, match="There is no folder"):
        open_policy(str(tmp_path / "nowhere"), small_run.root)
    with pytest.raises(UserError, match="No finished run 'nothing'"):
        open_policy("nothing", small_run.root)


def test_a_port_that_is_taken_and_an_address_of_nobody_are_said(small_run: SmallRun, server: Running):
    for door, said in (
        (Door(port=server.port), f"Port {server.port} is taken"),
        (Door(host="192.0.2.1", port=0, token=TOKEN), "no address of this machine"),
    ):
        with pytest.raises(UserError, match=said):
            serve_policy(small_run.record.id, small_run.root, "cpu", door)


@pytest.mark.slow
def test_a_person_starts_it_reads_the_address_and_stops_it(small_run: SmallRun):
    asked = "import sys; from pathlib import Path; from workbench.screens.serve import Door, serve_policy; "
    asked += "serve_policy(sys.argv[1], Path(sys.argv[2]), 'cpu', Door(port=0))"
    command = [sys.executable, "-c", asked, small_run.record.id, str(small_run.root)]
    environment = {**os.environ, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        shown = [process.stdout.readline() for _ in range(4)]
        (port,) = set(re.findall(r"ws://127.0.0.1:(\d+)/", "".join(shown)))
        with Running(int(port), tally=None).connect() as client:  # type: ignore[arg-type]
            client.recv()
            client.send(openpi_write(observation()))
            assert openpi_read(client.recv())["actions"].shape[1] == 7
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(20) == 0
    assert "this machine only" in "".join(shown) and "openpi client 127.0.0.1" in rest and "Stopped." in rest


@dataclass(frozen=True, kw_only=True)
class Watched(Player):
    """Notes how many requests it was answering at once."""

    within: list[int]
    most: list[int]

    def act(self, *given: Any, **named: Any) -> np.ndarray:
        self.within.append(1)
        self.most.append(len(self.within))
        time.sleep(0.02)
        self.within.pop()
        return super().act(*given, **named)


def test_the_policy_answers_one_request_at_a_time(player: Player):
    fields = {name: getattr(player, name) for name in ("policy", "backbone", "scale", "mean_colour", "spot")}
    watched = Watched(**fields, within=[], most=[])
    served = ServedPolicy(watched, "watched", executed=None)
    with running(served, Door(port=0)) as server, ExitStack() as open_ones:
        clients = [open_ones.enter_context(server.connect()) for _ in range(4)]
        [client.send(openpi_write(observation())) for client in clients]
        assert [len(openpi_read(client.recv())) and len(openpi_read(client.recv())) for client in clients] == [3] * 4
        assert server.tally.a_minute() == 4
    served.close()
    assert watched.most == [1] * 5


def test_without_the_extra_it_is_said_what_to_install(small_run: SmallRun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workbench.screens.serve.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'vla-workbench\[serve\]'"):
        serve_policy(small_run.record.id, small_run.root, "cpu", Door())
