"""Train, validation and test: which patch belongs where, and which patches are one spatial block.

Patches overlap. Which of them show the same ground is found by comparing content, and no block of shared
ground may stand on both sides of a split.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import pandas as pd

from wusu_lib.imagery import read

# Content-defined anchors: places of an image that are chosen by what is there, not by where they are.
#
# A window of 4 x 4 pixels is hashed at every position, and a position is an anchor if its hash falls in one
# of ``2**SPARSITY`` equal shares. Two images of the same ground choose the same anchors whatever their
# offset, so equal hashes vote for the offset between them (the idea of content-defined chunking, in two
# dimensions).

WINDOW = 4  # pixels: 4 x 4 x 4 bands are 512 bits, so unequal content hardly ever agrees
SPARSITY = 6  # one position in 2**6 is an anchor: about 4,000 in a patch of 512 px, 250 in one of 128 px
POPULAR = 24  # a hash at more places than this is a pattern, not a place; half-overlap gives at most 4
_HORIZONTAL, _VERTICAL, _BAND = (
    np.uint64(v) for v in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
)
_MIX = np.uint64(0xFF51AFD7ED558CCD)


def anchors(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes (uint64), rows and columns (int32) of the anchors of a uint8 image [C, H, W].

    Windows of a single colour are left out: they say nothing about the place.
    """
    words = np.zeros(image.shape[1:], dtype=np.uint64)
    for band in image:
        words *= _BAND
        words += band
    rolled = _roll(_roll(words, 1, _HORIZONTAL), 0, _VERTICAL)
    flat = _roll(_roll(np.ones((WINDOW, WINDOW), np.uint64), 1, _HORIZONTAL), 0, _VERTICAL)[0, 0]
    one_colour = rolled == words[: rolled.shape[0], : rolled.shape[1]] * flat
    mixed = (rolled ^ (rolled >> np.uint64(32))) * _MIX
    mixed ^= mixed >> np.uint64(29)
    rows, columns = np.nonzero((mixed >> np.uint64(64 - SPARSITY) == 0) & ~one_colour)
    return mixed[rows, columns], rows.astype(np.int32), columns.astype(np.int32)


def _roll(values: np.ndarray, axis: int, factor: np.uint64) -> np.ndarray:
    """Polynomial hash of ``WINDOW`` neighbours along an axis, which gets WINDOW - 1 shorter; modulo 2**64."""
    along = np.moveaxis(values, axis, 0)
    length = max(len(along) - WINDOW + 1, 0)
    total = along[:length].copy(order="K")  # the memory layout stays that of the image
    for step in range(1, WINDOW):
        total *= factor
        total += along[step : step + length]
    return np.moveaxis(total, 0, axis)


def votes(hashes: np.ndarray, owners: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> pd.DataFrame:
    """Count, for every two owners that share anchors, the offsets that the shared anchors speak for.

    All arrays [N]; ``owners`` are numbers from 0. Returns columns a, b (owners, a < b), dy, dx (where b's
    origin lies in a's pixel coordinates), votes; the best offset of a pair first.
    """
    order = np.lexsort((owners, hashes))
    hashes, owners, rows, columns = hashes[order], owners[order], rows[order], columns[order]
    starts = np.flatnonzero(np.r_[True, hashes[1:] != hashes[:-1]]) if len(hashes) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, len(hashes)])
    size_of_each = np.repeat(sizes, sizes)
    keys, reach = [], int(max(rows.max(initial=0), columns.max(initial=0))) + 1
    span = 2 * reach + 1
    for lag in range(1, min(POPULAR, int(sizes.max(initial=1)))):
        first = np.flatnonzero((hashes[:-lag] == hashes[lag:]) & (size_of_each[lag:] <= POPULAR))
        second = first + lag
        keep = owners[first] != owners[second]
        first, second = first[keep], second[keep]
        pair = owners[first].astype(np.int64) * (int(owners.max()) + 1) + owners[second]
        keys.append(
            (pair * span + (rows[first] - rows[second] + reach)) * span
            + columns[first]
            - columns[second]
            + reach
        )
    return _count(
        np.concatenate(keys) if keys else np.empty(0, np.int64), span, int(owners.max(initial=0)) + 1
    )


def _count(keys: np.ndarray, span: int, n: int) -> pd.DataFrame:
    """Decode and count the packed (a, b, dy, dx) of ``votes``."""
    values, counts = np.unique(keys, return_counts=True)
    pair, offset = np.divmod(values, span * span)
    dy, dx = np.divmod(offset, span)
    reach = (span - 1) // 2
    frame = pd.DataFrame({"a": pair // n, "b": pair % n, "dy": dy - reach, "dx": dx - reach, "votes": counts})
    return frame.sort_values(["a", "b", "votes"], ascending=[True, True, False], ignore_index=True)


# Which patches show the same ground, found by comparing content, and what that means for a split.
#
# Anchors (see ``anchors``) propose offsets between sites, a comparison of all overlapping pixels decides.
# From the pairs follows a layout: where each site lies relative to the sites it is connected with.

EQUAL_SHARE = 0.99  # of the overlapping pixels; cut from one scene it is 1, a few damaged pixels are forgiven
TRIED_OFFSETS = 3  # for each pair of sites, the offsets with the most votes
MEMORY = 256 * 2**20  # bytes of images kept for the comparison
PAIR_COLUMNS = ["site_a", "site_b", "dy", "dx", "pixels"]
LAYOUT_COLUMNS = ["site", "component", "y", "x", "height", "width"]


@dataclass(frozen=True)
class Overlaps:
    """Result of the audit.

    ``pairs``: site_a, site_b, dy, dx (site_b's origin in site_a's pixel coordinates), pixels (shared area).
    ``layout``: site, component, y, x, height, width in pixels; sites of one component share ground directly
    or through others, and y, x count from the component's top left corner.
    """

    pairs: pd.DataFrame
    layout: pd.DataFrame

    def ground(self, table: pd.DataFrame) -> Iterator[tuple[int, list[str], np.ndarray]]:
        """Ground of each split, one component at a time: (component, splits, covered bool [splits, H, W])."""
        split_of = table.drop_duplicates("site").set_index("site")["split"]
        splits = sorted(split_of.unique())
        known = self.layout[self.layout["site"].isin(split_of.index)]
        for component, part in known.groupby("component"):
            height, width = (part["y"] + part["height"]).max(), (part["x"] + part["width"]).max()
            covered = np.zeros((len(splits), height, width), dtype=bool)
            for row in part.itertuples():
                at = splits.index(split_of[row.site])
                covered[at, row.y : row.y + row.height, row.x : row.x + row.width] = True
            yield component, splits, covered

    def share(self, table: pd.DataFrame) -> pd.DataFrame:
        """Fraction of each split's ground (row) that also lies in another split (column); the diagonal is 1.

        Ground is the union of a split's pixels over all components, whatever the date. Splits as in
        ``table.split``; sites that the audit has not seen are left out.
        """
        splits = sorted(table["split"].unique())
        common = np.zeros((len(splits), len(splits)))
        for _, _, covered in self.ground(table):
            flat = covered.reshape(len(covered), -1)
            common += [[np.count_nonzero(a & b) for b in flat] for a in flat]
        total = np.diag(common)[:, None]
        fraction = np.divide(common, total, out=np.full_like(common, np.nan), where=total > 0)
        return pd.DataFrame(fraction, index=splits, columns=splits)


def shared_ground(table: pd.DataFrame) -> Overlaps:
    """Find every two sites of a table that show the same pixels, at any whole-pixel offset.

    Each site is read on one date (the commonest of its area, and on more dates where sites lack that one).
    An overlap must hold one textured window of 4 x 4 pixels that becomes an anchor: strips under about 8 px
    may be missed. ValueError naming the file where an image cannot be read.
    """
    sites = list(table["site"].drop_duplicates())
    number = {site: i for i, site in enumerate(sites)}
    jobs = _images_to_read(table)
    first = read(jobs[0][2])
    load = lru_cache(maxsize=max(8, MEMORY // first.nbytes))(read)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda job: (*anchors(load(job[2])), load(job[2]).shape[1:]), jobs))
    owners = np.concatenate([np.full(len(f[0]), number[job[0]]) for f, job in zip(found, jobs, strict=True)])
    hashes, rows, columns = (np.concatenate([f[k] for f in found]) for k in range(3))
    sizes = {job[0]: f[3] for job, f in zip(jobs, found, strict=True)}
    del found
    proposed = votes(hashes, owners, rows, columns)
    pairs = _verify(proposed, sites, {(site, date): path for site, date, path in jobs}, load)
    return Overlaps(pairs, _layout(pairs, sites, sizes))


def _images_to_read(table: pd.DataFrame) -> list[tuple[str, int, str]]:
    """(site, date, path) of the images to hash.

    In each area the date that most sites have; while some sites lack every date chosen so far, one more date,
    then for all sites that have it, so that two sites are comparable if they have a date in common.
    """
    jobs = []
    for _, part in table.groupby("area", sort=False):
        waiting = set(part["site"])
        while waiting:
            date = part[part["site"].isin(waiting)]["date"].value_counts(sort=True).index[0]
            chosen = part[part["date"] == date]
            jobs += list(zip(chosen["site"], chosen["date"], chosen["image"], strict=True))
            waiting -= set(chosen["site"])
    return jobs


def _verify(
    proposed: pd.DataFrame,
    sites: list[str],
    paths: dict[tuple[str, int], str],
    load: Callable[[str], np.ndarray],
) -> pd.DataFrame:
    """Keep of each pair of sites the first proposed offset at which all overlapping pixels agree."""
    dates: dict[str, set[int]] = {}
    for site, date in paths:
        dates.setdefault(site, set()).add(date)
    best = proposed[proposed.groupby(["a", "b"]).cumcount() < TRIED_OFFSETS]
    kept, done = [], set()
    for row in _near_together(best).itertuples():
        a, b = sites[row.a], sites[row.b]
        common = dates[a] & dates[b]
        if (a, b) in done or not common:
            continue
        date = min(common)
        pixels = _agreeing_pixels(load(paths[a, date]), load(paths[b, date]), row.dy, row.dx)
        if pixels:
            done.add((a, b))
            kept.append((a, b, row.dy, row.dx, pixels))
    return pd.DataFrame(kept, columns=PAIR_COLUMNS).sort_values(["site_a", "site_b"], ignore_index=True)


def _near_together(best: pd.DataFrame) -> pd.DataFrame:
    """Order proposals along the provisional layout, so that few images need to be kept or read again."""
    top = best[best.groupby(["a", "b"]).cumcount() == 0]
    place = _positions(list(top[["a", "b", "dy", "dx"]].itertuples(index=False, name=None)))
    keys = pd.DataFrame([place[a] for a in best["a"]], columns=["component", "y", "x"], index=best.index)
    return best.assign(**keys, best=-best["votes"]).sort_values(["component", "y", "x", "a", "b", "best"])


def _agreeing_pixels(a: np.ndarray, b: np.ndarray, dy: int, dx: int) -> int:
    """Overlap in pixels of images [C, H, W] if b's origin lies at (dy, dx) of a; 0 if they disagree there."""
    if a.shape[0] != b.shape[0]:
        return 0
    top, left = max(dy, 0), max(dx, 0)
    bottom, right = min(a.shape[1], dy + b.shape[1]), min(a.shape[2], dx + b.shape[2])
    if bottom <= top or right <= left:
        return 0
    equal = a[:, top:bottom, left:right] == b[:, top - dy : bottom - dy, left - dx : right - dx]
    return (bottom - top) * (right - left) if equal.all(axis=0).mean() >= EQUAL_SHARE else 0


def _positions(edges: list[tuple]) -> dict:
    """Component, y and x of every node of edges (a, b, dy, dx), component by component from a first node."""
    neighbours: dict = {}
    for a, b, dy, dx in edges:
        neighbours.setdefault(a, []).append((b, dy, dx))
        neighbours.setdefault(b, []).append((a, -dy, -dx))
    place: dict = {}
    for component, start in enumerate(neighbours):
        if start in place:
            continue
        place[start] = (component, 0, 0)
        queue = deque([start])
        while queue:
            node = queue.popleft()
            _, y, x = place[node]
            for other, dy, dx in neighbours[node]:
                if other not in place:
                    place[other] = (component, y + dy, x + dx)
                    queue.append(other)
    return place


def _layout(pairs: pd.DataFrame, sites: list[str], sizes: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """Positions of all sites; a site that shares nothing is a component of its own."""
    place = _positions(list(pairs[["site_a", "site_b", "dy", "dx"]].itertuples(index=False, name=None)))
    rows = [(site, *place.get(site, (f"alone {site}", 0, 0)), *sizes[site]) for site in sites]
    layout = pd.DataFrame(rows, columns=LAYOUT_COLUMNS)
    layout["component"] = pd.factorize(layout["component"])[0]
    for axis in ("y", "x"):
        layout[axis] -= layout.groupby("component")[axis].transform("min")
    return layout


Scheme = Literal["blocks", "study", "folders"]
BLOCK_FOOTPRINTS = (2, 1)  # patch sides along a block: the first that makes enough blocks
FEWEST_TILES = 6  # in one connected piece of a split
_log = logging.getLogger(__name__)


def assign(
    table: pd.DataFrame, scheme: Scheme, overlaps: Overlaps | None = None, seed: int = 42
) -> pd.DataFrame:
    """Give every row its split and its spatial block; rows lost to the cut are dropped.

    - "folders": as on disk.
    - "study": the sites of the test folder, shuffled with ``seed`` in each area, half validation and half
      test. Neighbouring patches share pixels, so the two halves leak into each other: for comparison only.
    - "blocks": the test folder's ground is cut in two across its longer side, the first half is validation,
      the second test. Sites that lie on both sides are dropped, and so are sites that share pixels with
      training. Where patches are not connected by shared ground, contiguous by index.

    A val folder on disk is kept as it is under every scheme. ``block`` names contiguous groups of about 2 x 2
    patch footprints in one area and split (1 x 1 where the ground is small); a site that shares no ground is
    a block of its own. ``overlaps`` is computed if not given. Raises ValueError for an unknown scheme, or
    where a cut leaves nothing.
    """
    if scheme not in get_args(Scheme):
        raise ValueError(f"split scheme: got {scheme!r}; allowed: {', '.join(get_args(Scheme))}")
    overlaps = shared_ground(table) if overlaps is None else overlaps
    sites = table.drop_duplicates("site")[["site", "folder", "area", "index"]]
    sites = sites.merge(overlaps.layout, on="site", how="left", validate="one_to_one")
    if sites["component"].isna().any():
        raise ValueError(
            f"the overlap audit does not know {sites.loc[sites['component'].isna(), 'site'].tolist()[:5]}; "
            "run shared_ground on the same table"
        )
    split = sites.set_index("site")["folder"]
    if scheme != "folders" and not (table["folder"] == "val").any():
        halves = [
            _cut(part) if scheme == "blocks" else _shuffle(part, seed)
            for _, part in sites[sites["folder"] == "test"].groupby("area")
        ]
        split = pd.concat([split[split != "test"], *halves])
        if scheme == "blocks":
            split = _without_shared(split, overlaps)
            _report_cut(sites, split)
    blocks = _blocks(sites[sites["site"].isin(split.index)].assign(split=lambda s: s["site"].map(split)))
    kept = table[table["site"].isin(split.index)]
    return kept.assign(split=kept["site"].map(split), block=kept["site"].map(blocks)).reset_index(drop=True)


def _shuffle(sites: pd.DataFrame, seed: int) -> pd.Series:
    """The study's random halves of one area: the first half of a seeded shuffle is validation."""
    order = np.random.default_rng(seed).permutation(len(sites))
    shuffled = sites.sort_values("index")["site"].to_numpy()[order]
    half = (len(shuffled) + 1) // 2
    return pd.Series(["val"] * half + ["test"] * (len(shuffled) - half), index=shuffled)


def _cut(sites: pd.DataFrame) -> pd.Series:
    """Contiguous halves of one area's sites; sites on both sides of the cut are absent from the result."""
    parts = [part for _, part in sites.groupby("component")]
    parts.sort(key=lambda part: part["index"].min())
    ends = np.cumsum([len(part) for part in parts])
    middle = int(np.searchsorted(ends, (len(sites) + 1) // 2))
    before, after = int(ends[middle] - len(parts[middle])), int(len(sites) - ends[middle])
    halves = [_label(part, "val") for part in parts[:middle]]
    halves.append(_cut_component(parts[middle], before, after))
    return pd.concat(halves + [_label(part, "test") for part in parts[middle + 1 :]])


def _label(part: pd.DataFrame, split: str) -> pd.Series:
    return pd.Series(split, index=part["site"].to_numpy())


def _cut_component(part: pd.DataFrame, before: int, after: int) -> pd.Series:
    """Cut one connected component by a line across its longer side, with the halves as equal as can be.

    ``before`` validation sites and ``after`` test sites exist already; a component that cannot be cut goes to
    the smaller side whole.
    """
    axis, size = max(
        (("y", "height"), ("x", "width")), key=lambda a: (part[a[0]] + part[a[1]]).max() - part[a[0]].min()
    )
    start, end = part[axis].to_numpy(), (part[axis] + part[size]).to_numpy()
    options = [
        (int((end <= line).sum()), int((start >= line).sum()), int(line)) for line in np.unique([start, end])
    ]
    best = max(options, key=lambda o: (min(before + o[0], after + o[1]), o[0] + o[1]))
    whole = max(min(before + len(part), after), min(before, after + len(part)))
    if len(part) == 1 or whole >= min(before + best[0], after + best[1]):
        return _label(part, "val" if before <= after else "test")
    line = best[2]
    return pd.concat([_label(part[end <= line], "val"), _label(part[start >= line], "test")])


def _without_shared(split: pd.Series, overlaps: Overlaps) -> pd.Series:
    """Drop validation and test sites that share pixels with training, then test with validation."""
    a, b = overlaps.pairs["site_a"], overlaps.pairs["site_b"]
    for kept in ("train", "val"):
        inside = set(split.index[split == kept])
        touched = (
            (set(b[a.isin(inside)]) | set(a[b.isin(inside)])) - inside - set(split.index[split == "train"])
        )
        split = split[~split.index.isin(touched)]
    return split


def _report_cut(sites: pd.DataFrame, split: pd.Series) -> None:
    """Log how many sites the cut costs; ValueError if it costs a whole half."""
    n_before = int((sites["folder"] == "test").sum())
    n_after = {name: int((split == name).sum()) for name in ("val", "test")}
    _log.info(
        "blocks: %d of %d test sites dropped at the cut; %s left",
        n_before - sum(n_after.values()),
        n_before,
        n_after,
    )
    if n_before >= 2 and min(n_after.values()) == 0:
        raise ValueError(
            f"split 'blocks' leaves {n_after} of {n_before} sites in the test folder: the rest share pixels "
            "with training or with both halves. Give more patches, or a val folder of your own"
        )


def _blocks(sites: pd.DataFrame) -> pd.Series:
    """Block name of every site: equal tiles of about 2 x 2 footprints in each component of a split.

    Where that makes fewer than ``FEWEST_TILES`` tiles, of one footprint: an interval of two or three blocks
    says nothing, while somewhat dependent blocks still say more than single patches.
    """
    named = []
    for (split, area, component), part in sites.groupby(["split", "area", "component"]):
        tiles = next(
            (found for f in BLOCK_FOOTPRINTS if len(set(found := _tiles(part, f))) >= FEWEST_TILES),
            _tiles(part, BLOCK_FOOTPRINTS[-1]),
        )
        names = [f"{split}/{area}/{component}/{row}_{column}" for row, column in tiles]
        named.append(pd.Series(names, index=part["site"]))
    return pd.concat(named)


def _tiles(part: pd.DataFrame, footprints: int) -> list[tuple[int, int]]:
    """Tile (row, column) of every site of one component, tiles about ``footprints`` patch sides long."""
    rows = _tile(part["y"] + part["height"] / 2, part["y"], part["height"], footprints)
    columns = _tile(part["x"] + part["width"] / 2, part["x"], part["width"], footprints)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _tile(centre: pd.Series, start: pd.Series, size: pd.Series, footprints: int) -> pd.Series:
    """Number of the tile along one axis that a patch's centre lies in."""
    first, last = start.min(), (start + size).max()
    n_tiles = max(1, round((last - first) / (footprints * size.max())))
    return np.floor((centre - first) / (last - first) * n_tiles).astype(int)
