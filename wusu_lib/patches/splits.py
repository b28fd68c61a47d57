"""Train, validation and test: which patch belongs where, and which patches are one spatial block."""

import logging
from typing import Literal, get_args

import numpy as np
import pandas as pd

from wusu_lib.patches.overlaps import Overlaps, shared_ground

Scheme = Literal["blocks", "study", "folders"]
BLOCK_FOOTPRINTS = (2, 1)  # patch sides along a bootstrap block: the first that makes enough blocks
FEWEST_TILES = 6  # in one connected piece of a split
_log = logging.getLogger(__name__)


def assign(
    table: pd.DataFrame, scheme: Scheme, overlaps: Overlaps | None = None, seed: int = 42
) -> pd.DataFrame:
    """Give every row its split and its spatial block; rows lost to the gap are dropped.

    - "folders": as on disk.
    - "study": the sites of the test folder, shuffled with ``seed`` in each area, half validation and half
      test. Neighbouring patches share pixels, so the two halves leak into each other: for comparison only.
    - "blocks": the test folder's ground is cut in two across its longer side, the first half is validation,
      the second test. Sites that lie on both sides are dropped, and so are sites that share pixels with
      training. Where patches are not connected by shared ground, contiguous by index.

    A val folder on disk is kept as it is under every scheme. ``block`` names contiguous groups of about
    2 x 2 patch footprints in one area and split (1 x 1 where the ground is small); a site that shares no
    ground is a block of its own.
    ``overlaps`` is computed if not given. Raises ValueError for an unknown scheme, or where a gap leaves
    nothing.
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
            _cut(part, overlaps) if scheme == "blocks" else _shuffle(part, seed)
            for _, part in sites[sites["folder"] == "test"].groupby("area")
        ]
        split = pd.concat([split[split != "test"], *halves])
        if scheme == "blocks":
            split = _without_shared(split, overlaps)
            _report_gap(sites, split)
    blocks = _blocks(sites[sites["site"].isin(split.index)].assign(split=lambda s: s["site"].map(split)))
    kept = table[table["site"].isin(split.index)]
    return kept.assign(split=kept["site"].map(split), block=kept["site"].map(blocks)).reset_index(drop=True)


def _shuffle(sites: pd.DataFrame, seed: int) -> pd.Series:
    """The study's random halves of one area: the first half of a seeded shuffle is validation."""
    order = np.random.default_rng(seed).permutation(len(sites))
    shuffled = sites.sort_values("index")["site"].to_numpy()[order]
    half = (len(shuffled) + 1) // 2
    return pd.Series(["val"] * half + ["test"] * (len(shuffled) - half), index=shuffled)


def _cut(sites: pd.DataFrame, overlaps: Overlaps) -> pd.Series:
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


def _report_gap(sites: pd.DataFrame, split: pd.Series) -> None:
    """Log how many sites the gap costs; ValueError if it costs a whole half."""
    n_before = int((sites["folder"] == "test").sum())
    n_after = {name: int((split == name).sum()) for name in ("val", "test")}
    _log.info(
        "blocks: %d of %d test sites dropped for the gap; %s left",
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

    Where that makes fewer than ``FEWEST_TILES`` tiles, of one footprint: a bootstrap of two or three blocks
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
