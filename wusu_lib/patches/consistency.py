"""Judges a tree as a whole from the counts of its sites: sizes, band order, change masks, duplicates."""

from collections import Counter
from pathlib import Path

import numpy as np

from wusu_lib import legend
from wusu_lib.patches.contents import BAND_NAMES, COVERS, Problem, Tally, name_of
from wusu_lib.patches.table import Entry

PUBLISHED = {"HS": 288, "JA": 270}  # sites of each half (train; test), each with 3 dates and 2 intervals
PUBLISHED_DATES = (15, 16, 18)
TOLERATED = 0.02  # share of a change mask's pixels that annotation noise may contradict without a warning
FEWEST_PIXELS = 500  # of a cover, under which its mean colour says nothing


def sizes(tally: Tally, root: Path) -> list[Problem]:
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


def duplicates(tally: Tally, root: Path) -> list[Problem]:
    """Images with the same pixels under two names."""
    first: dict[int, Path] = {}
    found = []
    for path, digest in tally.digests.items():
        if digest in first:
            detail = f"the same pixels as {name_of(first[digest], root)}"
            found.append(Problem("warning", "same image twice", name_of(path, root), detail))
        first.setdefault(digest, path)
    return found


def band_order(tally: Tally) -> list[Problem]:
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


def changes(tally: Tally, root: Path) -> list[Problem]:
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
