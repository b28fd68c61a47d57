"""Windows give what the whole image would where the reach allows, without seams, in bounded memory."""

import tracemalloc

import numpy as np
import pytest
from small_scenes import Global, Local, noise, predictor, write_scene

from wusu_lib.legend import LabelSpace
from wusu_lib.scenes import rasters, sweep
from wusu_lib.scenes.sweep import Job, Tiling, _sweep, strips


def job_of(path, tiles, batch=8) -> Job:
    return Job((rasters.Layer(str(path), rasters.check(path, "image")),), tiles, batch, 1)


def blended(job, predictor) -> np.ndarray:
    """Probabilities [K, H, W] of a whole scene."""
    panels = []
    for panel in range(len(job.panels)):
        with job.layers[0].open() as reader:
            sweep = _sweep(job, reader, predictor, panel, 0, len(job.rows.starts), lambda _: None)
            panels.append(np.concatenate([part.copy() for part, _ in sweep], axis=1))
    return np.concatenate(panels, axis=2)


def at_once(image, predictor) -> np.ndarray:
    return predictor.probabilities(image[None], np.ones((1, *image.shape[1:]), dtype=bool))[0].numpy()


def whole(job, predictor) -> np.ndarray:
    """All strips of a scene: [dates + 1, H, W]."""
    parts = [
        np.concatenate(list(strips(job, predictor, panel, 0, len(job.rows.starts))), axis=1)
        for panel in range(len(job.panels))
    ]
    return np.concatenate(parts, axis=2)


@pytest.mark.parametrize("size", [(150, 210), (64, 64), (65, 300), (112, 112), (40, 130)])
def test_equal_to_the_whole_image_where_the_reach_allows(size, tmp_path):
    image = noise(*size)
    path = write_scene(tmp_path / "a.tif", image)
    model = predictor(Local)
    expected = at_once(image, model)
    found = blended(job_of(path, Tiling(64, 16, Local.reach)), model)
    # A side shorter than a window is mirrored where the whole image ends: there the model sees other pixels.
    inside = np.s_[:, : size[0] - (Local.reach if size[0] < 64 else 0)]
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-6)


def test_without_a_margin_the_ends_of_windows_show(tmp_path):
    image = noise(150, 210)
    model = predictor(Local)
    found = blended(job_of(write_scene(tmp_path / "a.tif", image), Tiling(64, 16, 0)), model)
    assert np.abs(found - at_once(image, model)).max() > 1e-3


def step(probabilities, columns) -> float:
    """Mean change of the probabilities from a column to the next, at the given columns."""
    return float(np.abs(np.diff(probabilities, axis=2))[:, :, [c - 1 for c in sorted(columns)]].mean())


def test_no_seams_with_a_model_that_sees_all_of_its_window(tmp_path):
    path = write_scene(tmp_path / "a.tif", noise(128, 64 * 15))
    model = predictor(Global, window=64)
    patches = set(range(8, 64 * 15, 8))  # the grid of the model itself shows a little
    ratios = {}
    for name, tiles in (("beside", Tiling(64, 0, 0)), ("blended", Tiling(64, 32, 8))):
        job = job_of(path, tiles)
        ends = {start + 64 for start in job.columns.starts} - {64 * 15}
        borders = (set(job.columns.starts) - {0}) | ends
        found = blended(job, model)
        ratios[name] = step(found, borders) / step(found, patches - borders)
    assert ratios["beside"] > 3
    assert ratios["blended"] < 1.15


def test_a_strip_is_the_same_whoever_computes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep.Axis.panels, "__defaults__", (100,))
    paths = [write_scene(tmp_path / f"{n}.tif", noise(300, 280, n)) for n in range(2)]
    job = Job(rasters.pair(*paths), Tiling(64, 32, 4), 3, 1)
    model = predictor(Global, window=64)
    assert len(job.panels) > 2
    for panel in range(len(job.panels)):
        full = list(strips(job, model, panel, 0, len(job.rows.starts)))
        for first in range(len(full)):
            (alone,) = strips(job, model, panel, first, first + 1)
            np.testing.assert_array_equal(alone, full[first])
            top, bottom, left, right = job.place(panel, first)
            assert alone.shape == (3, bottom - top, right - left)


@pytest.mark.parametrize(("background", "classes"), [("ignore", "all"), ("class", "merged")])
def test_outputs_become_class_indices(background, classes, tmp_path):
    image = noise(64, 64)
    model = predictor(Local, labels=LabelSpace(background, classes))
    index, confidence = whole(job_of(write_scene(tmp_path / "a.tif", image), Tiling(64, 0, 0)), model)
    likely = at_once(image, model)
    np.testing.assert_array_equal(index, np.array(model.class_indices)[likely.argmax(axis=0)])
    expected = np.where(index > 0, np.rint(255 * likely.max(axis=0)), 0)
    np.testing.assert_array_equal(confidence, expected)
    assert set(np.unique(index)) <= set(model.class_indices)


def test_pixels_without_data_have_no_class_and_do_not_reach_the_model(tmp_path):
    image = noise(200, 260)
    image[:, :130, :140] = 0
    image[0, 150, 200] = 0  # a dark pixel: one band of four has the value
    seen = []
    model = predictor(Local)
    read = model.probabilities
    model.probabilities = lambda images, valid: seen.append(valid.sum((1, 2)).min()) or read(images, valid)
    job = job_of(write_scene(tmp_path / "a.tif", image, nodata=0), Tiling(64, 16, 2))
    ticks = []
    index = np.concatenate([s[0] for s in strips(job, model, 0, 0, len(job.rows.starts), ticks.append)])
    np.testing.assert_array_equal(index == 0, (image == 0).all(axis=0))
    assert min(seen) > 0
    assert sum(ticks) == len(job.rows.starts) * len(job.columns.starts)
    image[:, :130, :140] = 255  # what stands where there is no data makes no difference
    other = write_scene(tmp_path / "b.tif", image, nodata=255)
    np.testing.assert_array_equal(whole(job_of(other, job.tiling), predictor(Local))[0], index)


@pytest.mark.parametrize("size", [(1, 1), (5, 70), (63, 20)])
def test_a_scene_smaller_than_a_window(size, tmp_path):
    job = job_of(write_scene(tmp_path / "a.tif", noise(*size)), Tiling.usual(64))
    found = whole(job, predictor(Global, window=64))
    assert found.shape == (2, *size)
    assert found[0].min() >= 1


def peak(job, model) -> int:
    """Highest memory of arrays while all strips are computed and let go, in bytes."""
    tracemalloc.start()
    for panel in range(len(job.panels)):
        for _ in strips(job, model, panel, 0, len(job.rows.starts)):
            pass
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest


def test_memory_does_not_grow_with_the_scene(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep.Axis.panels, "__defaults__", (512,))
    model = predictor(Local)
    sizes = {"small": (300, 600), "high": (1500, 600), "wide": (300, 3000)}
    jobs = {
        name: job_of(write_scene(tmp_path / f"{name}.tif", noise(*size)), Tiling.usual(64))
        for name, size in sizes.items()
    }
    peak(jobs["small"], model)
    peaks = {name: peak(job, model) for name, job in jobs.items()}
    assert max(peaks.values()) < 1.1 * peaks["small"]
