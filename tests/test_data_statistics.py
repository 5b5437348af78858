import json

import numpy as np
import pytest

from workbench.data.statistics import (
    QUANTILES,
    STATISTICS,
    Normalisation,
    Scaling,
    Statistics,
    denormalise,
    normalise,
    round_trip_error,
)
from workbench.errors import UserError

SCALINGS = [Normalisation.MEAN_STD, Normalisation.MIN_MAX, Normalisation.QUANTILES]


def values(*, constant: float = 0.25) -> np.ndarray:
    """float32 [500, 3]: a wide dimension, a constant one, a narrow one far from zero."""
    drawn = np.random.default_rng(0).normal(size=(500, 3)) * [10, 0, 0.01] + [0, constant, 5]
    return drawn.astype(np.float32)


def test_statistics_are_those_that_numpy_computes():
    data = values()
    found = Statistics.from_values(data)
    assert found.count == 500
    np.testing.assert_allclose(found.mean, data.mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(found.std, data.std(axis=0, dtype=np.float64), atol=1e-12)
    np.testing.assert_array_equal(found.min, data.min(axis=0))
    np.testing.assert_array_equal(found.max, data.max(axis=0))
    np.testing.assert_allclose(found.q10, np.quantile(data.astype(np.float64), 0.1, axis=0))


def test_the_statistics_of_images_are_those_of_their_pixels_in_the_unit_interval():
    image = np.random.default_rng(0).integers(3, 200, (4, 8, 8, 3), dtype=np.uint8)
    counts = np.stack([np.bincount(image[..., c].ravel(), minlength=256) for c in range(3)])
    found = Statistics.from_histogram(counts, frames=4)
    pixels = image.reshape(-1, 3) / 255
    assert found.count == 4
    np.testing.assert_allclose(found.mean[:, 0, 0], pixels.mean(axis=0))
    np.testing.assert_allclose(found.std[:, 0, 0], pixels.std(axis=0))
    np.testing.assert_allclose(found.min[:, 0, 0], pixels.min(axis=0))
    np.testing.assert_allclose(found.max[:, 0, 0], pixels.max(axis=0))
    for name, q in QUANTILES.items():
        expected = np.quantile(pixels, q, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(getattr(found, name)[:, 0, 0], expected)


def test_json_gives_back_the_same_bits():
    before = Statistics.from_values(values())
    after = Statistics.from_json(json.loads(json.dumps(before.to_json())), "action")
    assert after.count == before.count
    for name in STATISTICS:
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


@pytest.mark.parametrize("mode", Normalisation)
def test_denormalising_undoes_normalising(mode):
    data = values()
    statistics = Statistics.from_values(data)
    there = normalise(data, statistics, mode)
    assert there.dtype == np.float32
    np.testing.assert_allclose(denormalise(there, statistics, mode), data, rtol=1e-6, atol=1e-5)


def test_each_scaling_puts_its_landmarks_where_it_promises():
    data = values()
    statistics = Statistics.from_values(data)
    moving = [0, 2]
    standard = normalise(data, statistics, Normalisation.MEAN_STD)[:, moving]
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(standard.std(axis=0), 1, atol=1e-4)
    bounded = normalise(data, statistics, Normalisation.MIN_MAX)[:, moving]
    np.testing.assert_array_equal([bounded.min(axis=0), bounded.max(axis=0)], [[-1, -1], [1, 1]])
    ends = np.stack([statistics.q01, statistics.q99])
    scaled = normalise(ends, statistics, Normalisation.QUANTILES)[:, moving]
    np.testing.assert_allclose(scaled, [[-1, -1], [1, 1]], atol=1e-6)
    assert normalise(data, statistics, Normalisation.QUANTILES).max() > 1, "values beyond the quantiles are not clipped"
    np.testing.assert_array_equal(normalise(data, statistics, Normalisation.IDENTITY), data)


@pytest.mark.parametrize("mode", SCALINGS)
@pytest.mark.parametrize("constant", [0.0, 0.1, -3e4])
def test_a_constant_dimension_becomes_zero_and_comes_back_as_its_constant(mode, constant):
    statistics = Statistics.from_values(values(constant=constant))
    seen = np.array([[1.0, constant + 0.5, 5.0]], dtype=np.float32)
    assert normalise(seen, statistics, mode)[0, 1] == 0
    predicted = np.array([[0.0, 0.7, 0.0]], dtype=np.float32)
    assert denormalise(predicted, statistics, mode)[0, 1] == np.float32(constant)


def test_quantiles_refuse_a_dimension_that_hardly_ever_moves():
    gripper = np.zeros((1000, 2), dtype=np.float32)
    gripper[:, 0] = np.arange(1000)
    gripper[0, 1] = 1
    statistics = Statistics.from_values(gripper)
    with pytest.raises(UserError, match="dimension 1: q01 equals q99.*MIN_MAX"):
        normalise(gripper, statistics, Normalisation.QUANTILES)
    assert normalise(gripper, statistics, Normalisation.MIN_MAX)[0, 1] == 1


def test_a_missing_figure_is_an_error_that_names_it_and_the_feature():
    record = Statistics.from_values(values()).to_json()
    del record["q99"]
    with pytest.raises(UserError, match="statistics of 'action' lack q99"):
        Statistics.from_json(record, "action")


@pytest.mark.parametrize("broken", [[1.0, float("nan"), 0.0], [1.0, 2.0], [None, 1.0, 2.0]])
def test_a_figure_that_is_not_finite_or_of_another_width_is_an_error(broken):
    record = Statistics.from_values(values()).to_json() | {"std": broken}
    with pytest.raises(UserError, match="'std' of 'action' is not finite"):
        Statistics.from_json(record, "action")


def test_statistics_of_another_width_are_refused():
    with pytest.raises(UserError, match=r"shape \[500, 2\].*shape \[3\]"):
        normalise(values()[:, :2], Statistics.from_values(values()), Normalisation.MIN_MAX)


@pytest.mark.parametrize("mode", Normalisation)
def test_the_round_trip_error_is_rounding_without_a_clip(mode):
    data = values()
    statistics = Statistics.from_values(data)
    there = Scaling(mode).normalise(data, statistics)
    np.testing.assert_array_equal(there, normalise(data, statistics, mode))
    error = round_trip_error(data, statistics, Scaling(mode))
    assert error.shape == (3,) and (error <= 1e-6 * np.abs(data).max(axis=0)).all()


def test_a_clip_cuts_rescales_and_tells_what_does_not_come_back():
    data = np.linspace(-1, 1, 201, dtype=np.float32)[:, None]
    statistics = Statistics.from_values(data)
    scaling = Scaling(Normalisation.MIN_MAX, clip=0.65)
    there = scaling.normalise(data, statistics)
    np.testing.assert_allclose(there, (data / 0.65).clip(-1, 1), rtol=1e-6)
    np.testing.assert_allclose(scaling.denormalise(there, statistics), data.clip(-0.65, 0.65), rtol=1e-6)
    np.testing.assert_allclose(round_trip_error(data, statistics, scaling), [0.35], rtol=1e-5)


@pytest.mark.parametrize("clip", [0.0, -0.65, 1.5])
def test_a_clip_that_is_none_is_refused(clip):
    with pytest.raises(UserError, match=f"at most 1, not at {clip}"):
        Scaling(Normalisation.MIN_MAX, clip=clip)
