"""Maps of whole scenes: classes and confidence of two dates, and what changed between them.

The from-to map is cleaned a square at a time: the same as of the whole map at once.
"""

import filecmp
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock

from wusu_lib import files, legend, provenance
from wusu_lib.change.decoding import Prior, drop_slivers, drop_small
from wusu_lib.change.finding import Question
from wusu_lib.experiment.segmentation import Predictor
from wusu_lib.files import BEGUN, DRAFT, MADE, RECORD, agrees, claim, faults_told, read_json, write_json
from wusu_lib.legend import LabelSpace
from wusu_lib.runs.store import complete_record
from wusu_lib.scenes import rasters
from wusu_lib.scenes.sweep import BATCH, THREADS, Engine, Job, Store, Tiling, check_engine, compute
from wusu_lib.transitions import from_to

# The from-to map of a whole scene, cleaned, a square at a time: the same as of the whole map at once.
#
# Whether a pixel is a sliver depends on what lies within twice the tolerance of it. An area of fewer than n
# pixels that touches a square lies wholly within n pixels of it, so its size is known from there; a larger
# one that is cut off there still shows at least n. Hence a margin of twice the tolerance plus the greatest
# minimum size is enough.

SQUARE = 2048  # pixels a side
LARGEST_UNIT = 4096  # pixels; memory is about 20 bytes for each of (SQUARE + 2 x margin)^2 pixels


@dataclass(frozen=True)
class Cleaning:
    """What is taken back: slivers up to ``tolerance`` pixels, then areas under ``smallest`` pixels.

    ``smallest``: one number, or by the name of the new class (``decoding.drop_small``). The default takes
    nothing back. Raises ValueError as ``drop_slivers`` and ``drop_small`` do, and for a minimum above 4096.
    """

    tolerance: int = 0
    smallest: Mapping[str, int] | int = field(default_factory=dict)

    def __post_init__(self) -> None:
        nothing = np.zeros((1, 1), dtype=np.uint8)
        drop_slivers(nothing, nothing, nothing, self.tolerance)
        drop_small(nothing, self.smallest)
        if self.unit > LARGEST_UNIT:
            raise ValueError(f"smallest: got {self.unit}; expected at most {LARGEST_UNIT} pixels in a scene")

    @property
    def unit(self) -> int:
        """The greatest minimum size, in pixels."""
        return self.smallest if isinstance(self.smallest, int) else max(self.smallest.values(), default=1)

    def as_dict(self) -> dict[str, Any]:
        """For a record."""
        sizes = self.smallest if isinstance(self.smallest, int) else dict(self.smallest)
        return {"tolerance": self.tolerance, "smallest": sizes}


def squares(height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    """Top, left, height and width of the squares that cover a scene, row by row."""
    for top in range(0, height, SQUARE):
        for left in range(0, width, SQUARE):
            yield top, left, min(SQUARE, height - top), min(SQUARE, width - left)


def cleaned_changes(
    store: Store, cleaning: Cleaning, top: int, left: int, height: int, width: int
) -> np.ndarray:
    """The cleaned from-to labels of a part of a scene, uint8 [height, width]."""
    grid = store.job.grid
    near, far = cleaning.unit if cleaning.unit > 1 else 0, 2 * cleaning.tolerance

    def around(margin: int) -> tuple[int, int, int, int]:
        """The part with a margin, as far as the scene goes: top, left, bottom, right."""
        edges = (max(0, top - margin), max(0, left - margin))
        return *edges, min(grid.height, top + height + margin), min(grid.width, left + width + margin)

    outer, inner = around(near + far), around(near)
    size = (outer[2] - outer[0], outer[3] - outer[1])
    before, after = (store.read(date, outer[0], outer[1], *size) for date in (0, 1))
    labels = drop_slivers(from_to(before, after), before, after, cleaning.tolerance)
    labels = _cut(labels, outer, inner)
    if near:
        labels = drop_small(labels, cleaning.smallest)
    return _cut(labels, inner, (top, left, top + height, left + width))


def _cut(values: np.ndarray, has: tuple[int, int, int, int], wanted: tuple[int, int, int, int]) -> np.ndarray:
    """The part ``wanted`` of values that cover ``has``; both top, left, bottom, right."""
    return values[wanted[0] - has[0] : wanted[2] - has[0], wanted[1] - has[1] : wanted[3] - has[1]]


Radiometry = Literal["scene", "training"]
STATE = ".strips"  # folder of what is computed so far
LOCK = ".lock"
KIND = "maps"  # of the folder, as its record says
NAMES = ("t1.", "t2.", "fromto.", "confidence.")  # of the files that are written here
TARGETS = (*legend.NAMES[1:], *(merged.name for merged in legend.MERGED))  # what a score may be of
SCORES = {name: f"score_{name.lower().replace(' ', '_')}.tif" for name in TARGETS}
FILES = (*(f"{name}{end}" for name in NAMES for end in ("tif", "tif.aux.xml")), *SCORES.values())
OUTPUTS = (*FILES, "changes.gpkg", "changes.geojson", "changes.html", RECORD, LOCK)
# What computes the maps; the model's own modules are named by the predictor. As of runs: what
# these import does not count, so whoever adds an import of something that computes adds it here.
CODE = (
    "wusu_lib.legend",
    "wusu_lib.transitions",
    "wusu_lib.change.decoding",
    "wusu_lib.change.finding:Question,scores",
    "wusu_lib.experiment.segmentation:Predictor,build_network",
    "wusu_lib.scenes.maps",
    "wusu_lib.scenes.rasters",
    "wusu_lib.scenes.sweep",
)


class SceneMaps:
    """Maps of a scene in ``folder``: cloud-optimised GeoTIFFs on one grid, and ``record.json``.

    ``t1`` and ``t2``: classes in WUSU's codes (uint8, 0 = no data or unlabelled). ``fromto``: labels of
    ``transitions`` (uint8, 255 = unlabelled at either date). ``confidence``: see ``sweep.decide`` (uint8,
    255 = certain, 0 = none). ``score``: of a target that was asked for, see ``finding.scores`` (uint8).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.t1, self.t2 = folder / "t1.tif", folder / "t2.tif"
        self.fromto, self.confidence = folder / "fromto.tif", folder / "confidence.tif"

    def score(self, target: str) -> Path:
        """The file of a target's score."""
        return self.folder / SCORES[target]

    @property
    def record(self) -> dict[str, Any]:
        """What was computed from what; of a pair also ``pixels``, their number by from-to label (as text)."""
        record = complete_record(self.folder)
        if record is None:
            raise ValueError(f"{self.folder}: holds no complete maps; make them with scenes.change_map")
        return record


def change_map(
    predictor: Predictor,
    t1: str | Path,
    t2: str | Path,
    folder: str | Path,
    *,
    prior: Prior | None = None,
    asked: Question | None = None,
    radiometry: Radiometry = "training",
    tolerance: int = 0,
    smallest: Mapping[str, int] | int | None = None,
    tiling: Tiling | None = None,
    batch: int = BATCH,
    engine: Engine = "local",
    threads: int = THREADS,
) -> SceneMaps:
    """Map two dates of a scene and what changed between them; files into ``folder``.

    ``prior``: decode both dates together (``decoding.learn_prior``). ``asked``: targets whose score is
    written too (``finding.scores``). ``radiometry``: "scene" brings each image to the mean and deviation of
    the training images, band by band, "training" leaves the counts as they are. ``tolerance`` and
    ``smallest``: slivers and small areas of change to take back, in pixels, in the from-to map only
    (``Cleaning``). ``tiling``: windows, by default of the training's size with a quarter of overlap.
    ``batch``: windows that go through the model together. ``engine``: "local", or "ray" for a cluster
    (``sweep``). ``threads``: torch's, 0 for all; one gives the same bytes on any number of cores.

    Maps that are there already, of the same images, model and settings, are left as they are; whatever was
    interrupted goes on from its last finished strip, with either engine, to the same bytes. Errors as
    ``rasters.pair``, ``Tiling`` and ``Cleaning``; ValueError also for the same image twice, a folder that
    cannot be written, and a prior that does not couple two dates.
    """
    layers = rasters.pair(t1, t2)
    _refuse_same(Path(t1), Path(t2))
    if radiometry == "scene":
        layers = rasters.lit(layers[0]), rasters.lit(layers[1])
    if prior is not None and prior.dates != 2:
        raise ValueError(f"prior: couples {prior.dates} dates; expected 2")
    cleaning = Cleaning(tolerance, {} if smallest is None else smallest)
    job = Job(layers, tiling or Tiling.usual(predictor.window), batch, threads, prior, asked)
    maps = SceneMaps(Path(folder))
    plan = _plan(job, predictor) | {"cleaning": cleaning.as_dict()}
    with _held(maps.folder, engine, job.layers):
        if not _complete(maps.folder, plan):
            store = Store(maps.folder / STATE, job, plan)
            compute(job, predictor, store, engine, f"{Path(t1).name} to {Path(t2).name}")
            _require_unchanged(plan, store)
            _write_maps(store, predictor, [maps.t1, maps.t2, maps.confidence])
            counts = _write_changes(maps.fromto, store, cleaning, predictor)
            _finish(maps.folder, plan | {"pixels": {str(n): int(c) for n, c in enumerate(counts) if c}})
    return maps


def _refuse_same(t1: Path, t2: Path) -> None:
    """Raise ValueError if both are one file or hold the same bytes: a mistake, not a scene without change."""
    if t1.samefile(t2) or filecmp.cmp(t1, t2, shallow=False):
        raise ValueError(f"t1 and t2 are the same image ({t1}, {t2}); give images of two dates")


def _plan(job: Job, predictor: Predictor) -> dict[str, Any]:
    """All that the maps depend on, as JSON would give it back."""
    first = job.layers[0]
    return {
        "images": [
            {"path": layer.path, "hash": provenance.content_hash(Path(layer.path))} for layer in job.layers
        ],
        "light": [layer.light and [list(values) for values in layer.light] for layer in job.layers],
        "grid": asdict(first.grid) | {"transform": list(first.grid.transform)},
        "predictor": {"name": predictor.name, "fingerprint": predictor.fingerprint},
        "classes": predictor.labels.classes,
        "tiling": asdict(job.tiling),
        "batch": job.batch,
        "prior": None if job.prior is None else job.prior.ratio.tolist(),
        "asked": None if job.asked is None else job.asked.as_dict(),
        "code": provenance.code((*CODE, *predictor.code)),
        "palette": _palette(predictor.labels),
        "versions": provenance.versions(),
    }


def _palette(labels: LabelSpace) -> str:
    """Hash of the colours that are written into the files, which count as no code."""
    written = [style(labels).colours for style in (rasters.class_style, rasters.change_style)]
    return provenance.text_hash(str([None if colours is None else colours.tolist() for colours in written]))


@contextmanager
def _held(folder: Path, engine: str, layers: Sequence[rasters.Layer]) -> Iterator[None]:
    """The output folder, claimed and locked: a second process waits, then finds the maps."""
    check_engine(engine)
    claimed = claim(folder, KIND, [layer.path for layer in layers], OUTPUTS)
    with FileLock(claimed / LOCK), faults_told(folder):
        yield


def _complete(folder: Path, plan: dict[str, Any]) -> bool:
    """Whether the folder holds the maps of this plan, every byte of them; if not, they no longer count.

    A map that is not what was written is set aside.
    """
    record = read_json(folder / RECORD) or {}
    if all(record.get(name) == value for name, value in {**plan, "status": "complete"}.items()):
        spoiled = [name for name, entry in record["files"].items() if not agrees(folder / name, entry)]
        for name in spoiled:
            if (folder / name).exists():
                files.set_aside(folder / name)
        if not spoiled:
            return True
    written = record.get(files.WRITTEN, {})
    write_json(folder / RECORD, {MADE: KIND, "status": BEGUN, files.WRITTEN: written})
    return False


def _require_unchanged(plan: dict[str, Any], store: Store) -> None:
    """Raise ValueError, and forget the strips, where an image is not what it was when the work began."""
    for image in plan["images"]:
        if provenance.content_hash(Path(image["path"])) != image["hash"]:
            shutil.rmtree(store.folder)
            raise ValueError(f"{image['path']} changed while it was mapped; nothing was kept: start again")


def _write_maps(store: Store, predictor: Predictor, paths: list[Path]) -> None:
    """The dates' class maps, the confidence and, beside them, the scores of what was asked for."""
    grid, classes = store.job.grid, rasters.class_style(predictor.labels)
    *dates, sure = paths
    for channel, path in enumerate(dates):
        rasters.write(path, grid, classes, lambda *at, n=channel: legend.code_from_index(store.read(n, *at)))
    rasters.write(sure, grid, rasters.CONFIDENCE, lambda *at: store.read(len(dates), *at))
    for channel, name in enumerate(store.job.asked.targets if store.job.asked else (), start=len(paths)):
        path = sure.with_name(SCORES[name])
        rasters.write(path, grid, rasters.score_style(name), lambda *at, n=channel: store.read(n, *at))


def _write_changes(path: Path, store: Store, cleaning: Cleaning, predictor: Predictor) -> np.ndarray:
    """The cleaned from-to map; gives the number of pixels by value, int64 [256]."""
    counts = np.zeros(256, dtype=np.int64)

    def read(*at: int) -> np.ndarray:
        labels = cleaned_changes(store, cleaning, *at)
        counts[:] += np.bincount(labels.ravel(), minlength=256)
        return labels

    rasters.write(path, store.job.grid, rasters.change_style(predictor.labels), read, SQUARE)
    return counts


def _finish(folder: Path, record: dict[str, Any]) -> None:
    """Write the record, which makes the maps count, and clear away what they were made from."""
    made = {name: files.stated(folder / name) for name in sorted(FILES) if (folder / name).is_file()}
    written = (read_json(folder / RECORD) or {}).get(files.WRITTEN, {})
    rest = {MADE: KIND, "status": "complete", "files": made, files.WRITTEN: written}
    write_json(folder / RECORD, record | rest)
    for scratch in (folder / STATE, *folder.glob(f".*{DRAFT}")):  # the latter of attempts that were killed
        shutil.rmtree(scratch) if scratch.is_dir() else scratch.unlink()
