"""Everything that is wrong with a tree, in one table; and the refusal to train on what would spoil it.

Every file of a site is read once (``examine``). Counts of all sites then judge the tree as a whole:
sizes, band order, change masks, duplicates.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from wusu_lib import legend
from wusu_lib.data.tree import KINDS, Entry, entries, first_of_each, resolve
from wusu_lib.imagery import BAND_NAMES, BANDS, read

# Reads every file of one site once: what is wrong with it, and the counts that judge the tree as a whole.

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


def judge_changes(tally: Tally, root: Path) -> list[Problem]:
    """Change masks against the class masks of their two dates, and SCD against BCD.

    BCD: 0 where both dates are labelled and the classes differ, or the reverse. SCD against BCD: a value that
    mostly stands for no change where BCD says change, or the reverse. SCD against the classes: two different
    classes with another value than most such pixels in the tree have, or one class with a value that stands
    for a change. Unlabelled pixels are left out throughout.
    """
    bcd = {p: t["classes"] for p, t in tally.changes.items() if "classes" in t and p.parent.name == "BCD"}
    scd = {p: t["classes"] for p, t in tally.changes.items() if "classes" in t and p.parent.name == "SCD"}
    both = {p: t["bcd"] for p, t in tally.changes.items() if "bcd" in t}
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
NAMED_FILES = 10  # in the message of a refusal
_EXAMPLE = {"image": "HS15_0.tif", "mask": "HS15_0.tif", "bcd": "HS1516_0.tif", "scd": "HS1516_0.tif"}


def check(root: str | Path) -> pd.DataFrame:
    """Read every file of a tree once and list all problems, the worst first.

    Columns: severity, problem, file (below the root; "" for the tree as a whole), detail, count (pixels or
    files). "error": training would be spoiled (unreadable, wrong bands, dtype or size, unknown code, empty
    image, partner missing). "warning": suspicious. "note": information. Raises FileNotFoundError if there is
    no tree at ``root``.
    """
    base = resolve(root)
    found = entries(base)
    usable = [e for kind in KINDS for e in first_of_each(found, kind).values()]
    tally = _examine_all(usable, base)
    problems = [
        *tally.problems,
        *_names(found, base),
        *_missing_partners(usable, base),
        *_missing_dates(usable, base),
        *_class_mapping(base),
        *judge_sizes(tally, base),
        *judge_duplicates(tally, base),
        *judge_band_order(tally),
        *judge_changes(tally, base),
        *published_counts(usable),
    ]
    problems.sort(key=lambda p: (SEVERITIES.index(p.severity), p.problem, p.file, p.detail))
    return pd.DataFrame(map(astuple, problems), columns=list(PROBLEM_COLUMNS))


def refuse(problems: pd.DataFrame) -> None:
    """Raise ValueError naming the files if any problem is an error."""
    errors = problems[problems["severity"] == "error"]
    if errors.empty:
        return
    lines = [f"  {row.file}: {row.problem} ({row.detail})" for row in errors.head(NAMED_FILES).itertuples()]
    more = f"\n  and {len(errors) - NAMED_FILES} more" if len(errors) > NAMED_FILES else ""
    raise ValueError(
        f"{len(errors)} problems in the data would spoil training; repair or remove these files:\n"
        + "\n".join(lines)
        + more
    )


def _examine_all(files: list[Entry], root: Path) -> Tally:
    """Examine site by site in two or more threads and add up; at any time only a few sites are in memory."""
    sites: dict[str, list[Entry]] = {}
    for entry in files:
        sites.setdefault(entry.site, []).append(entry)
    total = Tally()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for tally in pool.map(lambda part: examine(part, root), sites.values()):
            total.problems += tally.problems
            total.sizes |= tally.sizes
            total.changes |= tally.changes
            total.digests |= tally.digests
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


def _class_mapping(root: Path) -> Iterable[Problem]:
    """class_mapping.json against the legend: the same name with another code."""
    path = root / "class_mapping.json"
    if not path.is_file():
        return
    try:
        mapping = {
            str(name).strip().lower(): int(code) for name, code in json.loads(path.read_text("utf-8")).items()
        }
    except (ValueError, TypeError, AttributeError, UnicodeDecodeError) as error:
        yield Problem(
            "warning", "class_mapping.json not understood", path.name, f"expected names with codes: {error}"
        )
        return
    for land_class in legend.CLASSES:
        code = mapping.get(land_class.name.lower(), land_class.code)
        if code != land_class.code:
            detail = f"{land_class.name} has code {code} there and {land_class.code} in this project's legend"
            yield Problem("warning", "other class codes", path.name, detail)
