"""Everything that is wrong with a tree, in one table; and the refusal to train on what would spoil it.

Every file of a site is read once (``examine``). Counts of all sites then judge the tree as a whole:
sizes, band order, change masks, duplicates.
"""

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wusu_lib import imagery, legend
from wusu_lib.data.masks import LEGEND, MAPPING_FILE, Coding, coding_of, decode, decode_change, differences
from wusu_lib.data.tree import KINDS, Entry, entries, first_of_each, resolve
from wusu_lib.imagery import BAND_NAMES, BANDS, Finding, Placement, opened, placement

# Reads every file of one site once: what is wrong with it, and the counts that judge the tree as a whole.

PROBLEM_COLUMNS = ("severity", "problem", "file", "detail", "count")
LARGEST = 2**24  # pixels of a file: it is read as a whole, and many beside it
COVERS = {"woodland": ("Woodland",), "water": ("River", "Lake"), "soil": ("Excavation", "Bare surface")}


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
    a = BCD value and b = SCD value. ``digests``: hash of the image's pixels by path. ``looks``:
    ``look`` of the image by path.
    """

    problems: list[Problem] = field(default_factory=list)
    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    cover: dict[tuple[str, int, str], np.ndarray] = field(default_factory=dict)
    changes: dict[Path, dict[str, np.ndarray]] = field(default_factory=dict)
    digests: dict[Path, int] = field(default_factory=dict)
    looks: dict[Path, np.ndarray] = field(default_factory=dict)


@dataclass
class _File:
    """What was read of one file.

    ``array``: an image's bands uint8 [4, H, W], a class mask's index uint8 [1, H, W] (NO_INDEX for unknown
    codes), a change mask's values uint8 [1, H, W]. ``annotated``: bool [H, W], which pixels of a change mask
    count; None: all.
    """

    array: np.ndarray
    place: Placement
    annotated: np.ndarray | None = None


def examine(files: list[Entry], root: Path, coding: Coding) -> Tally:
    """Read the files of one site, each once; ``coding`` is that of its class masks."""
    tally = Tally()
    read = {(e.kind, e.dates): file for e in files if (file := _load(e, root, coding, tally)) is not None}
    arrays = {key: file.array for key, file in read.items()}
    paths = {(e.kind, e.dates): e for e in files}
    _places(read, paths, root, tally)
    for (kind, dates), array in arrays.items():
        entry = paths[kind, dates]
        if kind == "image":
            _image(entry, array, root, tally)
            mask = arrays.get(("mask", dates))
            if mask is not None:
                _image_and_mask(entry, array, mask[0], paths["mask", dates], root, tally)
        elif kind == "mask":
            if not array.any():
                name = name_of(entry.path, root)
                detail = "no pixel has a class"
                tally.problems.append(Problem("note", "mask without a label", name, detail, array.size))
        else:
            _change(entry, read[kind, dates], arrays, tally)
    return tally


def _places(read: dict, paths: dict[tuple, Entry], root: Path, tally: Tally) -> None:
    """Images against their class masks and against the images of the site's other dates."""
    images = {dates: file.place for (kind, dates), file in read.items() if kind == "image"}
    for dates, place in images.items():
        if (mask := read.get(("mask", dates))) is not None:
            _tell(imagery.of_pair(place, mask.place), paths["image", dates], root, tally)
    if images:
        first = paths["image", min(images)]
        _tell(imagery.of_dates({date: place for (date,), place in images.items()}), first, root, tally)


def _tell(findings: list[Finding], entry: Entry, root: Path, tally: Tally) -> None:
    """Findings as problems of a file."""
    name = name_of(entry.path, root)
    tally.problems += [Problem(f.severity, f.problem, name, f.detail, f.count) for f in findings]


def name_of(path: Path, root: Path) -> str:
    """Path below the root with forward slashes, as the table of problems shows it."""
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


def _load(entry: Entry, root: Path, coding: Coding, tally: Tally) -> _File | None:
    """What the file holds, or None if a problem makes it useless."""
    try:
        with opened(entry.path) as source:
            tally.sizes[entry.path] = source.shape
            problems = _unfit(entry, source, root)
            tally.problems += problems
            return None if problems else _read(entry, source, root, coding, tally)
    except (ValueError, OSError) as error:
        tally.sizes.pop(entry.path, None)
        reason = str(error).removeprefix(f"{entry.path}: ")
        tally.problems.append(Problem("error", "unreadable file", name_of(entry.path, root), reason))
        return None


def _unfit(entry: Entry, source: Any, root: Path) -> list[Problem]:
    """Wrong number of bands, or a type that does not hold what the kind of file holds."""
    name, dtype = name_of(entry.path, root), source.dtypes[0]
    found = []
    if source.width * source.height > LARGEST:
        detail = f"{_by(source.shape)} px; expected patches of at most {LARGEST:,} pixels, cut it into such"
        found.append(Problem("error", "too large to be read", name, detail))
    if source.count != BANDS[entry.kind]:
        detail = f"expected {BANDS[entry.kind]}, got {source.count}"
        found.append(Problem("error", "wrong number of bands", name, detail, source.count))
    if entry.kind == "image" and dtype != "uint8":
        found.append(Problem("error", "wrong dtype", name, f"expected uint8, got {dtype}"))
    if entry.kind != "image" and not np.issubdtype(dtype, np.integer):
        detail = f"expected whole numbers (uint8), got {dtype}"
        found.append(Problem("error", "wrong dtype", name, detail))
    return found


def _read(entry: Entry, source: Any, root: Path, coding: Coding, tally: Tally) -> _File | None:
    """The open file's content as ``_File`` holds it, or None for a mask whose values cannot be used."""
    name, place = name_of(entry.path, root), placement(source)
    if entry.kind == "image":
        image = source.read()
        _tell(imagery.of_image(source, image), entry, root, tally)
        return _File(image, place)
    if entry.kind in ("bcd", "scd"):
        try:
            values, without = decode_change(source)
        except ValueError as error:
            tally.problems.append(Problem("error", "change mask of unfit values", name, str(error)))
            return None
        return _File(values[None], place, None if without is None else ~without)
    try:
        found = decode(source, coding)
    except ValueError as error:
        tally.problems.append(Problem("error", "class declared as nodata", name, str(error)))
        return None
    tally.problems += [_unknown(name, code, pixels, coding) for code, pixels in found.unknown.items()]
    return _File(found.index[None], place)


def _unknown(name: str, code: int, pixels: int, coding: Coding) -> Problem:
    """A code that stands for no class, and what can be done about it."""
    called = dict(coding.names).get(code)
    said = f" (class_mapping.json calls it {called!r}, which is no class here)" if called else ""
    detail = (
        f"on {pixels} pixels{said}; known: {coding.listed()}. If it marks ground without a label, say so: "
        f"-p unlabelled {code}"
    )
    return Problem("error", f"unknown class code {code}", name, detail, pixels)


def _image(entry: Entry, image: np.ndarray, root: Path, tally: Tally) -> None:
    """Emptiness, content hash and look of an image [4, H, W]."""
    tally.digests[entry.path] = hash(image.tobytes())
    tally.looks[entry.path] = look(image)
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


def _image_and_mask(
    entry: Entry, image: np.ndarray, mask: np.ndarray, partner: Entry, root: Path, tally: Tally
) -> None:
    """Equal size, labels on a black collar, and the band sums over woodland, water and bare soil.

    image: uint8 [4, H, W]; mask: class index uint8 [H, W].
    """
    if image.shape[1:] != mask.shape:
        detail = f"image {_by(image.shape[1:])}, mask {name_of(partner.path, root)} {_by(mask.shape)} px"
        tally.problems.append(
            Problem("error", "image and mask differ in size", name_of(entry.path, root), detail)
        )
        return
    known = np.where(mask == legend.NO_INDEX, np.uint8(0), mask)
    _tell(imagery.collar(image, known), entry, root, tally)
    for cover, names in COVERS.items():
        pixels = image[:, np.isin(mask, [c.index for c in legend.CLASSES if c.name in names])]
        if pixels.shape[1]:
            key = (entry.area, entry.dates[0], cover)
            sums = np.append(pixels.sum(axis=1, dtype=np.int64), pixels.shape[1])
            tally.cover[key] = tally.cover.get(key, 0) + sums


def _change(entry: Entry, file: _File, arrays: dict, tally: Tally) -> None:
    """Cross-tabulate a change mask with the two class masks and, for SCD, with the BCD mask."""
    tables = {}
    change = file.array[0]
    counts = np.ones(change.shape, dtype=bool) if file.annotated is None else file.annotated
    before, after = (arrays.get(("mask", (date,))) for date in entry.dates)
    if before is not None and after is not None and before.shape == after.shape == (1, *change.shape):
        index1, index2 = before[0], after[0]
        known = (index1 < legend.N_INDEX) & (index2 < legend.N_INDEX) & counts
        pair = index1[known].astype(np.int64) * legend.N_INDEX + index2[known]
        tables["classes"] = _cross(pair, change[known])
    bcd = arrays.get(("bcd", entry.dates))
    if entry.kind == "scd" and bcd is not None and bcd.shape == (1, *change.shape):
        tables["bcd"] = _cross(bcd[0][counts], change[counts])
    tally.changes[entry.path] = tables


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rows (value of a, value of b, count) of the combinations that occur; b holds uint8 values."""
    counts = np.bincount(a.astype(np.int64) * 256 + b)
    occurring = np.flatnonzero(counts)
    return np.stack([occurring // 256, occurring % 256, counts[occurring]], axis=1)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)


# Judges a tree as a whole from the counts of its sites: sizes, band order, change masks, duplicates.

PUBLISHED = {"HS": 288, "JA": 270}  # sites of each half (train; test), each with 3 dates and 2 intervals
PUBLISHED_DATES = (15, 16, 18)
TOLERATED = 0.02  # share of a change mask's pixels that annotation noise may contradict without a warning
FEWEST_PIXELS = 500  # of a cover, under which its mean colour says nothing


def judge_sizes(tally: Tally, root: Path) -> list[Problem]:
    """Files whose size is not the commonest one: they cannot be stacked into a batch."""
    if not tally.sizes:
        return []
    (height, width), _ = Counter(tally.sizes.values()).most_common(1)[0]
    return [
        Problem(
            "error", "wrong size", name_of(path, root), f"{h} x {w} px; most files are {height} x {width}"
        )
        for path, (h, w) in tally.sizes.items()
        if (h, w) != (height, width)
    ]


def judge_duplicates(tally: Tally, root: Path) -> list[Problem]:
    """Images with the same pixels under two names."""
    first: dict[int, Path] = {}
    found = []
    for path, digest in tally.digests.items():
        if digest in first:
            detail = f"the same pixels as {name_of(first[digest], root)}"
            found.append(Problem("warning", "same image twice", name_of(path, root), detail))
        first.setdefault(digest, path)
    return found


# Patches that are another one again without sharing a pixel with it: turned, flipped, re-exposed, resampled,
# moved by a part of a pixel, with bands exchanged, noisy, or the same ground at another date.
#
# Each image is known by its lowest frequencies (a cosine transform of the whole image), every band to the
# same size, summed over the bands: that bears gain, offset, resampling, noise and the order of bands. A turn
# or a flip changes signs and exchanges the axes, so all 8 are compared without turning an image.

FREQUENCIES = 10  # along each axis; over 128 pixels the finest wave is 26 pixels long
COPY, SAME_GROUND = 0.9, 0.7  # likeness (at most 1): copies have 0.94 and more, unlike ground under 0.6
COPIES = ("patch again in disguise", "same ground at another date")
CHUNK = 1024  # images that are compared with all at a time


def look(image: np.ndarray) -> np.ndarray:
    """How an image [C, H, W] looks from afar: float32 [FREQUENCIES, FREQUENCIES] of length 1 (0 if empty)."""
    filled, valid = image.astype(np.float32), image.any(axis=0)
    if valid.any() and not valid.all():  # a black collar is no look of the ground
        filled[:, ~valid] = image[:, valid].mean(axis=1, keepdims=True)
    rows, columns = (_waves(size) for size in image.shape[1:])
    along = (filled.reshape(-1, filled.shape[2]) @ columns.T).reshape(*filled.shape[:2], -1)
    found = np.einsum("fh,bhc->bfc", rows, along)
    found *= np.hypot(*np.indices(found.shape[1:]))  # fine waves are weak in any image; the mean counts 0
    length = np.linalg.norm(found, axis=(1, 2), keepdims=True)
    total = np.divide(found, length, out=np.zeros_like(found), where=length > 0).sum(axis=0)
    return (total / max(np.linalg.norm(total), 1e-6)).astype(np.float32)


@lru_cache(maxsize=8)
def _waves(size: int) -> np.ndarray:
    """Cosines along an axis, [FREQUENCIES, size]."""
    places = (np.arange(size) + 0.5) / size
    return (np.cos(np.pi * np.outer(np.arange(FREQUENCIES), places)) / size).astype(np.float32)


def _alike(looks: np.ndarray) -> Iterable[tuple[int, int, float, bool]]:
    """Pairs of looks [N, F, F] that are alike: both numbers, likeness, whether the second is turned."""
    signs = [np.ones(FREQUENCIES, np.float32), (-1.0) ** np.arange(FREQUENCIES, dtype=np.float32)]
    turned = [
        (part * a[:, None] * b).reshape(len(looks), -1)
        for part in (looks, looks.swapaxes(1, 2))
        for a in signs
        for b in signs
    ]
    for start in range(0, len(looks), CHUNK):
        rows = turned[0][start : start + CHUNK]
        likeness = rows @ turned[0].T
        plain = likeness.copy()
        for each in turned[1:]:
            np.maximum(likeness, rows @ each.T, out=likeness)
        for first, second in np.argwhere(likeness >= SAME_GROUND):
            if start + first < second:
                best = likeness[first, second]
                yield int(start + first), int(second), float(best), bool(best > plain[first, second])


def judge_copies(tally: Tally, files: Iterable[Entry], root: Path) -> list[Problem]:
    """Images that look like one of another site, one row for two sites, of their two images most alike.

    Exact copies are left to ``judge_duplicates``. Only whole patches are compared. Ground at another date is
    found as far as it still looks alike.
    """
    images = [entry for entry in files if entry.path in tally.looks]
    if not images:
        return []
    best: dict[tuple[str, str], tuple[float, Entry, Entry, bool]] = {}
    for i, k, likeness, turned in _alike(np.stack([tally.looks[entry.path] for entry in images])):
        a, b = images[i], images[k]
        same = a.site == b.site or tally.digests[a.path] == tally.digests[b.path]
        wanted = likeness >= COPY or (a.dates != b.dates and not turned)
        if not same and wanted and likeness > best.get((a.site, b.site), (0.0,))[0]:
            best[a.site, b.site] = (likeness, a, b, turned)
    found = []
    for likeness, a, b, turned in best.values():
        kind = COPIES[0 if likeness >= COPY else 1]
        how = " turned or flipped" if turned else ""
        detail = f"looks like {name_of(a.path, root)}{how} (likeness {likeness:.2f} of 1)"
        found.append(Problem("warning", kind, name_of(b.path, root), detail))
    return found


def judge_band_order(tally: Tally) -> list[Problem]:
    """NIR must be the highest band over woodland and the lowest over water, red minus blue higher over soil
    than woods.

    The first two hold for B,G,R,NIR and R,G,B,NIR alike; the third tells these two apart. Means over all
    dates.
    """
    means, by_date = _cover_means(tally)
    found = []
    nir = {cover: mean[3] - np.delete(mean, 3) for cover, mean in means.items()}
    if "woodland" in nir and not (nir["woodland"] > 0).all():
        found.append(("NIR is not the highest band over Woodland", "woodland"))
    if "water" in nir and not (nir["water"] < 0).all():
        found.append(("NIR is not the lowest band over River and Lake", "water"))
    if {"soil", "woodland"} <= means.keys():
        soil, woodland = (means[cover][2] - means[cover][0] for cover in ("soil", "woodland"))
        if soil < woodland:
            found.append(("red minus blue is lower over soil than over Woodland: exchanged?", "soil"))
    if not {"woodland", "water"} & means.keys():
        return [
            Problem("note", "band order", "", "not judged: too little Woodland, River and Lake is labelled")
        ]
    return [Problem("warning", "band order", "", f"{what}. {by_date[cover]}") for what, cover in found]


def _cover_means(tally: Tally) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Mean of each band [4] over each cover that is large enough, and the same by area and date in words."""
    means, words = {}, {}
    for cover in COVERS:
        sums = {(area, date): v for (area, date, c), v in sorted(tally.cover.items()) if c == cover}
        total = sum(sums.values(), np.zeros(5, dtype=np.int64))
        if total[4] < FEWEST_PIXELS:
            continue
        means[cover] = total[:4] / total[4]
        words[cover] = "; ".join(
            f"{area}{date:02d}: "
            + ", ".join(f"{n} {m:.0f}" for n, m in zip(BAND_NAMES, v[:4] / v[4], strict=True))
            for (area, date), v in sums.items()
        )
    return means, words


def judge_changes(tally: Tally, root: Path, unlabelled: int | None = None) -> list[Problem]:
    """Change masks against the class masks of their two dates, and SCD against BCD.

    BCD: 0 where both dates are labelled and the classes differ, or the reverse. SCD against BCD: a value that
    mostly stands for no change where BCD says change, or the reverse. SCD against the classes: two different
    classes with another value than most such pixels in the tree have, or one class with a value that stands
    for a change. Unlabelled pixels are left out throughout, and so is the value ``unlabelled`` of the masks
    (of a BCD mask only where another value than it and 0 is left to mean change).
    """
    bcd = {p: t["classes"] for p, t in tally.changes.items() if "classes" in t and p.parent.name == "BCD"}
    scd = {p: t["classes"] for p, t in tally.changes.items() if "classes" in t and p.parent.name == "SCD"}
    both = {p: t["bcd"] for p, t in tally.changes.items() if "bcd" in t}
    scd = {p: t[t[:, 1] != unlabelled] for p, t in scd.items()}
    both = {p: t[t[:, 1] != unlabelled] for p, t in both.items()}
    if {value for t in bcd.values() for value in t[:, 1].tolist()} - {0, unlabelled}:
        bcd = {p: t[t[:, 1] != unlabelled] for p, t in bcd.items()}
        both = {p: t[t[:, 0] != unlabelled] for p, t in both.items()}
    found = _report("BCD contradicts the class masks", {p: _bcd_wrong(t) for p, t in bcd.items()}, root)
    still = _unchanged_values(both)
    wrong = {
        p: (int(t[(t[:, 0] == 0) != np.isin(t[:, 1], still), 2].sum()), int(t[:, 2].sum()))
        for p, t in both.items()
    }
    found += _report("SCD contradicts BCD", wrong, root)
    code_book = _code_book(scd, still)
    wrong = {p: _scd_wrong(t, code_book, still) for p, t in scd.items()}
    return found + _report("SCD contradicts the class masks", wrong, root)


def _labelled(table: np.ndarray) -> np.ndarray:
    """Rows of a cross-tabulation whose pixels are labelled at both dates."""
    return table[(table[:, 0] >= legend.N_INDEX) & (table[:, 0] % legend.N_INDEX > 0)]


def _differs(table: np.ndarray) -> np.ndarray:
    return table[:, 0] // legend.N_INDEX != table[:, 0] % legend.N_INDEX


def _bcd_wrong(table: np.ndarray) -> tuple[int, int]:
    """(contradictory, compared) pixels of one BCD mask."""
    rows = _labelled(table)
    return int(rows[_differs(rows) == (rows[:, 1] == 0), 2].sum()), int(rows[:, 2].sum())


def _unchanged_values(both: dict[Path, np.ndarray]) -> list[int]:
    """SCD values that lie mostly where BCD is 0."""
    balance: Counter[int] = Counter()
    for table in both.values():
        for bcd, scd, count in table.tolist():
            balance[scd] += count if bcd == 0 else -count
    return [value for value, count in balance.items() if count > 0] or [0]


def _code_book(scd: dict[Path, np.ndarray], still: list[int]) -> dict[int, int]:
    """Commonest SCD value of every pair of different classes, among the values that stand for a change."""
    seen: dict[int, Counter[int]] = {}
    for table in scd.values():
        rows = _labelled(table)
        for pair, value, count in rows[_differs(rows) & ~np.isin(rows[:, 1], still)].tolist():
            seen.setdefault(pair, Counter())[value] += count
    return {pair: values.most_common(1)[0][0] for pair, values in seen.items()}


def _scd_wrong(table: np.ndarray, code_book: dict[int, int], still: list[int]) -> tuple[int, int]:
    """(contradictory, compared) pixels of one SCD mask."""
    rows = _labelled(table)
    differ, unchanged = _differs(rows), np.isin(rows[:, 1], still)
    wrong = [
        (code_book.get(pair) != value) if differs else not same
        for (pair, value, _), differs, same in zip(rows.tolist(), differ, unchanged, strict=True)
    ]
    return int(rows[np.array(wrong, dtype=bool), 2].sum()), int(rows[:, 2].sum())


def _report(problem: str, wrong: dict[Path, tuple[int, int]], root: Path) -> list[Problem]:
    """A warning for each file above the tolerated share, one note for all files below it."""
    found, quiet = [], []
    for path, (bad, compared) in wrong.items():
        if bad > TOLERATED * compared:
            detail = f"{bad} of {compared} compared pixels ({bad / compared:.1%}); tolerated {TOLERATED:.0%}"
            found.append(Problem("warning", problem, name_of(path, root), detail, bad))
        elif bad:
            quiet.append((bad, path))
    if quiet:
        total = sum(bad for bad, _ in quiet)
        most, path = max(quiet)
        detail = (
            f"{total} pixels in {len(quiet)} files, each within {TOLERATED:.0%}; {most} of them in this one"
        )
        found.append(Problem("note", problem, name_of(path, root), detail, total))
    return found


def published_counts(found: list[Entry]) -> list[Problem]:
    """Patches of HS and JA, by half and date, against the published counts; val and test are one half."""
    present: dict[tuple[str, str], Counter[int]] = {}
    for e in found:
        if e.kind == "image" and e.area in PUBLISHED:
            half = "train" if e.folder == "train" else "val and test"
            present.setdefault((half, e.area), Counter())[e.dates[0]] += 1
    problems = []
    for (half, area), dates in sorted(present.items()):
        if any(dates[date] != PUBLISHED[area] for date in PUBLISHED_DATES):
            words = ", ".join(f"{dates[date]} of {area}{date}" for date in PUBLISHED_DATES)
            detail = f"{half}: {words}; WUSU as published has {PUBLISHED[area]} of each date"
            problems.append(Problem("note", "other counts than published", "", detail, sum(dates.values())))
    return problems


SEVERITIES = ("error", "warning", "note")
NAMED_FILES = 3  # of each kind of error in the message of a refusal
_EXAMPLE = {"image": "HS15_0.tif", "mask": "HS15_0.tif", "bcd": "HS1516_0.tif", "scd": "HS1516_0.tif"}


def check(root: str | Path, unlabelled: int | None = None) -> pd.DataFrame:
    """Read every file of a tree once and list all problems, the worst first.

    Columns: severity, problem, file (below the root; "" for the tree as a whole), detail, count (pixels or
    files). "error": training would be spoiled (unreadable, wrong bands, dtype or size, unknown code, empty
    image, partner missing). "warning": suspicious. "note": information. ``unlabelled``: a code that class
    masks have for unlabelled ground, beside 0, and change masks for ground that was not annotated. Raises
    FileNotFoundError if there is no tree at ``root``.
    """
    base = resolve(root)
    coding, mapping_problems = _coding(base, unlabelled)
    found = entries(base)
    usable = [e for kind in KINDS for e in first_of_each(found, kind).values()]
    tally = _examine_all(usable, base, coding)
    problems = [
        *_gathered(tally.problems),
        *_names(found, base),
        *_missing_partners(usable, base),
        *_missing_dates(usable, base),
        *mapping_problems,
        *judge_sizes(tally, base),
        *judge_duplicates(tally, base),
        *judge_copies(tally, usable, base),
        *judge_band_order(tally),
        *judge_changes(tally, base, unlabelled),
        *published_counts(usable),
    ]
    problems.sort(key=lambda p: (SEVERITIES.index(p.severity), p.problem, p.file, p.detail))
    return pd.DataFrame(map(astuple, problems), columns=list(PROBLEM_COLUMNS))


def refuse(problems: pd.DataFrame) -> None:
    """Raise ValueError naming the files if any problem is an error."""
    errors = problems[problems["severity"] == "error"]
    if errors.empty:
        return
    raise ValueError(
        f"{len(errors)} problems in the data would spoil training; repair or remove these files:\n"
        + "\n".join(_line(str(problem), rows) for problem, rows in errors.groupby("problem", sort=False))
    )


def _line(problem: str, rows: pd.DataFrame) -> str:
    """The errors of one kind in a line: how many files, the first of them, what is wrong with the first."""
    files = rows["file"].drop_duplicates().tolist()
    first, detail = files[0], rows["detail"].iloc[0]
    if len(files) == 1:
        return f"  {first}: {problem} ({detail})"
    more = f" and {len(files) - NAMED_FILES} more" if len(files) > NAMED_FILES else ""
    return f"  {problem} in {len(files)} files: {', '.join(files[:NAMED_FILES])}{more} (the first: {detail})"


def _gathered(problems: list[Problem]) -> list[Problem]:
    """Problems, those that hold for many files or for none as one row for the tree, with the first file."""
    alike: dict[str, list[Problem]] = {}
    for problem in problems:
        if problem.problem in imagery.GATHERED:
            alike.setdefault(problem.problem, []).append(problem)
    found = [problem for problem in problems if problem.problem not in imagery.GATHERED]
    for rows in alike.values():
        first = min(rows, key=lambda row: row.file)
        others = f"; and {len(rows) - 1} more files" if len(rows) > 1 else ""
        found.append(replace(first, detail=first.detail + others, count=len(rows)))
    return found


def _coding(root: Path, unlabelled: int | None) -> tuple[Coding, list[Problem]]:
    """The coding of the class masks, and what is to be said of it; the legend's where there is none."""
    try:
        coding = coding_of(root, unlabelled)
    except ValueError as error:
        reason = str(error).removeprefix(f"{root / MAPPING_FILE}: ")
        return LEGEND, [Problem("error", "class codes not understood", MAPPING_FILE, reason)]
    if not (other := differences(coding)):
        return coding, []
    detail = f"the class masks are read by it: {', '.join(other)}"
    return coding, [Problem("note", "other class codes", MAPPING_FILE, detail, len(other))]


def _examine_all(files: list[Entry], root: Path, coding: Coding) -> Tally:
    """Examine site by site in two or more threads and add up; at any time only a few sites are in memory."""
    sites: dict[str, list[Entry]] = {}
    for entry in files:
        sites.setdefault(entry.site, []).append(entry)
    total = Tally()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for tally in pool.map(lambda part: examine(part, root, coding), sites.values()):
            total.problems += tally.problems
            total.sizes |= tally.sizes
            total.changes |= tally.changes
            total.digests |= tally.digests
            total.looks |= tally.looks
            for key, sums in tally.cover.items():
                total.cover[key] = total.cover.get(key, 0) + sums
    return total


def _names(found: list[Entry], root: Path) -> Iterable[Problem]:
    """Names that cannot be read, names in another area's folder, two files for one patch."""
    seen: dict[tuple, Entry] = {}
    for entry in found:
        name = name_of(entry.path, root)
        if not entry.dates:
            yield Problem(
                "note", "name not understood", name, f"left out; expected a name like {_EXAMPLE[entry.kind]}"
            )
            continue
        if entry.area != entry.area_folder:
            detail = f"the name says {entry.area}, the folder {entry.area_folder}; the name counts"
            yield Problem("warning", "area contradicts folder", name, detail)
        other = seen.setdefault((entry.kind, *entry.key), entry)
        if other is not entry:
            detail = f"left out; {name_of(other.path, root)} has the same area, date and index"
            yield Problem("error", "two files for one patch", name, detail)


def _missing_partners(files: list[Entry], root: Path) -> Iterable[Problem]:
    """Images without mask, masks without image, BCD without SCD and the reverse.

    A date of an area for which a folder holds no masks at all is one note: data may be published without
    labels.
    """
    keys = {kind: {e.key for e in files if e.kind == kind} for kind in KINDS}
    labelled = {key[:3] for key in keys["mask"]}
    unlabelled = sorted({key[:3] for key in keys["image"]} - labelled)
    for folder, area, (date,) in unlabelled:
        count = sum(key[:3] == (folder, area, (date,)) for key in keys["image"])
        yield Problem(
            "note", "no masks for a date", "", f"{folder}: none of {count} {area}{date:02d} patches", count
        )
    for entry in files:
        name = name_of(entry.path, root)
        if entry.kind == "image" and entry.key[:3] in labelled and entry.key not in keys["mask"]:
            yield Problem("error", "missing mask", name, f"expected class/{entry.path.name}")
        elif entry.kind == "mask" and entry.key not in keys["image"]:
            yield Problem("error", "missing image", name, f"expected imgs/{entry.path.name}")
        elif entry.kind in ("bcd", "scd"):
            other = "scd" if entry.kind == "bcd" else "bcd"
            if entry.key not in keys[other]:
                yield Problem(
                    "warning", "missing change mask", name, f"expected {KINDS[other]}/{entry.path.name}"
                )
            for date in entry.dates:
                if (entry.folder, entry.area, (date,), entry.index) not in keys["image"]:
                    detail = f"no image {entry.area}{date:02d}_{entry.index} for this change mask"
                    yield Problem("warning", "missing image", name, detail)


def _missing_dates(files: list[Entry], root: Path) -> Iterable[Problem]:
    """Sites that lack an image of a date, or change masks of an interval, that others of their area have."""
    for kind, problem in (("image", "missing date"), ("bcd", "missing change masks")):
        of_area: dict[tuple[str, str], set] = {}
        of_site: dict[Entry, set] = {}
        first: dict[str, Entry] = {}
        for e in (e for e in files if e.kind == kind or (kind == "bcd" and e.kind == "scd")):
            of_area.setdefault((e.folder, e.area), set()).add(e.dates)
            of_site.setdefault(first.setdefault(e.site, e), set()).add(e.dates)
        for entry, dates in of_site.items():
            for missing in sorted(of_area[entry.folder, entry.area] - dates):
                wanted = f"{entry.area}{''.join(f'{d:02d}' for d in missing)}_{entry.index}.tif"
                yield Problem("warning", problem, name_of(entry.path, root), f"{wanted} is not there")
