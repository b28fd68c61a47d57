"""Writes the mini city to disk in WUSU's layout, names, codes and types.

A demo city is written once into the user's cache folder and reused from then on.
"""

import hashlib
import json
import math
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from wusu_lib import legend
from wusu_lib.synthetic import scene
from wusu_lib.synthetic.acquisition import AREAS, DATES
from wusu_lib.synthetic.processes import side_by_side
from wusu_lib.synthetic.scene import Exposure

SPLITS = ("train", "test")  # left and right part of each scene
INTERVALS = tuple(pairwise(DATES))
CHANGED = 1  # value of a changed pixel in the binary masks
PLANTED = "planted.csv"
THREADS = 2
LARGE = 16_000_000  # pixels of scene, from which on each area is worth a process of its own


@dataclass(frozen=True)
class Cut:
    """How patches are cut.

    ``size`` px at a stride of ``stride``, ``rows`` of them from top to bottom of a scene, and from left to
    right ``cols`` in the train part and in the test part beside it. The parts share no pixel.
    """

    size: int
    stride: int
    rows: int
    cols: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a scene in px."""
        return self._length(self.rows), sum(map(self._length, self.cols))

    def windows(self) -> Iterator[tuple[str, int, slice, slice]]:
        """Split, patch index (row by row) and window in the scene of every patch."""
        start = 0
        for split, cols in zip(SPLITS, self.cols, strict=True):
            for index in range(self.rows * cols):
                top, left = index // cols * self.stride, start + index % cols * self.stride
                yield split, index, slice(top, top + self.size), slice(left, left + self.size)
            start += self._length(cols)

    def _length(self, patches: int) -> int:
        return (patches - 1) * self.stride + self.size


def write(
    root: str | Path,
    seed: int = 7,
    patch_size: int = 512,
    rows: int = 24,
    cols: int | tuple[int, int] = 12,
    areas: tuple[str, ...] = AREAS,
    stride: int | None = None,
) -> Path:
    """Write a WUSU-like tree of a made-up city under ``root`` and return ``root``.

    Each area is one continuous scene of 1-m pixels at three dates; its left part is cut into the train
    patches, its right part into the test patches: rows x cols each (``cols``: of both, or of train and of
    test), ``patch_size`` px square, ``stride`` px apart (half a patch, if none is given), numbered row by
    row. Images are uint8 in B,G,R,NIR, class masks hold ``legend.CODES``; BCD
    masks are 1, SCD masks a code from 1 to 110 of a code book that depends on the seed, where the classes
    annotated at the two dates differ, both 0 elsewhere. Label errors made on purpose are listed in
    planted.csv (see ``planted``). The same arguments give the same bytes. All 11 classes are in every
    split, and in the upper and the lower part of it over both areas, from half-scenes of 576 x 448 px on.

    Raises ValueError for impossible arguments and FileExistsError if ``root`` holds anything already.
    """
    root = Path(root)
    columns = (cols, cols) if isinstance(cols, int) else cols
    stride = patch_size // 2 if stride is None else stride
    _check(root, patch_size, stride, (rows, *columns), areas)
    cut = Cut(patch_size, stride, rows, columns)
    jobs = [(root, area, seed, cut) for area in areas]
    apart = math.prod(cut.shape) * len(areas) * len(DATES) > LARGE
    _write_tables(root, [table for tables in side_by_side(_write_area, jobs, apart) for table in tables])
    return root


def _write_area(root: Path, area: str, seed: int, cut: Cut) -> list[pd.DataFrame]:
    """Write one area's images and masks; its label errors, one table a date."""
    found: list[pd.DataFrame] = []
    codes: list[np.ndarray] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
        # WUSU's files carry no georeference, and so do these: nothing to warn of.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        for exposure in scene.expose(area, cut.shape, seed):
            _write_date(root, area, exposure, cut, pool)
            found.append(_errors(area, exposure, cut))
            codes.append(exposure.codes)
        _write_changes(root, area, codes, cut, code_book(seed), pool)
    return found


def _check(
    root: Path, patch_size: int, stride: int, numbers: tuple[int, ...], areas: tuple[str, ...]
) -> None:
    if patch_size < 16 or patch_size % 2:
        raise ValueError(
            f"patch_size: got {patch_size}; expected an even number of at least 16 (half-overlap)"
        )
    if not 1 <= stride <= patch_size:
        raise ValueError(f"stride: got {stride}; expected 1 to {patch_size}, the side of a patch")
    if min(numbers) < 1:
        raise ValueError(f"rows, cols: got {', '.join(map(str, numbers))}; expected at least 1 each")
    unknown = [area for area in areas if area not in AREAS]
    if unknown or not areas:
        raise ValueError(f"areas: got {areas!r}; allowed: {', '.join(AREAS)}")
    found = sorted(root.iterdir()) if root.is_dir() else [root] if root.exists() else []
    if found:
        raise FileExistsError(f"{root} exists already ({found[0].name}); give a new or an empty folder")


def code_book(seed: int) -> np.ndarray:
    """SCD code of each transition: uint8 [12, 12] by class index, rows = first date.

    0 on the diagonal and for unlabelled at either date.
    """
    classes = len(legend.CLASSES)
    codes = 1 + np.random.default_rng([seed, 110]).permutation(classes * (classes - 1))
    book = np.zeros((legend.N_INDEX, legend.N_INDEX), dtype=np.uint8)
    book[1:, 1:][~np.eye(classes, dtype=bool)] = codes
    return book


def _save(path: Path, image: np.ndarray) -> None:
    """Write uint8 [C,H,W] as a GeoTIFF without a georeference, losslessly compressed."""
    count, height, width = image.shape
    profile = {"driver": "GTiff", "dtype": "uint8", "compress": "deflate", "zlevel": 6}
    if count > 1:
        profile["predictor"] = 2
    with rasterio.open(path, "w", count=count, height=height, width=width, **profile) as file:
        file.write(image)


def _save_patches(
    folder: str, root: Path, name: str, image: np.ndarray, cut: Cut, pool: ThreadPoolExecutor
) -> None:
    """Cut a scene [C,H,W] into ``root/<split>/<area>/<folder>/<name>_<index>.tif``; the area starts the
    name."""
    jobs = []
    for split, index, ys, xs in cut.windows():
        path = root / split / name[:2] / folder / f"{name}_{index}.tif"
        if index == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        jobs.append(pool.submit(_save, path, image[:, ys, xs]))
    for job in jobs:
        job.result()


def _write_date(root: Path, area: str, exposure: Exposure, cut: Cut, pool: ThreadPoolExecutor) -> None:
    name = f"{area}{exposure.date}"
    _save_patches("imgs", root, name, exposure.image, cut, pool)
    _save_patches("class", root, name, exposure.codes[None], cut, pool)


def _write_changes(
    root: Path, area: str, codes: list[np.ndarray], cut: Cut, book: np.ndarray, pool: ThreadPoolExecutor
) -> None:
    for (first, second), before, after in zip(INTERVALS, codes, codes[1:], strict=False):
        name = f"{area}{first}{second}"
        semantic = book[legend.index_from_code(before), legend.index_from_code(after)]
        binary = np.where(semantic > 0, CHANGED, 0).astype(np.uint8)
        _save_patches("change/BCD", root, name, binary[None], cut, pool)
        _save_patches("change/SCD", root, name, semantic[None], cut, pool)


def _errors(area: str, exposure: Exposure, cut: Cut) -> pd.DataFrame:
    """One row a wrongly annotated object and patch that shows it."""
    rows = []
    for split, index, ys, xs in cut.windows():
        wrong = exposure.wrong[ys, xs]
        for number in np.unique(wrong[wrong > 0]):
            y, x = np.nonzero(wrong == number)
            error = exposure.label_errors[int(number)]
            box = (y.min(), x.min(), y.max() + 1, x.max() + 1)
            patch = f"{split}/{area}{exposure.date}_{index}"
            codes = (error.kind, error.true_code, error.given_code)
            rows.append((area, exposure.date, int(number), *codes, patch, *map(int, box), len(y)))
    return pd.DataFrame(rows, columns=_COLUMNS)


_COLUMNS = [
    *("area", "date", "object", "kind", "true_code", "given_code"),
    *("patch", "top", "left", "bottom", "right", "pixels"),
]


def _write_tables(root: Path, found: list[pd.DataFrame]) -> None:
    mapping = {c.name: c.code for c in legend.CLASSES}
    (root / "class_mapping.json").write_text(json.dumps(mapping, indent=4) + "\n", encoding="utf-8")
    pd.concat(found, ignore_index=True).to_csv(root / PLANTED, index=False)


def planted(root: str | Path) -> pd.DataFrame:
    """The label errors made on purpose in a tree that ``write`` wrote: one row a wrong object, date and
    patch.

    Columns: area, date, object (the same number at every date), kind ("unlabelled" or "mislabelled"),
    true_code, given_code, patch ("test/HS15_17"), top, left, bottom, right (box in the patch, px, ends
    excluded), pixels (of the object in the patch). Within the box, the object's pixels are those whose mask
    holds given_code (with kind "unlabelled", also other ground).

    Raises FileNotFoundError if the tree has no such list (real data has none).
    """
    path = Path(root) / PLANTED
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected a tree written by wusu_lib.synthetic.write")
    return pd.read_csv(path)


# The demo's cities: two areas at three dates. Patches overlap by 8 px: enough to find out where they lie
# beside each other, while ground that is seen once costs a quarter of half-overlapping patches to evaluate.
# Of the test part's 35 rows the middle one is lost to the cut between validation and test. That leaves
# 17 x 17 patches of each area on either side: 2048 x 2048 m, 64 blocks of 256 m.

_JUDGED = {"seed": 7, "patch_size": 128, "stride": 120, "rows": 35, "areas": AREAS}
CITIES: dict[str, dict[str, object]] = {
    "small": {**_JUDGED, "cols": (4, 17)},
    "large": {**_JUDGED, "cols": (16, 17)},
}
# Other cities as large as the small one, on which nothing is trained: what was learnt there is judged here.
FRESH = tuple(f"fresh_{number}" for number in range(1, 11))
CITIES |= {name: {**CITIES["small"], "seed": 100 + number} for number, name in enumerate(FRESH)}


def demo_name(city: str = "small") -> str:
    """Name of a demo city's folder, with a fingerprint of the arguments and of the code that writes it."""
    return f"mini_city_{fingerprint(sorted(CITIES[city].items()))}"


def fingerprint(*arguments: object) -> str:
    """16 hex digits of what something is made of: its arguments, as ``repr`` tells them, and this code."""
    digest = hashlib.sha256(", ".join(map(repr, arguments)).encode())
    for path in [*sorted(Path(__file__).parent.glob("*.py")), Path(legend.__file__)]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def write_demo(root: Path, note: Callable[[Path], None], city: str = "small") -> Path:
    """Write a demo city beside its place, then give it its name; takes a minute.

    ``note`` is called with the folder while it has no name yet, to write down what is in it. An interrupted
    writing leaves nothing that could be taken for a city.
    """
    scratch = Path(tempfile.mkdtemp(prefix="mini_city_", suffix=".partial", dir=root.parent))
    try:
        write(scratch, **CITIES[city])  # type: ignore[arg-type]
        note(scratch)
        scratch.chmod(root.parent.stat().st_mode & 0o777)  # a temporary folder is its maker's alone
        scratch.rename(root)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return root
