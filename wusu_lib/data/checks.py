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

    root: Path
    problems: list[Problem] = field(default_factory=list)
    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    cover: dict[tuple[str, int, str], np.ndarray] = field(default_factory=dict)
    changes: dict[Path, dict[str, np.ndarray]] = field(default_factory=dict)
    digests: dict[Path, int] = field(default_factory=dict)
    looks: dict[Path, np.ndarray] = field(default_factory=dict)

    def tell(self, severity: str, problem: str, path: Path | None, detail: str, count: int = 1) -> None:
        """Add a problem of a file; of the tree as a whole without a path."""
        file = "" if path is None else self.name(path)
        self.problems.append(Problem(severity, problem, file, detail, count))

    def tell_all(self, findings: Iterable[Finding], path: Path) -> None:
        """Add what was found of a file."""
        for finding in findings:
            self.tell(finding.severity, finding.problem, path, finding.detail, finding.count)

    def name(self, path: Path) -> str:
        """Path below the root with forward slashes, as the table of problems shows it."""
        return os.fsencode(path.relative_to(self.root).as_posix()).decode("utf-8", "backslashreplace")


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
    tally = Tally(root)
    read = {(e.kind, e.dates): file for e in files if (file := _load(e, coding, tally)) is not None}
    arrays = {key: file.array for key, file in read.items()}
    paths = {(e.kind, e.dates): e for e in files}
    _places(read, paths, tally)
    for (kind, dates), array in arrays.items():
        entry = paths[kind, dates]
        if kind == "image":
            _image(entry, array, tally)
            mask = arrays.get(("mask", dates))
            if mask is not None:
                _image_and_mask(entry, array, mask[0], paths["mask", dates], tally)
        elif kind == "mask":
            if not array.any():
                tally.tell("note", "mask without a label", entry.path, "no pixel has a class", array.size)
        else:
            _change(entry, read[kind, dates], arrays, tally)
    return tally


def _places(read: dict, paths: dict[tuple, Entry], tally: Tally) -> None:
    """Images against their class masks and against the images of the site's other dates."""
    images = {dates: file.place for (kind, dates), file in read.items() if kind == "image"}
    for dates, place in images.items():
        if (mask := read.get(("mask", dates))) is not None:
            tally.tell_all(imagery.of_pair(place, mask.place), paths["image", dates].path)
    if images:
        by_date = {date: place for (date,), place in images.items()}
        tally.tell_all(imagery.of_dates(by_date), paths["image", min(images)].path)


def _load(entry: Entry, coding: Coding, tally: Tally) -> _File | None:
    """What the file holds, or None if a problem makes it useless."""
    try:
        with opened(entry.path) as source:
            tally.sizes[entry.path] = source.shape
            return _read(entry, source, coding, tally) if _fit(entry, source, tally) else None
    except (ValueError, OSError) as error:
        tally.sizes.pop(entry.path, None)
        reason = str(error).removeprefix(f"{entry.path}: ")
        tally.tell("error", "unreadable file", entry.path, reason)
        return None


def _fit(entry: Entry, source: Any, tally: Tally) -> bool:
    """Whether an open file has the size, the number of bands and a type that its kind of file has."""
    dtype, told = source.dtypes[0], len(tally.problems)
    if source.width * source.height > LARGEST:
        detail = f"{_by(source.shape)} px; expected patches of at most {LARGEST:,} pixels, cut it into such"
        tally.tell("error", "too large to be read", entry.path, detail)
    if source.count != BANDS[entry.kind]:
        detail = f"expected {BANDS[entry.kind]}, got {source.count}"
        tally.tell("error", "wrong number of bands", entry.path, detail, source.count)
    if entry.kind == "image" and dtype != "uint8":
        tally.tell("error", "wrong dtype", entry.path, f"expected uint8, got {dtype}")
    if entry.kind != "image" and not np.issubdtype(dtype, np.integer):
        tally.tell("error", "wrong dtype", entry.path, f"expected whole numbers (uint8), got {dtype}")
    return len(tally.problems) == told


def _read(entry: Entry, source: Any, coding: Coding, tally: Tally) -> _File | None:
    """The open file's content as ``_File`` holds it, or None for a mask whose values cannot be used."""
    place = placement(source)
    if entry.kind == "image":
        image = source.read()
        tally.tell_all(imagery.of_image(source, image), entry.path)
        return _File(image, place)
    if entry.kind in ("bcd", "scd"):
        try:
            values, without = decode_change(source)
        except ValueError as error:
            tally.tell("error", "change mask of unfit values", entry.path, str(error))
            return None
        return _File(values[None], place, None if without is None else ~without)
    try:
        found = decode(source, coding)
    except ValueError as error:
        tally.tell("error", "class declared as nodata", entry.path, str(error))
        return None
    for code, pixels in found.unknown.items():
        detail = _unknown(code, pixels, coding)
        tally.tell("error", f"unknown class code {code}", entry.path, detail, pixels)
    return _File(found.index[None], place)


def _unknown(code: int, pixels: int, coding: Coding) -> str:
    """A code that stands for no class, and what can be done about it."""
    called = dict(coding.names).get(code)
    said = f" (class_mapping.json calls it {called!r}, which is no class here)" if called else ""
    return (
        f"on {pixels} pixels{said}; known: {coding.listed()}. If it marks ground without a label, say so: "
        f"-p unlabelled {code}"
    )


def _image(entry: Entry, image: np.ndarray, tally: Tally) -> None:
    """Emptiness, content hash and look of an image [4, H, W]."""
    tally.digests[entry.path] = hash(image.tobytes())
    tally.looks[entry.path] = look(image)
    constant = image.min(axis=(1, 2)) == image.max(axis=(1, 2))
    if constant.all():
        detail = f"every pixel is {image[:, 0, 0].tolist()}"
        tally.tell("error", "empty image", entry.path, detail, image[0].size)
    elif constant.any():
        names = ", ".join(n for n, c in zip(BAND_NAMES, constant, strict=True) if c)
        detail = f"the same value everywhere in {names}"
        tally.tell("warning", "constant band", entry.path, detail, int(constant.sum()))


def _image_and_mask(entry: Entry, image: np.ndarray, mask: np.ndarray, partner: Entry, tally: Tally) -> None:
    """Equal size, labels on a black collar, and the band sums over woodland, water and bare soil.

    image: uint8 [4, H, W]; mask: class index uint8 [H, W].
    """
    if image.shape[1:] != mask.shape:
        detail = f"image {_by(image.shape[1:])}, mask {tally.name(partner.path)} {_by(mask.shape)} px"
        tally.tell("error", "image and mask differ in size", entry.path, detail)
        return
    known = np.where(mask == legend.NO_INDEX, np.uint8(0), mask)
    tally.tell_all(imagery.collar(image, known), entry.path)
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


def judge_sizes(tally: Tally) -> None:
    """Files whose size is not the commonest one: they cannot be stacked into a batch."""
    if not tally.sizes:
        return
    (height, width), _ = Counter(tally.sizes.values()).most_common(1)[0]
    for path, (h, w) in tally.sizes.items():
        if (h, w) != (height, width):
            tally.tell("error", "wrong size", path, f"{h} x {w} px; most files are {height} x {width}")


def judge_duplicates(tally: Tally) -> None:
    """Images with the same pixels under two names."""
    first: dict[int, Path] = {}
    for path, digest in tally.digests.items():
        if digest in first:
            detail = f"the same pixels as {tally.name(first[digest])}"
            tally.tell("warning", "same image twice", path, detail)
        first.setdefault(digest, path)


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


def judge_copies(tally: Tally, files: Iterable[Entry]) -> None:
    """Images that look like one of another site, one row for two sites, of their two images most alike.

    Exact copies are left to ``judge_duplicates``. Only whole patches are compared. Ground at another date is
    found as far as it still looks alike.
    """
    images = [entry for entry in files if entry.path in tally.looks]
    if not images:
        return
    best: dict[tuple[str, str], tuple[float, Entry, Entry, bool]] = {}
    for i, k, likeness, turned in _alike(np.stack([tally.looks[entry.path] for entry in images])):
        a, b = images[i], images[k]
        same = a.site == b.site or tally.digests[a.path] == tally.digests[b.path]
        wanted = likeness >= COPY or (a.dates != b.dates and not turned)
        if not same and wanted and likeness > best.get((a.site, b.site), (0.0,))[0]:
            best[a.site, b.site] = (likeness, a, b, turned)
    for likeness, a, b, turned in best.values():
        kind = COPIES[0 if likeness >= COPY else 1]
        how = " turned or flipped" if turned else ""
        detail = f"looks like {tally.name(a.path)}{how} (likeness {likeness:.2f} of 1)"
        tally.tell("warning", kind, b.path, detail)


def judge_band_order(tally: Tally) -> None:
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
    for what, cover in found:
        tally.tell("warning", "band order", None, f"{what}. {by_date[cover]}")
    if not {"woodland", "water"} & means.keys():
        detail = "not judged: too little Woodland, River and Lake is labelled"
        tally.tell("note", "band order", None, detail)


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


def judge_changes(tally: Tally, unlabelled: int | None) -> None:
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
    _report("BCD contradicts the class masks", {p: _bcd_wrong(t) for p, t in bcd.items()}, tally)
    still = _unchanged_values(both)
    wrong = {
        p: (int(t[(t[:, 0] == 0) != np.isin(t[:, 1], still), 2].sum()), int(t[:, 2].sum()))
        for p, t in both.items()
    }
    _report("SCD contradicts BCD", wrong, tally)
    code_book = _code_book(scd, still)
    wrong = {p: _scd_wrong(t, code_book, still) for p, t in scd.items()}
    _report("SCD contradicts the class masks", wrong, tally)


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


def _report(problem: str, wrong: dict[Path, tuple[int, int]], tally: Tally) -> None:
    """A warning for each file above the tolerated share, one note for all files below it."""
    quiet = []
    for path, (bad, compared) in wrong.items():
        if bad > TOLERATED * compared:
            detail = f"{bad} of {compared} compared pixels ({bad / compared:.1%}); tolerated {TOLERATED:.0%}"
            tally.tell("warning", problem, path, detail, bad)
        elif bad:
            quiet.append((bad, path))
    if quiet:
        total = sum(bad for bad, _ in quiet)
        most, path = max(quiet)
        detail = (
            f"{total} pixels in {len(quiet)} files, each within {TOLERATED:.0%}; {most} of them in this one"
        )
        tally.tell("note", problem, path, detail, total)


def published_counts(tally: Tally, found: list[Entry]) -> None:
    """Patches of HS and JA, by half and date, against the published counts; val and test are one half."""
    present: dict[tuple[str, str], Counter[int]] = {}
    for e in found:
        if e.kind == "image" and e.area in PUBLISHED:
            half = "train" if e.folder == "train" else "val and test"
            present.setdefault((half, e.area), Counter())[e.dates[0]] += 1
    for (half, area), dates in sorted(present.items()):
        if any(dates[date] != PUBLISHED[area] for date in PUBLISHED_DATES):
            words = ", ".join(f"{dates[date]} of {area}{date}" for date in PUBLISHED_DATES)
            detail = f"{half}: {words}; WUSU as published has {PUBLISHED[area]} of each date"
            tally.tell("note", "other counts than published", None, detail, sum(dates.values()))


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
    tally, found = Tally(base), entries(base)
    usable = [e for kind in KINDS for e in first_of_each(found, kind).values()]
    _examine_all(usable, _coding(tally, unlabelled), tally)
    _names(tally, found)
    _missing_partners(tally, usable)
    _missing_dates(tally, usable)
    judge_sizes(tally)
    judge_duplicates(tally)
    judge_copies(tally, usable)
    judge_band_order(tally)
    judge_changes(tally, unlabelled)
    published_counts(tally, usable)
    problems = _gathered(tally.problems)
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


def _coding(tally: Tally, unlabelled: int | None) -> Coding:
    """The coding of the class masks, telling what is to be said of it; the legend's where there is none."""
    path = tally.root / MAPPING_FILE
    try:
        coding = coding_of(tally.root, unlabelled)
    except ValueError as error:
        tally.tell("error", "class codes not understood", path, str(error).removeprefix(f"{path}: "))
        return LEGEND
    if other := differences(coding):
        detail = f"the class masks are read by it: {', '.join(other)}"
        tally.tell("note", "other class codes", path, detail, len(other))
    return coding


def _examine_all(files: list[Entry], coding: Coding, total: Tally) -> None:
    """Examine site by site in two or more threads and add up; at any time only a few sites are in memory."""
    from threadpoolctl import threadpool_limits

    sites: dict[str, list[Entry]] = {}
    for entry in files:
        sites.setdefault(entry.site, []).append(entry)
    threads = min(4, os.cpu_count() or 1)
    # Each thread's products are small: threads of their own would cost ten times what they compute.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for tally in pool.map(lambda part: examine(part, total.root, coding), sites.values()):
            total.problems += tally.problems
            total.sizes |= tally.sizes
            total.changes |= tally.changes
            total.digests |= tally.digests
            total.looks |= tally.looks
            for key, sums in tally.cover.items():
                total.cover[key] = total.cover.get(key, 0) + sums


def _names(tally: Tally, found: list[Entry]) -> None:
    """Names that cannot be read, names in another area's folder, two files for one patch."""
    seen: dict[tuple, Entry] = {}
    for entry in found:
        if not entry.dates:
            detail = f"left out; expected a name like {_EXAMPLE[entry.kind]}"
            tally.tell("note", "name not understood", entry.path, detail)
            continue
        if entry.area != entry.area_folder:
            detail = f"the name says {entry.area}, the folder {entry.area_folder}; the name counts"
            tally.tell("warning", "area contradicts folder", entry.path, detail)
        other = seen.setdefault((entry.kind, *entry.key), entry)
        if other is not entry:
            detail = f"left out; {tally.name(other.path)} has the same area, date and index"
            tally.tell("error", "two files for one patch", entry.path, detail)


def _missing_partners(tally: Tally, files: list[Entry]) -> None:
    """Images without mask, masks without image, BCD without SCD and the reverse.

    A date of an area for which a folder holds no masks at all is one note: data may be published without
    labels.
    """
    keys = {kind: {e.key for e in files if e.kind == kind} for kind in KINDS}
    labelled = {key[:3] for key in keys["mask"]}
    unlabelled = sorted({key[:3] for key in keys["image"]} - labelled)
    for folder, area, (date,) in unlabelled:
        count = sum(key[:3] == (folder, area, (date,)) for key in keys["image"])
        detail = f"{folder}: none of {count} {area}{date:02d} patches"
        tally.tell("note", "no masks for a date", None, detail, count)
    for entry in files:
        if entry.kind == "image" and entry.key[:3] in labelled and entry.key not in keys["mask"]:
            tally.tell("error", "missing mask", entry.path, f"expected class/{entry.path.name}")
        elif entry.kind == "mask" and entry.key not in keys["image"]:
            tally.tell("error", "missing image", entry.path, f"expected imgs/{entry.path.name}")
        elif entry.kind in ("bcd", "scd"):
            other = "scd" if entry.kind == "bcd" else "bcd"
            if entry.key not in keys[other]:
                detail = f"expected {KINDS[other]}/{entry.path.name}"
                tally.tell("warning", "missing change mask", entry.path, detail)
            for date in entry.dates:
                if (entry.folder, entry.area, (date,), entry.index) not in keys["image"]:
                    detail = f"no image {entry.area}{date:02d}_{entry.index} for this change mask"
                    tally.tell("warning", "missing image", entry.path, detail)


def _missing_dates(tally: Tally, files: list[Entry]) -> None:
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
                tally.tell("warning", problem, entry.path, f"{wanted} is not there")
