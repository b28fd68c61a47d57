"""One use of the tool ``map_change``, from checked parameters to maps and polygons."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wusu_lib import metrics, parameters, provenance, runs
from wusu_lib.change import count_transitions, learn_prior
from wusu_lib.change.prior import Prior
from wusu_lib.scenes import rasters
from wusu_lib.scenes.example import example
from wusu_lib.scenes.maps import SceneMaps, change_map
from wusu_lib.scenes.out_folder import writable
from wusu_lib.scenes.page import Page, page
from wusu_lib.scenes.polygons import polygons
from wusu_lib.scenes.polygons_files import PolygonFiles, write_polygons
from wusu_lib.scenes.predictor import Predictor, load
from wusu_lib.scenes.request import MapChangeParameters
from wusu_lib.scenes.tiling import Tiling

if TYPE_CHECKING:
    import geopandas

DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_:]?([01]\d)?[-_:]?([0-3]\d)?(?!\d)")


@dataclass(frozen=True)
class Written:
    """What was written of the changes."""

    polygons: PolygonFiles
    page: Page


@dataclass(frozen=True)
class Task:
    """Checked parameters and their images. ``truth``: from-to labels uint8 [H, W], known of the mini city."""

    parameters: MapChangeParameters
    t1: Path
    t2: Path
    dates: tuple[str, str]
    out: Path
    layers: tuple[rasters.Layer, rasters.Layer]
    truth: np.ndarray | None = None

    @cached_property
    def predictor(self) -> Predictor:
        """The model of ``run``: read where it is stored, trained where an experiment's run is not."""
        stated = self.parameters
        return load(_run(stated), **({} if _stored(stated) else _changed(stated)))

    def maps(self) -> SceneMaps:
        """Both class maps, the from-to map and the confidence; what is there already is not made again."""
        return change_map(
            self.predictor,
            self.t1,
            self.t2,
            self.out,
            tiling=self._tiling(),
            tolerance=self.parameters.tolerance,
            prior=self._prior() if self.parameters.decode == "map" else None,
            engine=self.parameters.engine,
        )

    def changes(self, maps: SceneMaps) -> "geopandas.GeoDataFrame":
        """The changes that were asked for, as polygons."""
        stated, classes = self.parameters, self.predictor.classes
        return polygons(
            maps.fromto, maps.confidence, stated.targets, stated.minimum_area, self.dates, classes=classes
        )

    def write(self, changes: "geopandas.GeoDataFrame") -> "Written":
        """The files of the changes: GeoPackage, GeoJSON where there is a CRS, and the page."""
        files = write_polygons(changes, self.out)
        classes = self.predictor.classes
        return Written(files, page(self.t1, self.t2, changes, self.out, dates=self.dates, classes=classes))

    def _tiling(self) -> Tiling:
        window = self.parameters.window or self.predictor.window
        overlap = self.parameters.overlap
        return Tiling(window, overlap, min(window // 16, overlap // 4)) if overlap else Tiling.usual(window)

    def _prior(self) -> Prior:
        """The transition prior of the run's own training data, all its intervals together."""
        from wusu_lib import experiment

        stated = self.parameters
        if _stored(stated):
            run = runs.Run(Path(_run(stated)))
            kind = parameters.schema_for(run.parameters)
            opened = experiment.open_experiment(parameters.parse(kind, run.parameters))
        else:
            opened = experiment.open_notebook(stated.run, **_changed(stated))
        counted = count_transitions(opened.table[opened.table["split"] == "train"])
        return learn_prior([metrics.merge(np.sum(list(counted.values()), axis=0), self.predictor.classes)])


def prepare(namespace: Mapping[str, Any]) -> Task:
    """The task that a notebook's ``globals()`` (or a plain dictionary of parameters) describe.

    Checks every parameter, both images and the folder of the results; no model is loaded. Raises ValueError
    listing every fault of the parameters, or as ``rasters.pair``, and FileNotFoundError for a file, a folder
    or an experiment that is not there.
    """
    stated = parameters.from_namespace(namespace, MapChangeParameters)
    _run(stated)
    out = writable(stated.out or runs.root() / "map_change")
    if not stated.t1:
        city = example(out / "images")
        layers = rasters.pair(city.t1, city.t2)
        return Task(stated, city.t1, city.t2, city.dates, out, layers, city.truth)
    t1, t2 = _located(stated.t1), _located(stated.t2)
    dates = stated.date1 or _date(t1, "t1"), stated.date2 or _date(t2, "t2")
    if dates[0] == dates[1]:
        dates = (f"{dates[0]} (t1)", f"{dates[1]} (t2)")
    return Task(stated, t1, t2, dates, out, rasters.pair(t1, t2))


def _changed(stated: MapChangeParameters) -> dict[str, Any]:
    return {"scale": stated.scale, "data_root": stated.data_root}


def _stored(stated: MapChangeParameters) -> bool:
    """Whether ``run`` is the folder of a stored run, and not the name of an experiment."""
    return runs.is_run(Path(_run(stated)))


def _run(stated: MapChangeParameters) -> str:
    """Folder or experiment. Raises FileNotFoundError where ``run`` is neither."""
    folder = _located(stated.run)
    if runs.is_run(folder):
        return str(folder)
    notebooks = provenance.REPOSITORY / "notebooks"
    if not (notebooks / f"{stated.run}.ipynb").is_file():
        known = ", ".join(sorted(path.stem for path in notebooks.glob("exp*.ipynb")))
        raise FileNotFoundError(
            f"run: got {stated.run!r}, which is neither the folder of a stored run nor an "
            f"experiment; experiments: {known}"
        )
    return stated.run


def _located(path: str) -> Path:
    """A path from here, else from the repository: a notebook's folder need not be its caller's."""
    here, there = Path(path).expanduser(), provenance.REPOSITORY / path
    return there if there.exists() and not here.exists() else here


def _date(path: Path, fallback: str) -> str:
    """The date in the file's own tag, else in its name: "2015" or "2015-04-22"."""
    with rasters.opened(path, fallback) as image:
        tag = str(image.tags().get("TIFFTAG_DATETIME", ""))
    for text in (tag, path.stem):
        found = DAY.search(text)
        if found:
            year, month, day = found.groups()
            return f"{year}-{month}-{day}" if month and day else year
    return fallback
