"""What calibration keeps of the tensors of a network."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from tests.export.quantization.support import Prepared, all_tensors, depthwise_darknet
from yolo_edge.export.quantization.calibration import BINS, Calibration, TensorStatistics, join


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.of(depthwise_darknet(tmp_path_factory.mktemp("calibration")))


def test_smallest_and_largest_are_exact(prepared: Prepared) -> None:
    seen = [all_tensors(prepared.graph, tensor) for tensor in prepared.tensors]
    assert prepared.calibration.pictures == len(seen)
    assert set(prepared.statistics) == set(seen[0])
    for name, found in prepared.statistics.items():
        arrays = [maps[name].reshape(maps[name].shape[1], -1) for maps in seen]
        tolerance = 1e-5 * max(float(np.abs(array).max()) for array in arrays)
        np.testing.assert_allclose(found.low, np.min([a.min(axis=1) for a in arrays], axis=0), atol=tolerance)
        np.testing.assert_allclose(found.high, np.max([a.max(axis=1) for a in arrays], axis=0), atol=tolerance)


def test_histograms_are_shares(prepared: Prepared) -> None:
    for name, found in prepared.statistics.items():
        assert found.histogram.shape == found.energy.shape == (len(found.low), BINS)
        np.testing.assert_allclose(found.histogram.sum(axis=1), 1)
        assert min(found.histogram.min(), found.energy.min(), found.gain.min()) >= 0, name
        assert found.gain.sum() > 0, name


def test_histograms_have_the_moments_of_the_values(prepared: Prepared) -> None:
    seen = [all_tensors(prepared.graph, tensor) for tensor in prepared.tensors]
    for name, found in prepared.statistics.items():
        values = np.concatenate([maps[name].reshape(len(found.low), -1) for maps in seen], axis=1)
        width = (found.high - found.low) / BINS
        # one of each stretch of places is counted
        few = 6 * values.std(axis=1) / np.sqrt(min(values.shape[1], 512 * len(seen)))
        off = np.abs((found.values * found.histogram).sum(axis=1) - values.mean(axis=1))
        assert (off <= width + (few if values.shape[1] > 512 * len(seen) else 1e-6)).all(), name


def test_a_channel_that_never_changes(prepared: Prepared) -> None:
    calibration = Calibration(prepared.graph, prepared.spec)
    flat = [np.full_like(prepared.tensors[0], 0.25)]
    calibration.run(lambda: flat)
    found = calibration.statistics["images"]
    assert found.low.tolist() == found.high.tolist() == [0.25] * 3
    np.testing.assert_allclose(found.histogram.sum(axis=1), 1)
    np.testing.assert_allclose(found.values, 0.25)
    assert all(np.isfinite(part).all() for part in found.reach())


def test_the_same_seed_gives_the_same(prepared: Prepared) -> None:
    pairs = [Calibration(prepared.graph, prepared.spec, seed) for seed in (0, 0, 1)]
    for calibration in pairs:
        calibration.run(lambda: prepared.tensors[:2])
    places = [calibration.importance_of_places(prepared.tensors[:1]) for calibration in pairs]
    same, other = (
        all(
            np.array_equal(getattr(pairs[0].statistics[name], part), getattr(calibration.statistics[name], part))
            for name in pairs[0].statistics
            for part in ("low", "high", "histogram", "energy", "gain")
        )
        for calibration in pairs[1:]
    )
    assert same
    assert not other
    for name, maps in places[0].items():
        np.testing.assert_array_equal(maps, places[1][name])


def test_memory_does_not_grow_with_pictures(prepared: Prepared) -> None:
    shape = prepared.tensors[0].shape

    def stream(count: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(0)
        for _ in range(count):
            yield rng.random(shape, dtype=np.float32)

    peaks = []
    for count in (8, 64):
        calibration = Calibration(prepared.graph, prepared.spec)
        tracemalloc.start()
        calibration.run(lambda count=count: stream(count))  # type: ignore[misc]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.1 + 50_000


def test_importance_of_places(prepared: Prepared) -> None:
    found = prepared.calibration.importance_of_places(prepared.tensors)
    convolutions = [node.outputs[0] for node in prepared.graph.graph if node.op_type == "Conv"]
    assert set(found) == {value.name for value in convolutions}
    for value in convolutions:
        maps = found[value.name or ""]
        assert len(maps) == len(prepared.tensors)
        assert maps[0].shape == tuple(value.shape or ())[2:]
        assert min(array.min() for array in maps) >= 0.5
        assert np.mean(maps) <= 1 + 1e-5


def random_statistics(seed: int, channels: int = 6) -> TensorStatistics:
    rng = np.random.default_rng(seed)
    low = rng.normal(-1, 1, channels)
    histogram = rng.random((channels, BINS)) ** 8
    histogram /= histogram.sum(axis=1, keepdims=True)
    energy = rng.random((channels, BINS)) ** 20
    return TensorStatistics(low, low + rng.uniform(0.1, 9, channels), histogram, energy, rng.random(channels))


@pytest.mark.parametrize("below", [1.0, 0.1])
def test_reach_against_brute_force(below: float) -> None:
    for seed in range(6):
        found = random_statistics(seed)
        reach = found.reach(below)
        values = found.values
        for channel in range(len(found.low)):
            energy = found.energy[channel]
            for sign, slope, result in ((-1, below, reach[0]), (1, 1.0, reach[1])):
                side = np.maximum(sign * values[channel], 0)
                enough = [
                    r
                    for r in np.unique(side)
                    if slope**2 * (energy * np.maximum(side - r, 0) ** 2).sum() <= (r / 255) ** 2 / 12 * energy.sum()
                ]
                # the histogram has a part in a million, too
                steps = np.unique(side)
                at = np.searchsorted(steps, result[channel])
                assert abs(at - np.searchsorted(steps, min(enough))) <= 1, (seed, channel, sign)


def test_reach_ends_at_what_was_seen() -> None:
    for seed in range(6):
        found = random_statistics(seed)
        below, above = found.reach()
        assert (below >= 0).all()
        assert (below <= np.maximum(-found.low, 0)).all()
        assert (above >= 0).all()
        assert (above <= np.maximum(found.high, 0)).all()


def test_scaled_statistics_are_those_of_scaled_values(prepared: Prepared) -> None:
    found = prepared.statistics["images"]
    scaled = found.scaled(np.array([2.0, 4, 0.5]))
    np.testing.assert_allclose(scaled.values, found.values / np.array([[2.0], [4], [0.5]]))
    # an error of one on a value divided by 2 is one of 2 on the value
    np.testing.assert_allclose(scaled.gain, found.gain * [4, 16, 0.25])
    np.testing.assert_allclose(scaled.energy, found.energy * np.array([[4], [16], [0.25]]))


def test_join_keeps_weights_and_means() -> None:
    parts = [random_statistics(seed, 3) for seed in range(3)]
    weights = [part.energy for part in parts]
    values, shares = join(parts, 2048, weights)
    assert (np.diff(values) > 0).all()
    assert (shares > 0).all()
    total = sum(float(weight.sum()) for weight in weights)
    mean = sum(float((weight * part.values).sum()) for weight, part in zip(weights, parts, strict=True))
    assert shares.sum() == pytest.approx(total)
    assert (shares * values).sum() == pytest.approx(mean)


def test_join_of_nothing() -> None:
    part = random_statistics(0)
    values, shares = join([part], 16, [np.zeros_like(part.energy)])
    assert (values.tolist(), shares.tolist()) == ([0.0], [0.0])
