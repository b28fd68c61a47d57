"""Which value of a change mask stands for which transition: learnt by counting, since it is not published.

The counting is one pass over a tree's files. A code book is kept in the user's cache folder under the
fingerprint of the data that it was learnt from.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from wusu_lib import files, legend
from wusu_lib.data.inspection import Dossier
from wusu_lib.data.masks import read_change, read_index
from wusu_lib.data.tree import digest
from wusu_lib.files import read_json, write_json
from wusu_lib.legend import NAMES as CLASS_NAMES
from wusu_lib.transitions import COLOURS, FIRST, N_LABELS, NAMES, SECOND, UNCHANGED, UNLABELLED, from_to

# What the annotation of a tree says of change, counted in one pass over its files.
#
# Three tables, each a sum over patches: labels against the values of the change masks (for the code book),
# transitions between neighbouring dates (for the prior), and chains over three dates (for plausibility).

Kind = Literal["scd", "bcd"]
N_ROWS = N_LABELS + 1  # the labels, and last the pixels unlabelled at either date


def check_kind(kind: str) -> None:
    """Raise ValueError unless ``kind`` is "scd" or "bcd"."""
    if kind not in get_args(Kind):
        raise ValueError(f"kind: got {kind!r}; allowed: {', '.join(get_args(Kind))}")


def cross_tabulate(table: pd.DataFrame, changes: pd.DataFrame, kind: Kind = "scd") -> np.ndarray:
    """Pixels by from-to label and value of the change mask: int64 [112, 256]; row 111 is unlabelled.

    What a change mask itself declares as nodata counts as unlabelled.

    ``table`` and ``changes`` as of ``tree.scan`` and ``tree.scan_changes``. Change masks without both
    class masks are left out. Raises ValueError, naming the file, for a mask that is not one band of uint8 in
    the size of the others, holds unknown class codes or cannot be read, and where no mask is left.
    """
    check_kind(kind)
    masks = _masks(table)
    jobs = [
        (masks[row.site, row.date1], masks[row.site, row.date2], getattr(row, kind))
        for row in changes[changes[kind].notna()].itertuples()
        if {(row.site, row.date1), (row.site, row.date2)} <= masks.keys()
    ]
    if not jobs:
        raise ValueError(
            f"no {kind.upper()} mask with class masks at both of its dates: nothing to learn from"
        )
    return _sum(_label_values, jobs)


def count_transitions(table: pd.DataFrame) -> dict[tuple[int, int], np.ndarray]:
    """Pixels by class index at two neighbouring dates: {(15, 16): int64 [12, 12], ...}, rows the first date.

    Over the rows given (pass the train rows); sites that lack the mask of either date are left out of that
    interval. Raises ValueError naming the file as ``cross_tabulate`` does.
    """
    masks = _masks(table)
    dates = sorted({date for _, date in masks})
    found = {}
    for first, second in pairwise(dates):
        sites = [site for site, date in masks if date == first and (site, second) in masks]
        jobs = [(masks[site, first], masks[site, second]) for site in sites]
        found[first, second] = _sum(_index_counts, jobs) if jobs else np.zeros((12, 12), dtype=np.int64)
    return found


def count_chains(table: pd.DataFrame, dates: tuple[int, int, int] = (15, 16, 18)) -> np.ndarray:
    """Pixels by class index at three dates: int64 [12, 12, 12]; sites that lack a mask do not count."""
    masks = _masks(table)
    sites = dict.fromkeys(site for site, _ in masks)
    wanted = [[(site, date) for date in dates] for site in sites]
    jobs = [tuple(masks[key] for key in keys) for keys in wanted if set(keys) <= masks.keys()]
    return _sum(_index_counts, jobs) if jobs else np.zeros((legend.N_INDEX,) * 3, dtype=np.int64)


def joint_counts(maps: Iterable[np.ndarray]) -> np.ndarray:
    """Pixels by class index in each of T maps (uint8, equal shape): int64 [12] * T, first map first."""
    maps = list(maps)
    packed = np.zeros(maps[0].shape, dtype=np.int32)
    for each in maps:
        packed *= legend.N_INDEX
        packed += each
    size = legend.N_INDEX ** len(maps)
    return np.bincount(packed.ravel(), minlength=size).reshape((legend.N_INDEX,) * len(maps)).astype(np.int64)


def _masks(table: pd.DataFrame) -> dict[tuple[str, int], str]:
    """Path of the class mask by site and date."""
    rows = table[table["mask"].notna()]
    return dict(zip(zip(rows["site"], rows["date"], strict=True), rows["mask"], strict=True))


def _sum(count: Callable[[tuple[str, ...]], np.ndarray], jobs: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Sum of the counts of all jobs; files are read in a few threads, one result a thread is in memory."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        counted = pool.map(count, jobs)
        total = next(counted).copy()
        for each in counted:
            total += each
    return total


def _label_values(job: tuple[str, ...]) -> np.ndarray:
    """Labels against values of one interval of a site: [112, 256]."""
    labels = from_to(read_index(job[0]), read_index(job[1]))
    values, without = read_change(job[2])
    _same_size(labels, values, job)
    labels[labels == UNLABELLED] = N_ROWS - 1
    if without is not None:
        labels[without] = N_ROWS - 1
    packed = labels.astype(np.int32) * 256 + values
    return np.bincount(packed.ravel(), minlength=N_ROWS * 256).reshape(N_ROWS, 256)


def _index_counts(job: tuple[str, ...]) -> np.ndarray:
    """``joint_counts`` of the masks of one site."""
    maps = [read_index(path) for path in job]
    for other in maps[1:]:
        _same_size(maps[0], other, job)
    return joint_counts(maps)


def _same_size(a: np.ndarray, b: np.ndarray, paths: tuple[str, ...]) -> None:
    if a.shape != b.shape:
        raise ValueError(f"{paths[-1]}: {b.shape} px, but {paths[0]} has {a.shape}; they must be equal")


# Evidence is a table of pixels by from-to label (rows) and mask value (columns). Both sides carry noise: a
# wrong class puts a pixel into a wrong row, a wrong mask value into a wrong column. Nearly all ground is
# unchanged, so even 1 % of noise can bury a rare transition under strays, and a plain majority vote fails:
#
# 1. The value of "unchanged" u is the commonest value on unchanged ground.
# 2. Another value v found n0 times on unchanged ground is a stray there, at a rate of (n0 + 1) / pixels of
#    unchanged ground. The same rate times the pixels of a label is what strays alone would give it.
# 3. A label is a candidate of v if its count is significant against that (Poisson tail under ``CHANCE``) and
#    its excess at least ``TOLERANCE`` of the greatest. The one with the greatest excess gets v as its code.
#
# "Function both ways" is then: no value with two candidates, no label with two values. What breaks it is a
# conflict, is listed, and makes ``CodeBook.require`` raise.
#
# Ground that nobody annotated may have a value of its own. A value that lies mostly on unchanged ground,
# and on a good part of it (``NO_STRAY``), is no code of a change but stands for unchanged ground too: a
# conflict, unless the masks' user names it (``unlabelled``) or it is 255, the usual value for such ground.
# Either is then left out. But 255 is a value like any other where most of its pixels changed, or where it
# is that of "unchanged"; and a named value is one in a binary mask that has no other for "changed".

CHANCE = 1e-6  # that strays alone give a count; 255 values x 110 labels are tried
TOLERANCE = 0.1  # share of the greatest count from which a second label or value is a rival
NO_STRAY = 0.01  # share of unchanged ground; noise spread over all values gives each far less
USUAL_UNLABELLED = 255
CHANGED = 1  # label of the only change that a binary mask knows
CHANGED_NAME = "Changed"
CHANGED_COLOUR = "#b3261e"


class Conflict(NamedTuple):
    """What breaks the function: one ``value`` of several ``labels`` or one label of several ``values``."""

    values: tuple[int, ...]
    labels: tuple[int, ...]
    pixels: tuple[int, ...]  # of each value with the label, or of each label with the value


@dataclass(frozen=True)
class CodeBook:
    """What a tree's change masks mean. Made by ``learn``.

    ``kind``: "scd" (labels 0 to 110) or "bcd" (0 unchanged, 1 changed). ``counts``: the evidence, int64
    [112, 256]. ``codes``: {label: value}, one to one. ``conflicts``: see ``Conflict``; a value or label in
    conflict keeps the code with the most evidence.
    """

    kind: Kind
    counts: np.ndarray
    codes: dict[int, int]
    conflicts: tuple[Conflict, ...]

    def require(self) -> "CodeBook":
        """The book itself; raises ValueError naming the codes at fault if masks cannot be trusted by it.

        That is: it is no function both ways, or no value stands for a change although ground changed.
        """
        if self.conflicts:
            words = "; ".join(self._describe(conflict) for conflict in self.conflicts[:5])
            more = f" and {len(self.conflicts) - 5} more" if len(self.conflicts) > 5 else ""
            raise ValueError(
                f"the {self.kind.upper()} masks have no one-to-one code: {words}{more}. Check the masks and "
                "the class masks of the same dates (patches.check lists contradictory files). A value that "
                "marks ground that nobody annotated can be named: -p unlabelled VALUE"
            )
        if not self.codes.keys() - {UNCHANGED}:
            changed = int(self.evidence[1:].sum())
            raise ValueError(
                f"the {self.kind.upper()} masks say that nothing changed: the only value with a meaning is "
                f"{self.codes[UNCHANGED]} (unchanged), while the class masks differ on {changed:,} pixels. "
                "Check whether the change masks are empty"
            )
        return self

    def labels(self, values: np.ndarray) -> np.ndarray:
        """Label (uint8) of each mask value (uint8); 255 for a value without a code.

        A mask may use the value of "unchanged" for unlabelled ground too: set labels to 255 where a class
        mask is unlabelled.
        """
        of_value = np.full(256, UNLABELLED, dtype=np.uint8)
        for label, value in self.codes.items():
            of_value[value] = label
        return of_value[values]

    def values(self, labels: np.ndarray) -> np.ndarray:
        """Mask value (uint8) of each label (uint8); unlabelled (255) gets the commonest value found there.

        Raises ValueError, naming the transitions, for labels without a code.
        """
        of_label = np.zeros(256, dtype=np.uint8)
        of_label[list(self.codes)] = list(self.codes.values())
        of_label[UNLABELLED] = self.unlabelled_value
        missing = set(np.unique(labels).tolist()) - self.codes.keys() - {UNLABELLED}
        if missing:
            names = ", ".join(self._name(label) for label in sorted(missing))
            raise ValueError(f"no code is known for: {names}; the masks that were counted never show it")
        return of_label[labels]

    @property
    def unlabelled_value(self) -> int:
        """Commonest value where either date is unlabelled, that of "unchanged" if there is no such pixel."""
        row = self.counts[-1]
        return int(row.argmax()) if row.any() else self.codes[UNCHANGED]

    @cached_property
    def evidence(self) -> np.ndarray:
        """The counts over the labels that the kind has, without unlabelled pixels: [111, 256] or [2, 256]."""
        return _fold(self.counts, self.kind)

    @property
    def never_seen(self) -> list[int]:
        """Labels without a code: no pixel shows them, or too few to tell from strays."""
        return [label for label in range(len(self.evidence)) if label not in self.codes]

    @property
    def agreement(self) -> float:
        """Share of the pixels labelled at both dates whose value is the code of their label (0 to 1)."""
        agreeing = sum(int(self.evidence[label, value]) for label, value in self.codes.items())
        return agreeing / max(int(self.evidence.sum()), 1)

    def table(self) -> pd.DataFrame:
        """One row a code, by code: code, label, from, to, name, colour, pixels, agreement.

        ``pixels``: labelled at both dates and carrying the code; ``agreement``: share of them whose classes
        show this transition. from and to are empty where any class is meant.
        """
        pixels = self.evidence.sum(axis=0)
        rows = []
        for label, value in sorted(self.codes.items(), key=lambda item: item[1]):
            words = (*self._classes(label), self._name(label), self._colour(label))
            carrying = int(pixels[value])
            rows.append((value, label, *words, carrying, int(self.evidence[label, value]) / max(carrying, 1)))
        columns = ["code", "label", "from", "to", "name", "colour", "pixels", "agreement"]
        return pd.DataFrame(rows, columns=columns)

    def report(self) -> dict[str, object]:
        """The book in figures, for a page or a log.

        codes, transitions (of how many that could be), agreement (0 to 1), conflicts (in words), never_seen
        (names), strays: {value without a code: pixels labelled at both dates}, unlabelled: {value: pixels
        unlabelled at either date}.
        """
        pixels, known = self.evidence.sum(axis=0), set(self.codes.values())
        values = np.flatnonzero(pixels).tolist()
        unlabelled = np.flatnonzero(self.counts[-1]).tolist()
        return {
            "codes": len(self.codes),
            "transitions": f"{len(self.codes.keys() - {UNCHANGED})} of {len(self.evidence) - 1}",
            "agreement": self.agreement,
            "conflicts": [self._describe(conflict) for conflict in self.conflicts],
            "never_seen": [self._name(label) for label in self.never_seen],
            "strays": {value: int(pixels[value]) for value in values if value not in known},
            "unlabelled": {value: int(self.counts[-1, value]) for value in unlabelled},
        }

    def _describe(self, conflict: Conflict) -> str:
        values = ", ".join(map(str, conflict.values))
        names = ", ".join(self._name(label) for label in conflict.labels)
        pixels = ", ".join(map(str, conflict.pixels))
        return f"value {values} stands for {names} ({pixels} pixels)"

    def _name(self, label: int) -> str:
        return CHANGED_NAME if self.kind == "bcd" and label == CHANGED else NAMES[label]

    def _colour(self, label: int) -> str:
        return CHANGED_COLOUR if self.kind == "bcd" and label == CHANGED else COLOURS[label]

    def _classes(self, label: int) -> tuple[str, str]:
        if self.kind == "bcd" or label == UNCHANGED:
            return "", ""
        return CLASS_NAMES[FIRST[label]], CLASS_NAMES[SECOND[label]]


def learn(counts: np.ndarray, kind: Kind = "scd", unlabelled: int | None = None) -> CodeBook:
    """The code book that the evidence speaks for; see the module's text for the rule.

    ``counts``: int64 [112, 256] of ``cross_tabulate``. ``unlabelled``: the masks' value for ground
    that nobody annotated, beside 255. Conflicts are kept in the book, not raised: call ``require``. Raises
    ValueError for another shape and where no pixel is unchanged.
    """
    check_kind(kind)
    counts = np.asarray(counts)
    if counts.shape != (N_ROWS, 256):
        raise ValueError(f"counts have shape {counts.shape}; expected ({N_ROWS}, 256)")
    counts = _annotated(counts.astype(np.int64), kind, unlabelled)
    evidence = _fold(counts, kind)
    if not evidence[UNCHANGED].any():
        raise ValueError(
            "no pixel keeps its class between the dates: the value of 'unchanged' cannot be told"
        )
    unchanged = int(evidence[UNCHANGED].argmax())
    candidates = {value: _candidates(evidence, value) for value in range(256) if value != unchanged}
    codes, conflicts = _assign(evidence, unchanged, candidates)
    conflicts += _unchanged_too(evidence, unchanged, conflicts)
    return CodeBook(kind, counts, codes, tuple(conflicts))


def _annotated(counts: np.ndarray, kind: Kind, unlabelled: int | None) -> np.ndarray:
    """The counts, pixels with a value of ground that nobody annotated counted as unlabelled: [112, 256]."""
    counts = counts.copy()
    evidence = _fold(counts, kind)
    unchanged = int(evidence[UNCHANGED].argmax())
    changed = evidence[1:].sum(axis=0)
    left_out = []
    if 2 * changed[USUAL_UNLABELLED] <= evidence[:, USUAL_UNLABELLED].sum() and unchanged != USUAL_UNLABELLED:
        left_out.append(USUAL_UNLABELLED)
    if unlabelled is not None and 0 < unlabelled < 256:  # 0 is a value like any other in a change mask
        others = np.delete(evidence.sum(axis=0), [unlabelled, unchanged])
        if kind == "scd" or others.any():
            left_out.append(unlabelled)
    for value in set(left_out):
        counts[-1, value] += counts[:-1, value].sum()
        counts[:-1, value] = 0
    return counts


def _unchanged_too(evidence: np.ndarray, unchanged: int, known: list[Conflict]) -> list[Conflict]:
    """Values beside that of unchanged ground that lie mostly there and are too many to be strays."""
    told = {value for conflict in known if conflict.labels == (UNCHANGED,) for value in conflict.values}
    still = evidence[UNCHANGED]
    mostly = (2 * still > evidence.sum(axis=0)) & (still > NO_STRAY * still.sum())
    values = [value for value in np.flatnonzero(mostly).tolist() if value != unchanged and value not in told]
    return [
        Conflict((unchanged, value), (UNCHANGED,), (int(still[unchanged]), int(still[value])))
        for value in values
    ]


def _fold(counts: np.ndarray, kind: Kind) -> np.ndarray:
    """Drop unlabelled pixels and, for a binary mask, sum all transitions."""
    labelled = counts[:N_LABELS]
    return labelled if kind == "scd" else np.stack([labelled[UNCHANGED], labelled[1:].sum(axis=0)])


def _candidates(evidence: np.ndarray, value: int) -> list[int]:
    """Labels of changes that a value may stand for, the one with the greatest excess first."""
    from scipy.special import gammainc

    found, ground = evidence[1:, value], evidence.sum(axis=1)
    strays = (evidence[UNCHANGED, value] + 1) / ground[UNCHANGED] * ground[1:]
    chance = gammainc(np.maximum(found, 1), strays)  # P(Poisson(strays) >= found)
    excess = np.where((found > 0) & (chance < CHANCE), found - strays, 0.0)
    order = np.argsort(-excess, kind="stable")
    return [int(i) + 1 for i in order if excess[i] > 0 and excess[i] >= TOLERANCE * excess[order[0]]]


def _assign(
    evidence: np.ndarray, unchanged: int, candidates: dict[int, list[int]]
) -> tuple[dict[int, int], list[Conflict]]:
    """Codes and conflicts from each value's candidates."""
    conflicts = []
    claims: dict[int, list[int]] = {UNCHANGED: [unchanged]}
    for value, labels in candidates.items():
        if len(labels) > 1:
            pixels = tuple(int(evidence[label, value]) for label in labels)
            conflicts.append(Conflict((value,), tuple(labels), pixels))
        claims.setdefault(labels[0] if labels else UNCHANGED, []).append(value)
    codes = {}
    for label, values in sorted(claims.items()):
        values = sorted(values, key=lambda value: -evidence[label, value])
        codes[label] = values[0]
        rivals = [v for v in values if evidence[label, v] >= TOLERANCE * evidence[label, values[0]]]
        if len(rivals) > 1:
            pixels = tuple(int(evidence[label, value]) for value in rivals)
            conflicts.append(Conflict(tuple(rivals), (label,), pixels))
    return codes, conflicts


# Code books kept in the user's cache folder, under the fingerprint of the data they were learnt from.


def code_book(dossier: Dossier, kind: Kind = "scd") -> CodeBook:
    """The code book of a tree (``inspection.inspect(root)``), over all of its folders.

    Its evidence is counted once and kept as JSON in the folder code_books of the user's cache
    (``WUSU_CACHE`` overrides it), never in the data; the file's name holds the data's fingerprint and a hash
    of the change masks and of the counting code. A format is no label, so test folders count too. Call
    ``.require()`` on the result where the code must be one to one. Raises ValueError where there is nothing
    to learn from or a mask is damaged.
    """
    check_kind(kind)

    def make(path: Path) -> np.ndarray:
        counts = cross_tabulate(dossier.table, dossier.changes, kind)
        write_json(path, _content(dossier, counts, kind))
        return counts

    name = f"{dossier.fingerprint}_{kind}_{_masks_hash(dossier.changes, kind)}.json"
    counts = files.kept(files.cache_folder() / "code_books" / name, _load, make)
    return learn(counts, kind, dossier.unlabelled)


def _masks_hash(changes: pd.DataFrame, kind: Kind) -> str:
    """16 hex digits of the names and contents of the change masks and of the code that counts them."""
    total = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(path) for path in changes[kind].dropna()):
        total.update("/".join(path.parts[-5:]).encode() + b"\0")
        total.update(digest(str(path)))
    for name in ("codebook.py", "../transitions.py", "../data/masks.py", "../imagery.py", "../legend.py"):
        total.update((Path(__file__).parent / name).read_bytes())
    return total.hexdigest()


def _content(dossier: Dossier, counts: np.ndarray, kind: Kind) -> dict:
    """What is stored: the evidence, and for a reader's eye the table that follows from it."""
    rows, values = np.nonzero(counts)
    book = learn(counts, kind, dossier.unlabelled)
    return {
        "data": dossier.fingerprint,
        "kind": kind,
        "evidence": np.stack([rows, values, counts[rows, values]], axis=1).tolist(),
        "table": book.table().to_dict("records"),
    }


def _load(path: Path) -> np.ndarray | None:
    """The stored evidence [112, 256], or None if nothing is stored or it is damaged."""
    if (stored := read_json(path)) is None:
        return None
    rows = np.array(stored["evidence"], dtype=np.int64).reshape(-1, 3)
    counts = np.zeros((N_ROWS, 256), dtype=np.int64)
    counts[rows[:, 0], rows[:, 1]] = rows[:, 2]
    return counts
