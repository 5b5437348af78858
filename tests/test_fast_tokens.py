"""FAST tokens against their definition (arXiv:2501.09747, §V), on signals whose transform is known."""

import json
from pathlib import Path

import numpy as np
import pytest
from published_tokens import characters, write_published
from scipy.fft import idct
from transformers import PreTrainedTokenizerFast

from workbench.errors import UserError
from workbench.objectives.fast_tokens import FastTokens, Malformed, _spectrum, fit, published

STEPS, ACTIONS = 16, 7


def smooth(count: int, seed: int = 0) -> np.ndarray:
    """Chunks like a robot's: slow sines and a gripper that switches once."""
    random = np.random.default_rng(seed)
    time_K = np.linspace(0, 1, STEPS)
    phase, speed = random.uniform(0, 6.28, (count, 1, ACTIONS)), random.uniform(0.1, 1.0, (count, 1, ACTIONS))
    chunks_NKA = 0.8 * np.sin(phase + 6.28 * speed * time_K[None, :, None])
    chunks_NKA[:, :, -1] = np.where(time_K[None] < random.uniform(0, 1, (count, 1)), -1.0, 1.0)
    return chunks_NKA.astype(np.float32)


@pytest.fixture(scope="module")
def fitted() -> FastTokens:
    return fit(smooth(1000))


def test_a_constant_has_one_number_a_ramp_odd_ones_and_a_cosine_its_own_frequency():
    steps = np.arange(STEPS)
    constant = _spectrum(np.full((1, STEPS, 1), 0.5), 10.0)[0, :, 0]
    assert constant[0] == round(10 * 0.5 * STEPS**0.5) and not constant[1:].any()
    ramp = _spectrum(np.linspace(-1, 1, STEPS)[None, :, None], 100.0)[0, :, 0]
    assert not ramp[::2].any() and ramp[1] < 0 and (np.abs(ramp[1::2])[:-1] >= np.abs(ramp[1::2])[1:]).all()
    cosine = np.cos(np.pi * (2 * steps + 1) * 3 / (2 * STEPS))
    only = _spectrum(cosine[None, :, None], 10.0)[0, :, 0]
    assert np.flatnonzero(only).tolist() == [3] and only[3] == round(10 * (STEPS / 2) ** 0.5)


def test_a_constant_a_ramp_and_a_sine_are_coded_as_the_paper_defines_it():
    """The cosine transform is written out as a sum, each frequency of unit length."""
    time_K = np.arange(STEPS)
    signals_KA = np.stack([np.full(STEPS, 0.7), np.linspace(-1, 1, STEPS), np.sin(2 * np.pi * time_K / STEPS)], axis=1)
    length_F = np.where(time_K == 0, np.sqrt(1 / STEPS), np.sqrt(2 / STEPS))
    basis_FK = length_F[:, None] * np.cos(np.pi * (2 * time_K + 1) * time_K[:, None] / (2 * STEPS))
    wanted_FA = np.rint(10 * basis_FK @ signals_KA)
    np.testing.assert_array_equal(_spectrum(signals_KA[None], 10.0)[0], wanted_FA)
    tokens = fit(signals_KA[None])
    again_KA = basis_FK.T @ (wanted_FA / 10)
    np.testing.assert_allclose(tokens.decode(tokens.encode(signals_KA)), again_KA, atol=1e-6)
    assert np.abs(again_KA - signals_KA).max() < 0.1


def test_low_frequencies_of_all_dimensions_come_first(fitted):
    chunk = np.zeros((STEPS, ACTIONS), np.float32)
    chunk[:, 2] = 0.5
    text = "".join(fitted.tokenizer.id_to_token(id) for id in fitted.encode(chunk))
    zero = text[-1]
    assert [place for place, letter in enumerate(text) if letter != zero] == [2]


def test_a_chunk_comes_back_up_to_the_rounding(fitted):
    held_out = smooth(100, seed=1)
    error = fitted.round_trip_error(held_out)
    assert 0 < error < 0.05  # half a step of 1 / scale, spread evenly, is 0.029
    assert fitted.decode(fitted.encode(held_out[0])).dtype == np.float32


def test_a_finer_scale_costs_tokens_and_wins_accuracy():
    chunks, held_out = smooth(600), smooth(50, seed=1)
    lengths, errors = [], []
    for scale in (3.0, 10.0, 30.0):
        tokens = fit(chunks, scale=scale, vocabulary=1024)
        lengths.append(np.mean([len(tokens.encode(chunk)) for chunk in held_out]))
        errors.append(tokens.round_trip_error(held_out))
    assert lengths == sorted(lengths) and errors == sorted(errors, reverse=True)


def test_the_code_is_several_times_shorter_than_the_numbers(fitted):
    lengths = [len(fitted.encode(chunk)) for chunk in smooth(100, seed=1)]
    assert np.mean(lengths) < STEPS * ACTIONS / 3


def test_a_larger_vocabulary_makes_shorter_codes():
    chunks, held_out = smooth(600), smooth(50, seed=1)
    short, long = (fit(chunks, vocabulary=size) for size in (1024, 128))
    assert short.vocabulary == 1024 and long.vocabulary == 128
    assert sum(len(short.encode(c)) for c in held_out) < sum(len(long.encode(c)) for c in held_out)


def test_sequences_that_are_no_chunk_are_refused(fitted):
    ids = fitted.encode(smooth(1, seed=2)[0])
    for wrong, message in ((ids[:-1], "a chunk has 112"), ([*ids, ids[0]], "a chunk has 112"), ([], "hold 0 numbers")):
        with pytest.raises(Malformed, match=message):
            fitted.decode(wrong)
    with pytest.raises(Malformed, match="no action token 99999"):
        fitted.decode([99999])


def test_numbers_beyond_those_that_were_fitted_are_clipped(fitted):
    wild = np.full((STEPS, ACTIONS), 9.0, np.float32)
    assert np.abs(fitted.decode(fitted.encode(wild))).max() < 3.0


def test_a_vocabulary_that_cannot_hold_every_number_is_refused():
    with pytest.raises(UserError, match="A vocabulary of 8 action tokens is smaller than the .* numbers"):
        fit(smooth(20), vocabulary=8)


def test_it_is_kept_as_text(fitted):
    again = FastTokens.from_json(fitted.as_json())
    chunk = smooth(1, seed=3)[0]
    assert again.encode(chunk) == fitted.encode(chunk) and again.vocabulary == fitted.vocabulary


def test_there_are_fewer_tokens_where_nothing_is_left_to_merge():
    tokens = fit(smooth(1)[:, :2, :2], vocabulary=256)
    assert tokens.vocabulary < 256 and len(tokens.encode(smooth(1)[0, :2, :2])) == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published tokenizer on disk."""
    folder = tmp_path_factory.mktemp("published")
    write_published(folder, smooth(500))
    return folder


def test_a_published_tokenizer_is_read_as_its_own_library_reads_it(folder: Path):
    tokens, native = published(folder, steps=STEPS, actions=ACTIONS), PreTrainedTokenizerFast.from_pretrained(folder)
    for chunk_KA in smooth(20, seed=1):
        ids = native(characters(chunk_KA, 10.0, -100))["input_ids"]
        assert tokens.encode(chunk_KA) == ids
        numbers_KA = np.array([ord(letter) - 100 for letter in native.decode(ids)]).reshape(STEPS, ACTIONS)
        wanted_KA = np.asarray(idct(numbers_KA / 10, axis=0, norm="ortho"))
        np.testing.assert_allclose(tokens.decode(ids), wanted_KA, atol=1e-6)
    assert 0 < tokens.round_trip_error(smooth(20, seed=1)) < 0.05
    assert tokens.vocabulary == len(native) and (tokens.scale, tokens.lowest) == (10.0, -100)


def test_a_published_tokenizer_is_kept_as_text_too(folder: Path):
    tokens = published(folder, steps=STEPS, actions=ACTIONS)
    again, chunk_KA = FastTokens.from_json(tokens.as_json()), smooth(1, seed=3)[0]
    assert again.encode(chunk_KA) == tokens.encode(chunk_KA)
    np.testing.assert_array_equal(again.decode(again.encode(chunk_KA)), tokens.decode(tokens.encode(chunk_KA)))


def test_a_published_tokenizer_codes_chunks_of_other_sizes_than_its_horizon(folder: Path, tmp_path: Path):
    config = json.loads((folder / "processor_config.json").read_text()) | {"time_horizon": STEPS, "action_dim": ACTIONS}
    copied(folder, tmp_path, **{"processor_config.json": json.dumps(config)})
    short = smooth(1, seed=1)[0, :4, :3]
    tokens = published(tmp_path, steps=4, actions=3)
    assert tokens.decode(tokens.encode(short)).shape == (4, 3) and tokens.round_trip_error(short[None]) < 0.06


def test_bytes_that_are_no_character_are_no_chunk(folder: Path):
    tokens = published(folder, steps=1, actions=2)
    halves = [id for token, id in tokens.tokenizer.get_vocab().items() if token == "Â"]  # the first of two bytes
    ids = tokens.encode(np.zeros((1, 2), np.float32))
    assert len(halves) == 1 and tokens.decode(ids).tolist() == [[0.0, 0.0]]
    with pytest.raises(Malformed, match="hold 0 numbers, a chunk has 2"):
        tokens.decode(halves * 2)


def copied(folder: Path, to: Path, **changed: str) -> None:
    for file in folder.iterdir():
        (to / file.name).write_text(changed.get(file.name, file.read_text()))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("processor_config.json", None, "There is no .*processor_config.json: a published action tokenizer has"),
        ("tokenizer.json", None, "There is no .*tokenizer.json: a published action tokenizer has"),
        ("processor_config.json", "{", "is not that of an action tokenizer"),
        ("processor_config.json", "[10, -100]", "is not that of an action tokenizer"),
        ("processor_config.json", '{"scale": 10}', "is not that of an action tokenizer.*min_token"),
        ("processor_config.json", '{"scale": 0, "min_token": -100}', "is 0, but what actions are multiplied by"),
        ("tokenizer.json", "{}", "tokenizer.json is no tokenizer"),
    ],
)
def test_a_folder_without_a_published_tokenizer_is_refused(
    file: str, content: str | None, message: str, folder: Path, tmp_path: Path
):
    copied(folder, tmp_path, **({} if content is None else {file: content}))
    if content is None:
        (tmp_path / file).unlink()
    with pytest.raises(UserError, match=message):
        published(tmp_path, steps=STEPS, actions=ACTIONS)
