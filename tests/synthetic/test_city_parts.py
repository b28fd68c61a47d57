"""Parts of the mini city's generator, one at a time."""

from dataclasses import replace

import numpy as np
import pytest

from wusu_lib.synthetic import layout, optics, scene
from wusu_lib.synthetic.acquisition import ACQUISITIONS
from wusu_lib.synthetic.street_grid import Frame


def test_history_takes_plausible_steps_only() -> None:
    plan = layout.plan((1152, 896), 0.4, np.random.default_rng(0))
    before, between, after = layout.unfold(plan, np.random.default_rng(1))
    steps = [(a[k], b[k]) for a, b in ((before, between), (between, after)) for k in a if a[k] != b[k]]
    assert len(steps) > 10
    assert all(new in layout.NEXT[old] for old, new in steps)


def test_frame_inverts() -> None:
    frame = Frame(0.42, 7.0, 430.0, (1.0, 2.0))
    y, x = np.meshgrid(np.linspace(0, 6400, 9), np.linspace(0, 6656, 9))
    back_y, back_x = frame.yx(*frame.uv(y, x))
    np.testing.assert_allclose(back_y, y, atol=0.01)
    np.testing.assert_allclose(back_x, x, atol=0.01)


def test_shadow_falls_away_from_the_sun() -> None:
    """Sun in the south at 45 degrees: a post of 10 m darkens 10 px to the north of it, and nothing else."""
    south = replace(ACQUISITIONS["HS", 15], sun_azimuth=180.0, sun_elevation=45.0)
    height = np.zeros((40, 9), dtype=np.uint8)
    height[30, 4] = 10
    dark = optics.shadows(height, south)
    assert np.argwhere(dark).tolist() == [[y, 4] for y in range(20, 30)]


def test_dates_are_registered_to_less_than_a_pixel() -> None:
    """The blur moves a point by the date's shift, and by less than one pixel."""
    point = np.zeros((1, 21, 21), dtype=np.float32)
    point[0, 10, 10] = 1
    for acquisition in ACQUISITIONS.values():
        seen = optics.blur(point, acquisition.shift)[0]
        y, x = (float((seen * grid).sum() / seen.sum()) - 10 for grid in np.mgrid[:21, :21])
        assert np.hypot(y, x) < 1
        # correlation looks the shift up, so the point moves against it
        assert (-y, -x) == pytest.approx(acquisition.shift, abs=0.02)


def test_nir_has_no_detail_of_its_own_below_4_m() -> None:
    """A pattern that only NIR has at 1 m comes back through the panchromatic band, and so in all bands."""
    bands = np.full((4, 64, 64), 0.2, dtype=np.float32)
    bands[3, :, ::2] += 0.2
    sharp = optics.pan_sharpen(bands)[:, 8:-8, 8:-8]
    contrast = (sharp.max(axis=(1, 2)) - sharp.min(axis=(1, 2))) / sharp.mean(axis=(1, 2))
    np.testing.assert_allclose(contrast, contrast[0], rtol=0.02)
    assert contrast[3] < 0.3  # 0.67 before


def test_every_use_can_be_drawn() -> None:
    used = {use for alike in layout.MANDATORY for use in alike} | set(layout.REST)
    used |= {use for following in layout.NEXT.values() for use in following}
    assert used <= set(scene.DRAWERS)
    assert set(layout.NEXT) <= set(scene.DRAWERS)
