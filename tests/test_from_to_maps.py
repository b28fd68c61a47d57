"""From-to maps against a loop over pixels, in place, in any layout, and at memory speed."""

import time
import tracemalloc

import numpy as np
import pytest

from wusu_lib import transitions


def random_maps(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Two maps of class indices with unlabelled pixels; half of the pixels keep their class."""
    rng = np.random.default_rng(seed)
    before, other = rng.integers(0, 12, (2, *shape), dtype=np.uint8)
    return before, np.where(rng.random(shape) < 0.5, before, other)


def by_loop(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The definition, pixel by pixel."""
    pairs = [(a, b) for a in range(1, 12) for b in range(1, 12) if a != b]
    number = {pair: n for n, pair in enumerate(pairs, start=1)}
    labels = [
        255 if 0 in (a, b) else number.get((a, b), 0)
        for a, b in zip(before.ravel().tolist(), after.ravel().tolist(), strict=True)
    ]
    return np.array(labels, dtype=np.uint8).reshape(before.shape)


def test_every_pair_of_classes():
    before, after = (a.astype(np.uint8) for a in np.divmod(np.arange(144), 12))
    np.testing.assert_array_equal(transitions.from_to(before, after), by_loop(before, after))
    np.testing.assert_array_equal(transitions.from_to(before, after).reshape(12, 12), transitions.LABEL)


@pytest.mark.parametrize("shape", [(), (0, 5), (1,), (37, 53), (2, 3, 19, 23)])
def test_any_shape(shape):
    before, after = random_maps(1, shape)
    np.testing.assert_array_equal(transitions.from_to(before, after), by_loop(before, after))


def test_more_than_one_block_and_maps_that_are_not_contiguous(monkeypatch):
    before, after = random_maps(2, (64, 50))
    expected = by_loop(before, after)
    monkeypatch.setattr(transitions, "BLOCK", 150)
    np.testing.assert_array_equal(transitions.from_to(before, after), expected)
    np.testing.assert_array_equal(transitions.from_to(before.T, after.T), expected.T)
    np.testing.assert_array_equal(transitions.from_to(before[::2, 3:], after[::2, 3:]), expected[::2, 3:])


@pytest.mark.parametrize("target", [0, 1])
def test_in_place(target):
    pair = random_maps(3, (300, 1000))
    expected = by_loop(*pair)
    result = transitions.from_to(*pair, out=pair[target])
    assert result is pair[target]
    np.testing.assert_array_equal(result, expected)


def test_nothing_is_written_where_a_map_is_wrong():
    before, after = random_maps(4, (8, 8))
    after[-1, -1] = 12
    kept = before.copy()
    with pytest.raises(ValueError, match=r"after holds \[12\]; expected class indices 0 to 11"):
        transitions.from_to(before, after, out=before)
    np.testing.assert_array_equal(before, kept)


def test_refuses_other_shapes_and_types():
    before, after = random_maps(5, (4, 4))
    with pytest.raises(ValueError, match=r"before has shape \(4, 4\) but after \(3, 4\)"):
        transitions.from_to(before, after[1:])
    with pytest.raises(ValueError, match="after has type int64; expected uint8"):
        transitions.from_to(before, after.astype(np.int64))
    with pytest.raises(ValueError, match=r"out: expected uint8 \(4, 4\), got int64 \(4, 4\)"):
        transitions.from_to(before, after, out=np.empty((4, 4), np.int64))


def best_of(call, times: int = 5) -> float:
    """Seconds of the fastest of some calls."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return min(took)


def test_faster_than_a_look_up_in_numpy():
    # Alone on two cores: 1,100 Mpx/s against 120 of the look-up; as a ratio, so that a busy machine does not
    # matter.
    before, after = random_maps(6, (2000, 2000))
    out = np.empty_like(before)
    fast = best_of(lambda: transitions.from_to(before, after, out))
    assert best_of(lambda: transitions.LABEL[before, after]) > 2.5 * fast


def test_memory_is_bounded():
    before, after = random_maps(7, (3000, 3000))
    tracemalloc.start()
    transitions.from_to(before, after, out=before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * transitions.BLOCK
