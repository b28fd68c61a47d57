"""The tool ``map_change``: from what it was told to maps, polygons and a page.

Its parameters are checked before any work. Without images it takes a scene of the mini city, whose truth
is known.
"""

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from wusu_lib import provenance, synthetic
from wusu_lib.change.codebook import count_transitions
from wusu_lib.change.decoding import Prior, learn_prior
from wusu_lib.change.finding import FULL, LEANING, judged, measured, true_objects
from wusu_lib.data import inspection, tree
from wusu_lib.data.masks import read_index
from wusu_lib.experiment import notebooks, parameters, segmentation
from wusu_lib.experiment.parameters import Label, Names
from wusu_lib.experiment.segmentation import Predictor
from wusu_lib.files import claim, faults_told, located, require_places
from wusu_lib.imagery import read
from wusu_lib.legend import ELEVEN, LabelSpace
from wusu_lib.measures import classes
from wusu_lib.runs import store
from wusu_lib.runs.store import Run, is_run
from wusu_lib.scenes import finding, rasters
from wusu_lib.scenes.finding import LIGHT, Finder
from wusu_lib.scenes.maps import KIND, OUTPUTS, STATE, Radiometry, SceneMaps, change_map
from wusu_lib.scenes.polygons import (
    PolygonFiles,
    label_targets,
    object_polygons,
    polygons,
    resolve_targets,
    write_polygons,
)
from wusu_lib.scenes.sweep import Job, Tiling, strips
from wusu_lib.scenes.viewer.page import Page, write_page
from wusu_lib.transitions import UNLABELLED, from_to

if TYPE_CHECKING:
    import geopandas

    from wusu_lib.experiment.experiment import Experiment


# What the tool ``map_change`` can be told, checked before any work.


class MapChangeParameters(BaseModel):
    """Two images, a model, and what is asked of the changes between them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    name: str = Field("map_change", description="the tool's name, under which errors speak of it")
    t1: Label = Field("", examples=["2015.tif"], description="image of the first date; empty: the mini city")
    t2: Label = Field("", examples=["2018.tif"], description="image of the second date")
    date1: Label = Field("", examples=["2015"], description="label of the first date; empty: from the file")
    date2: Label = Field("", examples=["2018"], description="label of the second date")
    run: Label = Field("exp05", examples=["exp05"], description="experiment, or the folder of a stored run")
    scale: Literal["demo", "full"] = Field("demo", description="of the experiment's run")
    data_root: Label = Field("", description="data of the experiment's run; empty: the mini city")
    unlabelled: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = Field(
        None, examples=[255], description="code of unlabelled ground in the masks of those data, beside 0"
    )
    targets: Names = Field([], examples=[["Building", "Road"]], description="new classes; empty: all")
    minimum_area: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        50.0, examples=[50.0], description="m2 that a change has at least"
    )
    out: Label = Field("", description="folder of the results; empty: runs/map_change")
    window: Annotated[int, Field(ge=0, le=4096)] = Field(
        0, examples=[512], description="px; 0: as in training"
    )
    overlap: Annotated[int, Field(ge=0)] = Field(0, examples=[128], description="px; 0: a quarter")
    tolerance: Annotated[int, Field(ge=0, le=32)] = Field(
        1, examples=[1], description="px of misregistration; slivers of change so narrow are taken back"
    )
    decode: Literal["objects", "argmax", "map"] = Field(
        "objects",
        description="objects scored by both dates; or class maps compared, each alone or decoded together",
    )
    minimum_precision: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.8, examples=[0.8], description="share of the objects that are right on known ground"
    )
    radiometry: Radiometry = Field(
        LIGHT, description="light of the images: as it is, or each brought to that of the training images"
    )
    engine: Literal["local", "ray"] = Field("local", description="this machine, or a Ray cluster")

    @field_validator("targets")
    @classmethod
    def _known(cls, targets: list[str]) -> list[str]:
        return list(resolve_targets(targets)) if targets else []

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.t1) != bool(self.t2):
            given, missing = ("t1", "t2") if self.t1 else ("t2", "t1")
            raise ValueError(f"{missing}: missing, though {given} is given; give both images or neither")
        if self.scale == "full" and not self.data_root and "/" not in self.run:
            raise ValueError('data_root: must be given with scale="full", for instance "/data/OpenWUSU512"')
        if self.overlap and self.window and self.overlap > self.window // 2:
            raise ValueError(f"overlap: got {self.overlap}; expected at most half the window, {self.window}")
        return self


# A scene of the mini city with its truth: a corner of an area, put together again from its patches.

FOLDER, AREA, DATES = "test", "JA", (15, 18)  # ground that no model learnt from or was chosen by
CORNER = 9  # rows and columns of patches, the last ones: about a square kilometre


@dataclass(frozen=True)
class Example:
    """Images of two dates, paths; ``classes``: annotated class index [2, H, W]; ``dates`` as written."""

    t1: Path
    t2: Path
    classes: np.ndarray
    dates: tuple[str, str]

    @property
    def truth(self) -> np.ndarray:
        """Annotated from-to labels uint8 [H, W]."""
        return from_to(*self.classes)


def example_scene(folder: str | Path) -> Example:
    """Write the two images to ``folder`` as GeoTIFFs. They have no CRS: the city is nowhere on Earth."""
    table = inspection.inspect(tree.demo_city()).table
    mine = table[(table["folder"] == FOLDER) & (table["area"] == AREA)]
    paths, classes = [], []
    place = claim(folder, "images")
    for date in DATES:
        rows = _corner(mine[mine["date"] == date].sort_values("index"), synthetic.CITIES["small"])
        image = _mosaic(rows, [read(path) for path in rows["image"]])
        with faults_told(place):
            paths.append(rasters.write_image(place / f"mini_city_20{date}.tif", image))
        classes.append(_mosaic(rows, [read_index(mask)[None] for mask in rows["mask"]])[0])
    return Example(paths[0], paths[1], np.stack(classes), (f"20{DATES[0]}", f"20{DATES[1]}"))


def _corner(rows: pd.DataFrame, city: dict[str, Any]) -> pd.DataFrame:
    """The last ``CORNER`` rows and columns of the patches of an area and a date, in order of their index."""
    columns = city["cols"][1]
    first = max(city["rows"] - CORNER, 0), max(columns - CORNER, 0)
    y, x = np.divmod(rows["index"], columns)
    kept = rows[(y >= first[0]) & (x >= first[1])]
    return kept.assign(y=(y - first[0]) * city["stride"], x=(x - first[1]) * city["stride"])


def _mosaic(rows: pd.DataFrame, arrays: list[np.ndarray]) -> np.ndarray:
    """One array [C, H, W] of patches [C, size, size] at their places."""
    size = arrays[0].shape[-1]
    whole = np.zeros((len(arrays[0]), rows["y"].max() + size, rows["x"].max() + size), arrays[0].dtype)
    for y, x, array in zip(rows["y"], rows["x"], arrays, strict=True):
        whole[:, y : y + size, x : x + size] = array
    return whole


# How many of the true changes were found, where the truth is known.

HALF = 0.5  # share of its pixels from which on an object counts as found, or as right


def judge_targets(
    truth: np.ndarray,
    changes: "geopandas.GeoDataFrame",
    targets: Sequence[str],
    minimum: float,
    labels: LabelSpace = ELEVEN,
) -> pd.DataFrame:
    """One row a target: true, found, reported and right objects; ``reported`` leaves out what has no truth.

    ``truth``: from-to labels uint8 [H, W]; ``changes``: polygons in pixel coordinates. A true object is an
    area of at least ``minimum`` pixels (8 neighbours) that changed to the target. It is found if at least
    half of it lies in polygons of that target; a reported object is right if at least half of its labelled
    pixels are truly such a change.
    """
    from scipy import ndimage

    chosen = resolve_targets(targets, labels)
    wanted = label_targets(chosen)[truth]
    rows = {}
    for number, name in enumerate(chosen, start=1):
        mine = _drawn(changes[changes["target"] == name], truth.shape)
        area, _ = ndimage.label(wanted == number, structure=np.ones((3, 3)))
        size, covered = _sizes(area), _sizes(area, mine > 0)
        large = size >= max(minimum, 1)
        labelled = truth != UNLABELLED
        reported, right = _sizes(mine, labelled), _sizes(mine, wanted == number)
        rows[name] = {
            "true": int(large.sum()),
            "found": int((large & (covered >= HALF * size)).sum()),
            "reported": int((reported > 0).sum()),
            "right": int(((reported > 0) & (right >= HALF * reported)).sum()),
        }
    return pd.DataFrame(rows).T.rename_axis("target")


def judge_objects(
    classes: np.ndarray,
    changes: "geopandas.GeoDataFrame",
    targets: Sequence[str],
    minimum: float,
    labels: LabelSpace = ELEVEN,
) -> pd.DataFrame:
    """One row a target: true, reported and right objects, matched one to one (``change.finding.judged``).

    ``classes``: true class index uint8 [2, H, W]; ``changes``: polygons in pixel coordinates; ``minimum``:
    pixels of a true object.
    """
    rows = {}
    for name, indices in resolve_targets(targets, labels).items():
        mine = _drawn(changes[changes["target"] == name], classes.shape[1:])
        objects = measured(mine, np.full(mine.shape, FULL, dtype=np.uint8), 1)
        truth = true_objects(classes[0], classes[1], indices, max(1, round(minimum)))
        held = judged(objects, truth, name in LEANING)
        rows[name] = held.counts(np.ones(len(held.reported), dtype=bool))
    return pd.DataFrame(rows).T.rename_axis("target")


def _sizes(numbers: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """Pixels of each numbered area from 1 on, of those in ``where``."""
    counted = numbers.ravel() if where is None else numbers[where]
    return np.bincount(counted, minlength=int(numbers.max()) + 1)[1:]


def _drawn(changes: "geopandas.GeoDataFrame", shape: tuple[int, ...]) -> np.ndarray:
    """Number of the object in each pixel, int32 [H, W]; 0 = none."""
    from rasterio.features import rasterize

    pairs = list(zip(changes.geometry, changes["object"], strict=True))
    return rasterize(pairs, out_shape=shape, dtype="int32") if pairs else np.zeros(shape, dtype=np.int32)


def load(source: "Run | str | Path", *, seed: int | None = None, **changed: Any) -> Predictor:
    """The predictor of a stored segmentation run.

    ``source``: a run, the path of its folder, or the name of an experiment, whose run with the parameters of
    its definition, some of them ``changed`` (for instance scale="full", data_root="..."), is read where it is
    stored and trained where it is not. ``seed`` picks one of several; by default the first. Raises ValueError
    for a run of another kind and for a seed that there is no run of; otherwise errors as
    ``experiment.open_notebook``.
    """
    run = source if isinstance(source, Run) else _find(source, seed, changed)
    return segmentation.load(run)


def _find(source: str | Path, seed: int | None, changed: dict[str, Any]) -> Run:
    """A run by its folder, its own or an experiment's link to it, or by its experiment's name."""
    if is_run(Path(source)):
        return Run(Path(source))
    from wusu_lib.experiment import experiment

    opened = experiment.open_notebook(str(source), **changed)
    if seed is not None and seed not in opened.seeds:
        raise ValueError(f"seed: got {seed}; {opened.name} has {opened.seeds}")
    runs = opened.runs()
    return runs[0] if seed is None else runs[opened.seeds.index(seed)]


# One use of the tool ``map_change``, from checked parameters to maps and polygons.

DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_:]?([01]\d)?[-_:]?([0-3]\d)?(?!\d)")


@dataclass(frozen=True)
class Written:
    """What was written of the changes."""

    polygons: PolygonFiles
    page: Page


@dataclass(frozen=True)
class Task:
    """Checked parameters and their images. ``classes``: true index [2, H, W], known of the mini city."""

    parameters: MapChangeParameters
    t1: Path
    t2: Path
    dates: tuple[str, str]
    out: Path
    layers: tuple[rasters.Layer, rasters.Layer]
    classes: np.ndarray | None = None

    @cached_property
    def experiment(self) -> "Experiment":
        """The experiment of ``run`` with its data.

        To find objects its model learns unlabelled ground as a class: yards between houses are unlabelled,
        and a model that must give them a class joins the houses.
        """
        from wusu_lib.experiment import experiment

        stated = self.parameters
        if _stored(stated):
            run = store.Run(Path(_run(stated)))
            kind = notebooks.schema_for(run.parameters)
            return experiment.open_experiment(parameters.parse(kind, run.parameters, stored=True))
        opened = experiment.open_notebook(stated.run, **_changed(stated))
        return opened.variant(background="class") if stated.decode == "objects" else opened

    @cached_property
    def run(self) -> Run:
        """The run whose model maps the scene: read where it is stored, trained where it is not."""
        stated = self.parameters
        return Run(Path(_run(stated))) if _stored(stated) else self.experiment.runs()[0]

    @cached_property
    def predictor(self) -> Predictor:
        """The model of ``run``."""
        return segmentation.load(self.run)

    @cached_property
    def finder(self) -> Finder | None:
        """How objects are found, chosen on the run's own validation ground; None where maps are compared."""
        stated = self.parameters
        if stated.decode != "objects":
            return None
        targets = resolve_targets(stated.targets, self.predictor.labels)
        asked = targets, stated.minimum_precision, stated.radiometry
        return finding.stored(self.run, *asked) or finding.learn(self.experiment, self.run, *asked)

    def maps(self) -> SceneMaps:
        """Both class maps, the from-to map and the confidence; what is there already is not made again."""
        return change_map(
            self.predictor,
            self.t1,
            self.t2,
            self.out,
            tiling=self._tiling(),
            tolerance=self.parameters.tolerance,
            prior=self.prior,
            asked=self.finder.asked if self.finder else None,
            radiometry=self.parameters.radiometry,
            engine=self.parameters.engine,
        )

    def work(self) -> "Work":
        """How much is to be done for the maps, if none of it is stored."""
        asked = self.finder.asked if self.finder else None
        return work_of(Job(self.layers, self._tiling(), prior=self.prior, asked=asked), self.predictor)

    def changes(self, maps: SceneMaps) -> "geopandas.GeoDataFrame":
        """The changes that were asked for, as polygons."""
        stated, labels = self.parameters, self.predictor.labels
        if self.finder is not None:
            found = object_polygons(
                maps,
                self.finder.asked.targets,
                self.finder.rules,
                stated.minimum_area,
                self.dates,
                labels=labels,
            )
            learnt = self.run.parameters
            where = "full scale" if learnt["scale"] == "full" else "demo scale"
            where += "" if learnt["data_root"] else ", a made city"
            model = f"Model: {self.predictor.name} ({where}), made {str(self.run.record['finished'])[:10]}."
            found.attrs["measured"] = f"{model} {self.finder.sentence()}"
            return found
        return polygons(
            maps.fromto, maps.confidence, stated.targets, stated.minimum_area, self.dates, labels=labels
        )

    def write(self, changes: "geopandas.GeoDataFrame") -> "Written":
        """The files of the changes: GeoPackage, GeoJSON where there is a CRS, and the page."""
        files = write_polygons(changes, self.out)
        labels = self.predictor.labels
        return Written(
            files, write_page(self.t1, self.t2, changes, self.out, dates=self.dates, labels=labels)
        )

    def _tiling(self) -> Tiling:
        window = self.parameters.window or self.predictor.window
        overlap = self.parameters.overlap
        return Tiling(window, overlap, min(window // 16, overlap // 4)) if overlap else Tiling.usual(window)

    @cached_property
    def prior(self) -> Prior | None:
        """The transition prior of the run's own training data, all its intervals together, if asked for."""
        if self.parameters.decode != "map":
            return None
        opened = self.experiment
        counted = count_transitions(opened.table[opened.table["split"] == "train"])
        return learn_prior([classes.merge(np.sum(list(counted.values()), axis=0), self.predictor.labels)])


def prepare(namespace: Mapping[str, Any]) -> Task:
    """The task that a notebook's ``globals()`` (or a plain dictionary of parameters) describe.

    Checks every parameter, both images and the folder of the results; no model is loaded. Raises ValueError
    listing every fault of the parameters, or as ``rasters.pair``, and FileNotFoundError for a file, a folder
    or an experiment that is not there.
    """
    stated = notebooks.from_namespace(namespace, MapChangeParameters)
    _run(stated)
    images = [path for path in (stated.t1, stated.t2) if path]
    given = [path if re.match(rasters.ADDRESS, path) else _located(path) for path in images]
    out = claim(stated.out or store.root() / "map_change", KIND, given, OUTPUTS)
    require_places(out, (), [STATE, "images"])
    if not given:
        city = example_scene(out / "images")
        layers = rasters.pair(city.t1, city.t2)
        return Task(stated, city.t1, city.t2, city.dates, out, layers, city.classes)
    layers = rasters.pair(*given)
    _require_room(out, layers[0].grid, _layers(stated))
    t1, t2 = map(Path, given)
    dates = stated.date1 or _date(t1, "t1"), stated.date2 or _date(t2, "t2")
    if dates[0] == dates[1]:
        dates = (f"{dates[0]} (t1)", f"{dates[1]} (t2)")
    return Task(stated, t1, t2, dates, out, layers)


# How much work a scene is: said before it is done.

MAPS = 3  # bytes a pixel: two dates and the confidence, as strips, which are not compressed
SCORED = 2.5  # bytes a pixel of a target's score: its strips, and its file with overviews
MOST_BYTES = 8  # a pixel: the strips and the four maps; 7.2 were measured on maps of mere noise
MANY = 5  # times the windows that the pace is measured on; with fewer there is nothing to foresee


@dataclass(frozen=True)
class Work:
    """What a pair takes: ``windows`` of both dates, ``side`` pixels each; ``disk``, bytes at most.

    ``pace``: seconds a window on this machine, measured on ``measured`` of them; None if 0 were.
    """

    windows: int
    side: int
    disk: int
    measured: int = 0
    pace: float | None = None


def work_of(job: Job, predictor: Predictor) -> Work:
    """Windows, disk and time of a scene; the time from a row of windows in its middle, computed for nothing.

    A first window is not timed, since a model is slow at its first. No time is measured where the scene has
    hardly more windows than such a row, nor where its middle holds no data.
    """
    grid, side = job.grid, job.tiling.window
    scored = SCORED * (job.channels - MAPS)
    work = Work(job.all_windows, side, round((MOST_BYTES + scored) * grid.height * grid.width))
    across = min(job.batch, job.panels[0][1])
    row = _middle(job, side + (across - 1) * (side - job.tiling.overlap))
    many = row.all_windows * MANY <= work.windows
    measured = _windows_with_data(row) if many else 0
    if not measured:
        return work
    _computed(_middle(job, side), predictor)
    return replace(work, measured=measured, pace=_computed(row, predictor) / measured)


def _middle(job: Job, width: int) -> Job:
    """The job of one row of windows in the scene's middle, ``width`` pixels wide if the scene is."""
    grid = job.grid
    height, width = min(job.tiling.window, grid.height), min(width, grid.width)
    part = (grid.height - height) // 2, (grid.width - width) // 2, height, width
    return replace(job, layers=tuple(layer.cut(*part) for layer in job.layers))


def _windows_with_data(row: Job) -> int:
    """Windows of both dates that hold data: the model reads no others."""
    found = 0
    for layer in row.layers:
        with layer.open() as reader:
            _, valid = reader.read(0, 0, row.grid.height, row.grid.width)
        found += sum(bool(valid[:, left : left + row.tiling.window].any()) for left in row.columns.starts)
    return found


def _computed(row: Job, predictor: Predictor) -> float:
    """Seconds that the only strip of a job takes."""
    begun = time.monotonic()
    for _ in strips(row, predictor, 0, 0, 1):
        pass
    return time.monotonic() - begun


def _layers(stated: MapChangeParameters) -> int:
    """Bytes a pixel of what is computed, before it is written as maps."""
    return MAPS + (len(resolve_targets(stated.targets)) if stated.decode == "objects" else 0)


def _require_room(out: Path, grid: rasters.Grid, layers: int = MAPS) -> None:
    """Raise ValueError where the disk cannot hold what is computed of a scene, so many bytes a pixel."""
    needed, free = layers * grid.height * grid.width, shutil.disk_usage(out).free
    if needed > free:
        raise ValueError(
            f"out: the scene has {grid.height:,} x {grid.width:,} px, for which {needed / 1e9:,.1f} GB are "
            f"written before the maps, but {out} has room for {free / 1e9:,.1f} GB; give a folder on a "
            "larger disk, or cut the images"
        )


def _changed(stated: MapChangeParameters) -> dict[str, Any]:
    return {"scale": stated.scale, "data_root": stated.data_root, "unlabelled": stated.unlabelled}


def _stored(stated: MapChangeParameters) -> bool:
    """Whether ``run`` is the folder of a stored run, and not the name of an experiment."""
    return store.is_run(Path(_run(stated)))


def _run(stated: MapChangeParameters) -> str:
    """Folder or experiment. Raises FileNotFoundError where ``run`` is neither."""
    folder = _located(stated.run)
    if store.is_run(folder):
        _require_model(stated.run, Run(folder).parameters)
        return str(folder)
    there = provenance.repository() / "notebooks"
    path = there / f"{stated.run}.ipynb"
    if not (stated.run.startswith("exp") and path.is_file()):
        known = ", ".join(sorted(path.stem for path in there.glob("exp*.ipynb")))
        raise FileNotFoundError(
            f"run: got {stated.run!r}, which is neither the folder of a stored run nor an "
            f"experiment; experiments: {known}"
        )
    _require_model(stated.run, notebooks.literals(path))
    return stated.run


def _require_model(run: str, names: Mapping[str, Any]) -> None:
    """Raise ValueError unless the parameters are those of a segmentation model, which alone maps a scene."""
    if notebooks.schema_for(names) is not segmentation.KIND.schema:
        raise ValueError(
            f"run: {run} is not a segmentation run, so it has no model that maps one image; give an "
            "experiment that trains one, for instance exp05"
        )


def _located(path: str) -> Path:
    return Path(located(path))


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
