"""The specific gain is over every control, and names the one that it is smallest over."""

import numpy as np
import pytest
from planted import Draw

from ablations.statistics.contrast import contrast
from ablations.statistics.gain import specific_gain


@pytest.fixture
def draw() -> Draw:
    return Draw(np.random.default_rng(0), episodes=100)


def test_with_one_control_it_is_the_plain_contrast(draw):
    injected, control = draw.outcomes(1.0, range(5)), draw.outcomes(0.0, range(5))
    gain, plain = specific_gain(injected, {"captions": control}), contrast(injected, control)
    assert gain is not None and plain is not None
    assert (gain.value, gain.low, gain.high) == pytest.approx((plain.value, plain.low, plain.high))
    assert (gain.against, gain.over, gain.seeds) == ("captions", ("captions",), 5)


def test_the_best_control_is_named_and_a_worse_one_cannot_raise_the_gain(draw):
    injected = draw.outcomes(1.5, range(5))
    controls = {"permuted": draw.outcomes(-1.0, range(5)), "captions": draw.outcomes(0.8, range(5))}
    both, alone = specific_gain(injected, controls), specific_gain(injected, {"captions": controls["captions"]})
    assert both is not None and alone is not None
    assert both.against == "captions" and both.value == alone.value
    assert both.low <= alone.low and both.high <= alone.high


def test_more_equal_controls_lower_the_lower_end_and_never_narrow_it_into_a_claim():
    generator, claims = np.random.default_rng(1), 0
    for _ in range(200):
        draw = Draw(generator, episodes=60)
        arms = {str(index): draw.outcomes(0.0, range(3)) for index in range(5)}
        gain = specific_gain(arms.pop("0"), arms)
        assert gain is not None
        claims += gain.low > 0
    assert claims <= 4


def test_controls_that_were_not_played_are_left_out_and_said_to_be(draw):
    injected, control = draw.outcomes(1.0, range(2)), draw.outcomes(0.0, range(2))
    gain = specific_gain(injected, {"sham": {}, "captions": control})
    assert gain is not None
    assert gain.over == ("captions",) and gain.screening
    assert specific_gain(injected, {"sham": {}}) is None
    assert specific_gain({}, {"captions": control}) is None


def test_the_lower_end_is_the_lowest_of_all_comparisons_and_the_seeds_are_those_of_the_thinnest(draw):
    injected = draw.outcomes(1.0, range(5))
    sure = draw.outcomes(0.0, range(5))
    thin = {seed: np.roll(sure[seed], 7) & (np.arange(100) < 98 - 90 * seed) for seed in (0, 1)}
    plain, wide = contrast(injected, sure), contrast(injected, thin)
    gain = specific_gain(injected, {"captions": sure, "permuted": thin})
    assert gain is not None and plain is not None and wide is not None
    assert plain.value < wide.value and wide.low < plain.low
    assert (gain.against, gain.seeds, gain.screening) == ("captions", 2, True)
    assert gain.low == wide.low
