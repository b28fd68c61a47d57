"""Which patches show the same ground, found by comparing content, and what that means for a split.

Anchors (see ``anchors``) propose offsets between sites, a comparison of all overlapping pixels decides. From
the pairs follows a layout: where each site lies relative to the sites it is connected with.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from wusu_lib.patches.anchors import anchors, votes
from wusu_lib.patches.raster import read

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
