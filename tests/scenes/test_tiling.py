"""Windows cover every pixel, lie inside, and their weights add to one and have no step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wusu_lib.scenes.sweep import Tiling

tilings = st.integers(1, 64).flatmap(
    lambda side: st.integers(0, side // 2).flatmap(
        lambda overlap: st.integers(0, max(0, (overlap - 1) // 2)).map(
            lambda margin: Tiling(side, overlap, margin)
        )
    )
)


def added(axis) -> np.ndarray:
    total = np.zeros(max(axis.length, axis.tiling.window))
    for start, weight in zip(axis.starts, axis.weights, strict=True):
        total[start : start + len(weight)] += weight
    return total


@given(tilings, st.integers(1, 500))
def test_windows_cover_the_axis_and_their_weights_add_to_one(tiling, length):
    axis = tiling.along(length)
    assert axis.starts[0] == 0
    assert axis.starts[-1] + tiling.window == max(length, tiling.window)
    assert list(axis.starts) == sorted(set(axis.starts))
    np.testing.assert_allclose(added(axis), 1, atol=1e-6)
    assert axis.weights.min() >= 0


@given(tilings, st.integers(1, 500))
def test_strips_and_panels_part_the_axis(tiling, length):
    axis = tiling.along(length)
    finished = [axis.finished(n) for n in range(len(axis.starts))]
    assert [p for a, b in finished for p in range(a, b)] == list(range(length))
    for number, (start, _) in enumerate(finished):
        for earlier in range(axis.reaching(number)):
            assert axis.starts[earlier] + tiling.window <= start
    panels = axis.panels(150)
    assert [n for a, b in panels for n in range(a, b)] == list(range(len(axis.starts)))


def test_weights_literal():
    axis = Tiling(8, 4, 1).along(12)
    assert axis.starts == (0, 4)
    np.testing.assert_allclose(axis.weights[0], [1, 1, 1, 1, 1, 0.75, 0.25, 0])
    np.testing.assert_allclose(axis.weights[1], [0, 0.25, 0.75, 1, 1, 1, 1, 1])


def test_the_last_window_is_shifted_back():
    assert Tiling(8, 2, 0).along(17).starts == (0, 6, 9)
    assert Tiling(8, 2, 0).along(5).starts == (0,)


def test_the_usual_tiling():
    assert Tiling.usual(512) == Tiling(512, 128, 32)
    assert Tiling.usual(3) == Tiling(3, 0, 0)


@pytest.mark.parametrize("wrong", [(0, 0, 0), (8, 5, 0), (8, 4, 2), (8, -1, 0), (8, 0, 1), (8, 2, -1)])
def test_windows_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Tiling(*wrong)
