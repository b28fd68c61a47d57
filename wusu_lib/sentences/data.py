"""Sentences about the data: how much, of what, how it moves between dates."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown

from wusu_lib import labels, legend
from wusu_lib.sentences.words import counted, listed


def data(exp) -> Markdown:
    """How many patches were read, what the checks found, how they are divided."""
    table, problems = exp.table, exp.dossier.problems
    words = {"train": "training", "val": "validation", "test": "testing"}
    masks = {s: table.loc[table["split"] == s, "mask"].notna() for s in words}
    parts = [f"{_patches(masks[s])} for {word}" for s, word in words.items() if len(masks[s])]
    years = listed([f"20{year:02d}" for year in sorted(table["date"].unique())])
    severe = problems["severity"].value_counts()
    found = [counted(int(severe[s]), s) for s in ("error", "warning", "note") if severe.get(s, 0)]
    return Markdown(
        f"The data has {listed(parts)}, from {listed(sorted(table['area'].unique()))}, of {years}. "
        f"The check of the files reports {listed(found) or 'nothing'}. {shared(exp)}"
    )


def _patches(labelled: pd.Series) -> str:
    """Number of patches, and of those with labels where that is another number: only they are used."""
    of_them = "" if labelled.all() else f" ({int(labelled.sum()):,} of them labelled)"
    return counted(len(labelled), "patch") + of_them


def shared(exp) -> str:
    """Whether ground of the validation patches is also in another split."""
    share = exp.dossier.overlaps.share(exp.table)
    others = {s: share.loc["val", s] for s in ("train", "test") if s in share and share.loc["val", s] > 0}
    if not others:
        return "No ground of the validation patches is also in another split."
    words = listed([f"{value:.0%} is also in {split}" for split, value in others.items()])
    return f"Of the ground of the validation patches, {words}, so their figures do not stand for new ground."


def shared_ground(exp) -> Markdown:
    """How many pairs of patches share ground, by how much, and what that does to this run's split."""
    pairs = exp.dossier.overlaps.pairs
    if pairs.empty:
        return Markdown("No two patches share ground. " + shared(exp))
    sites = len(set(pairs["site_a"]) | set(pairs["site_b"]))
    offsets = pairs[["dy", "dx"]].abs().max(axis=1)
    return Markdown(
        f"{counted(len(pairs), 'pair')} of patches share ground, {sites} of "
        f"{exp.dossier.table['site'].nunique()} sites among them. The most frequent offset is "
        f"{int(offsets.mode()[0])} pixels. With `split={exp.parameters.split!r}`: {shared(exp)}"
    )


def examples(table: pd.DataFrame, patches: Sequence[str]) -> Markdown:
    """The classes with most pixels in the labelled examples, and how much of them is unlabelled."""
    counted_each = [np.bincount(labels.index(table, p).ravel(), minlength=legend.N_INDEX) for p in patches]
    counts = np.sum(counted_each, axis=0)
    order = np.argsort(-counts[1:], kind="stable") + 1
    largest = [
        f"{legend.NAMES[i].lower()} ({counts[i] / counts[1:].sum():.0%})" for i in order[:3] if counts[i]
    ]
    return Markdown(
        f"Of the labelled ground in these {counted(len(patches), 'patch')}, most is {listed(largest)}. "
        f"{counts[0] / counts.sum():.0%} of the ground is unlabelled."
    )


def dates(table: pd.DataFrame, site: str) -> Markdown:
    """How much of a site's labelled ground changed between its first and its last date."""
    rows = table[(table["site"] == site) & table["mask"].notna()].sort_values("date")
    if len(rows) < 2:
        labelled = [f"20{year:02d}" for year in rows["date"]]
        return Markdown(
            f"Labels are there for {listed(labelled) or 'no date'} only, so no change can be told."
        )
    first, last = labels.index(rows, rows["patch"].iloc[0]), labels.index(rows, rows["patch"].iloc[-1])
    both = (first > 0) & (last > 0)
    years = f"20{rows['date'].iloc[0]:02d} and 20{rows['date'].iloc[-1]:02d}"
    if not both.any():
        return Markdown(f"No ground of this place is labelled both in {years}, so no change can be told.")
    share = (first[both] != last[both]).mean()
    return Markdown(
        f"Between {years}, {share:.0%} of the ground that is labelled at both dates changed its class."
    )


def bands(exp) -> Markdown:
    """Which dates are brightest and darkest, and the band that moves most between two dates."""
    frame = exp.statistics.by_date()
    brightness = 255 * frame.groupby("date")["mean"].mean()
    low, high = brightness.idxmin(), brightness.idxmax()
    if len(brightness) < 2:
        return Markdown(f"All images are of 20{low:02d}, so there is no difference of light between dates.")
    means = 255 * frame.pivot(index="date", columns="band", values="mean")
    band = (means.max() - means.min()).idxmax()
    least, most = means[band].idxmin(), means[band].idxmax()
    shift = means.loc[most, band] - means.loc[least, band]
    spread = 255 * frame.loc[frame["band"] == band, "std"].mean()
    return Markdown(
        f"Averaged over the bands, 20{high:02d} is brightest with {brightness[high]:.0f} counts, "
        f"20{low:02d} darkest with {brightness[low]:.0f}. The band that differs most is {band}, with "
        f"{shift:.0f} counts more in 20{most:02d} than in 20{least:02d}: {shift / spread:.1f} times its "
        "standard deviation within a date."
    )


def balance(shares: pd.DataFrame) -> Markdown:
    """Unlabelled share, and the ratio of the most to the least frequent class in training."""
    train = shares.loc["train"].iloc[1:]
    seen = train[train > 0]
    missing = [name.lower() for name in train.index[train == 0]]
    gap = f" No training pixel is labelled {listed(missing, 'or')}." if missing else ""
    return Markdown(
        f"In training, {shares.loc['train'].iloc[0]:.0%} of the pixels are unlabelled. {seen.idxmax()} is "
        f"the most frequent class and covers {seen.max() / seen.min():.0f} times as much as "
        f"{seen.idxmin().lower()}, the rarest.{gap}"
    )


def transitions(counts: pd.DataFrame) -> Markdown:
    """Share of changed pixels and the most frequent transitions."""
    values = counts.to_numpy().copy()
    total = values.sum()
    if not total:
        return Markdown("No ground is labelled at two dates, so no transition can be counted.")
    np.fill_diagonal(values, 0)
    order = [divmod(int(k), len(counts)) for k in np.argsort(-values, axis=None, kind="stable")[:3]]
    top = [
        f"{counts.index[i].lower()} to {counts.columns[j].lower()} ({values[i, j] / values.sum():.0%})"
        for i, j in order
        if values[i, j]
    ]
    tail = f" Of these, most went from {listed(top)}." if top else ""
    return Markdown(
        f"{values.sum() / total:.1%} of the pixels labelled at both dates changed, in "
        f"{int((values > 0).sum())} of the {values.size - len(values)} possible ways.{tail}"
    )
