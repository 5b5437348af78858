"""FAST tokens against their definition (arXiv:2501.09747, §V), on signals whose transform is known."""

import numpy as np
import pytest

from workbench.errors import UserError
from workbench.objectives.fast_tokens import FastTokens, Malformed, _spectrum, fit

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
