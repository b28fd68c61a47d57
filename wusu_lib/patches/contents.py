"""Reads every file of one site once: what is wrong with it, and the counts that judge the tree as a whole."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wusu_lib import legend
from wusu_lib.patches.raster import read
from wusu_lib.patches.table import Entry

BANDS = {"image": 4, "mask": 1, "bcd": 1, "scd": 1}
BAND_NAMES = ("blue", "green", "red", "NIR")
PROBLEM_COLUMNS = ("severity", "problem", "file", "detail", "count")
COVERS = {"woodland": ("Woodland",), "water": ("River", "Lake"), "soil": ("Excavation", "Bare surface")}
_INDEX = np.full(
    256, legend.NO_INDEX, dtype=np.uint8
)  # of a code; unlike legend.index_from_code, unknown codes pass
_INDEX[list(legend.CODES)] = range(legend.N_INDEX)


@dataclass(frozen=True)
class Problem:
    """One row of the table of problems. ``count``: pixels or files, 1 where there is nothing to count."""

    severity: str
    problem: str
    file: str
    detail: str
    count: int = 1


@dataclass
class Tally:
    """What one site's files add to the judgement of the tree.

    ``sizes``: (height, width) by path. ``cover``: by (area, date, cover), each band's sum and the number of
    pixels, [5]. ``changes``: by path of a change mask, cross-tabulations with rows (a, b, count):
    "classes" has a = index at date 1 * 12 + index at date 2, b = the mask's value; "bcd" (of SCD masks) has
    a = BCD value and b = SCD value. ``digests``: hash of the image's pixels by path.
    """

    problems: list[Problem] = field(default_factory=list)
    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    cover: dict[tuple[str, int, str], np.ndarray] = field(default_factory=dict)
    changes: dict[Path, dict[str, np.ndarray]] = field(default_factory=dict)
    digests: dict[Path, int] = field(default_factory=dict)


def examine(files: list[Entry], root: Path) -> Tally:
    """Read the files of one site, each once."""
    tally = Tally()
    arrays = {(e.kind, e.dates): array for e in files if (array := _load(e, root, tally)) is not None}
    paths = {(e.kind, e.dates): e for e in files}
    for (kind, dates), array in arrays.items():
        entry = paths[kind, dates]
        if kind == "image":
            _image(entry, array, root, tally)
            mask = arrays.get(("mask", dates))
            if mask is not None:
                _image_and_mask(entry, array, mask[0], paths["mask", dates], root, tally)
        elif kind == "mask":
            _mask(entry, array[0], root, tally)
        else:
            _change(entry, array[0], arrays, tally)
    return tally


def name_of(path: Path, root: Path) -> str:
    """Path below the root with forward slashes, as the table of problems shows it."""
    return path.relative_to(root).as_posix()


def _load(entry: Entry, root: Path, tally: Tally) -> np.ndarray | None:
    """The file's array [bands, H, W], or None if a problem makes it useless."""
    name = name_of(entry.path, root)
    try:
        array = read(entry.path)
    except (ValueError, OSError) as error:
        tally.problems.append(
            Problem("error", "unreadable file", name, str(error).removeprefix(f"{entry.path}: "))
        )
        return None
    tally.sizes[entry.path] = array.shape[1:]
    usable = True
    if len(array) != BANDS[entry.kind]:
        detail = f"expected {BANDS[entry.kind]}, got {len(array)}"
        tally.problems.append(Problem("error", "wrong number of bands", name, detail, len(array)))
        usable = False
    if array.dtype != np.uint8:
        tally.problems.append(Problem("error", "wrong dtype", name, f"expected uint8, got {array.dtype}"))
        usable = False
    return array if usable else None


def _image(entry: Entry, image: np.ndarray, root: Path, tally: Tally) -> None:
    """Emptiness and content hash of an image [4, H, W]."""
    tally.digests[entry.path] = hash(image.tobytes())
    constant = image.min(axis=(1, 2)) == image.max(axis=(1, 2))
    if constant.all():
        detail = f"every pixel is {image[:, 0, 0].tolist()}"
        tally.problems.append(
            Problem("error", "empty image", name_of(entry.path, root), detail, image[0].size)
        )
    elif constant.any():
        names = ", ".join(n for n, c in zip(BAND_NAMES, constant, strict=True) if c)
        detail = f"the same value everywhere in {names}"
        tally.problems.append(
            Problem("warning", "constant band", name_of(entry.path, root), detail, int(constant.sum()))
        )


def _mask(entry: Entry, mask: np.ndarray, root: Path, tally: Tally) -> None:
    """Unknown codes and emptiness of a class mask [H, W]."""
    name, counts = name_of(entry.path, root), np.bincount(mask.ravel(), minlength=256)
    for code in np.flatnonzero(counts):
        if code not in legend.CODES:
            detail = f"code {code} on {counts[code]} pixels; known: {list(legend.CODES)}"
            tally.problems.append(Problem("error", "unknown class code", name, detail, int(counts[code])))
    if counts[0] == mask.size:
        tally.problems.append(Problem("note", "mask without a label", name, "every pixel is 0", mask.size))


def _image_and_mask(
    entry: Entry, image: np.ndarray, mask: np.ndarray, partner: Entry, root: Path, tally: Tally
) -> None:
    """Equal size, and the band sums over woodland, water and bare soil."""
    if image.shape[1:] != mask.shape:
        detail = f"image {_by(image.shape[1:])}, mask {name_of(partner.path, root)} {_by(mask.shape)} px"
        tally.problems.append(
            Problem("error", "image and mask differ in size", name_of(entry.path, root), detail)
        )
        return
    for cover, names in COVERS.items():
        codes = [c.code for c in legend.CLASSES if c.name in names]
        pixels = image[:, np.isin(mask, codes)]
        if pixels.shape[1]:
            key = (entry.area, entry.dates[0], cover)
            sums = np.append(pixels.sum(axis=1, dtype=np.int64), pixels.shape[1])
            tally.cover[key] = tally.cover.get(key, 0) + sums


def _change(entry: Entry, change: np.ndarray, arrays: dict, tally: Tally) -> None:
    """Cross-tabulate a change mask [H, W] with the two class masks and, for SCD, with the BCD mask."""
    tables = {}
    before, after = (arrays.get(("mask", (date,))) for date in entry.dates)
    if before is not None and after is not None and before.shape == after.shape == (1, *change.shape):
        index1, index2 = _INDEX[before[0]], _INDEX[after[0]]
        known = (index1 < legend.N_INDEX) & (index2 < legend.N_INDEX)
        pair = index1[known].astype(np.int64) * legend.N_INDEX + index2[known]
        tables["classes"] = _cross(pair, change[known])
    bcd = arrays.get(("bcd", entry.dates))
    if entry.kind == "scd" and bcd is not None and bcd.shape == (1, *change.shape):
        tables["bcd"] = _cross(bcd[0].ravel(), change.ravel())
    tally.changes[entry.path] = tables


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rows (value of a, value of b, count) of the combinations that occur; b holds uint8 values."""
    counts = np.bincount(a.astype(np.int64) * 256 + b)
    occurring = np.flatnonzero(counts)
    return np.stack([occurring // 256, occurring % 256, counts[occurring]], axis=1)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
