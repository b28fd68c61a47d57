"""Computed sentences: each reads one figure or table of a notebook from the numbers behind it.

A run may come out differently from the one that the author of a notebook saw. So no prose of a notebook
repeats a result; these functions do. Each returns an ``IPython.display.Markdown`` object, shown as the last
expression of a cell.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown

from wusu_lib import labels, legend, metrics
from wusu_lib.legend import Background


def listed(words: Sequence[str], last: str = "and") -> str:
    """A list in words: "a", "a and b", "a, b and c"."""
    words = list(words)
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def counted(n: int, noun: str) -> str:
    """A number with its noun, plural where it is not one."""
    ending = "es" if noun.endswith(("tch", "s")) else "s"
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + ending
    return f"{n:,} {noun if n == 1 else plural}"


def pooled(runs: Sequence, split: str) -> np.ndarray:
    """Sum of all confusion matrices of a split over the runs: int64 [12, 12], rows truth,
    columns prediction.
    """
    return sum(run.matrices[(run.confusion["split"] == split).to_numpy()].sum(axis=0) for run in runs)


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


def curves(runs: Sequence, baseline: Sequence = ()) -> Markdown:
    """Epochs, best epoch, and the gap between training and validation loss at it."""
    trained = [_curve(run) for run in [*runs, *baseline] if not run.history.empty]
    return Markdown(" ".join(trained))


def _curve(run) -> str:
    """One run's training in a sentence or two."""
    history = run.history
    best = history.loc[history["val/loss"].idxmin()]
    gap = best["val/loss"] - best["train/loss"]
    side = "above" if gap >= 0 else "below"
    seed = f" (seed {run.seed})"
    return (
        f"**{run.parameters['name']}**{seed} trained for {counted(len(history), 'epoch')}. The "
        f"validation loss was lowest after epoch {int(best['epoch'])}, at {best['val/loss']:.3f}; that is "
        f"{abs(gap):.3f} {side} the training loss of that epoch."
    )


def ten_columns(runs: Sequence, baseline: Sequence, background: Background = "ignore") -> Markdown:
    """Which of the validation figures rose and which fell, and the gap to training."""
    mine = metrics.scores(pooled(runs, "val"), background)
    theirs = metrics.scores(pooled(baseline, "val"), background)
    names = ("acc", "pixel_acc", "mIoU", "F1")
    rose = [n for n in names if mine[n] > theirs[n]]
    fell = [n for n in names if mine[n] < theirs[n]]
    name = runs[0].parameters["name"]
    base = baseline[0].parameters["name"]
    moves = [f"{side} in {listed(n)}" for side, n in (("higher", rose), ("lower", fell)) if n]
    how = f"{listed(moves)} than" if moves else "no better and no worse than"
    train = metrics.scores(pooled(runs, "train"), background)["mIoU"]
    return Markdown(
        f"On the validation patches **{name}** is {how} **{base}**. Its mIoU is {mine['mIoU']:.3f}, "
        f"against {theirs['mIoU']:.3f}. On its training patches it is {train:.3f}, "
        f"{_gap(float(train - mine['mIoU']))}. "
        f"{absent(pooled(runs, 'val'), background)}{unseen(runs)}"
    )


def _gap(gap: float) -> str:
    """The difference between training and validation mIoU in words."""
    return f"{abs(gap):.3f} {'more' if gap >= 0 else 'less'} than on the validation patches"


def absent(matrix: np.ndarray, background: Background = "ignore") -> str:
    """Names the classes without annotated pixels, which the figures say nothing about."""
    classes = metrics.classes(matrix, background)
    missing = classes.loc[classes["support"] == 0]
    names = missing["name"].str.lower().tolist()
    if not names:
        return "All classes occur among the annotated pixels."
    # a class that nobody annotated has an IoU only if it was predicted, and that IoU is 0
    claimed = missing.loc[missing["IoU"].notna(), "name"].str.lower().tolist()
    counts = f" Predicted all the same, and counted as 0 in the means: {listed(claimed)}." if claimed else ""
    return (
        f"No pixel is annotated as {listed(names, 'or')}, so the figures say nothing about {_them(names)}."
        f"{counts}"
    )


def unseen(runs: Sequence) -> str:
    """Names the classes that validation asks for and training never showed; empty where there are none."""
    train, val = (pooled(runs, split).sum(axis=1) for split in ("train", "val"))
    names = [c.name.lower() for c in legend.CLASSES if val[c.index] and not train[c.index]]
    words = f" No training pixel is annotated as {listed(names, 'or')}, so no run could learn {_them(names)}."
    return words if names else ""


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def class_iou(runs: Sequence, baseline: Sequence, background: Background = "ignore") -> Markdown:
    """Best and worst class, largest gain and largest loss against the baseline."""
    mine = metrics.classes(pooled(runs, "val"), background)
    theirs = metrics.classes(pooled(baseline, "val"), background)
    seen = mine[mine["support"] > 0]
    best, worst = seen.loc[seen["IoU"].idxmax()], seen.loc[seen["IoU"].idxmin()]
    change = (mine["IoU"] - theirs["IoU"])[seen.index]
    text = (
        f"Best is {best['name'].lower()} with an IoU of {best['IoU']:.2f}, "
        f"worst {worst['name'].lower()} with {worst['IoU']:.2f}. "
    )
    base = baseline[0].parameters["name"]
    gaining = int((change > 0).sum())
    gains = f"{gaining} of {counted(len(seen), 'class')} {'gains' if gaining == 1 else 'gain'} against {base}"
    ends = [("gain", change.idxmax(), 1), ("loss", change.idxmin(), -1)]
    largest = [
        f"the largest {word} is {change[i]:+.2f} ({mine.loc[i, 'name'].lower()})"
        for word, i, sign in ends
        if sign * change[i] > 0
    ]
    return Markdown(f"{text}{'; '.join([gains, *largest])}.")


def confusion(runs: Sequence, background: Background = "ignore", pairs: int = 3) -> Markdown:
    """The most frequent confusions, in percent of the annotated class."""
    matrix = pooled(runs, "val")
    first = 1 if background == "ignore" else 0
    truth = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, truth, out=np.zeros(matrix.shape), where=truth > 0)
    np.fill_diagonal(share, 0)
    share[:first] = 0
    order = np.argsort(-share, axis=None, kind="stable")[:pairs]
    found = [
        f"{share[t, p]:.0%} of {legend.NAMES[t].lower()} is predicted as {legend.NAMES[p].lower()}"
        for t, p in zip(*np.unravel_index(order, share.shape), strict=True)
        if share[t, p] > 0
    ]
    return Markdown(f"The most frequent confusions: {listed(found)}." if found else "No pixel is confused.")


def predictions(run, patches: Sequence[str]) -> Markdown:
    """How many labelled pixels are right in each of the patches shown."""
    rows = run.confusion.reset_index(drop=True)
    shares = []
    for patch in patches:
        matrix = run.matrices[rows.index[rows["patch"] == patch][0]]
        shares.append(metrics.scores(matrix, run.parameters["background"])["pixel_acc"])
    words = [f"{share:.0%}" for share in shares]
    return Markdown(
        f"From top to bottom, {run.parameters['name']} is right on {listed(words)} of the labelled pixels."
    )


def verdict(verdict) -> Markdown:
    """The verdict in one sentence, its outcome in bold."""
    return Markdown(f"> {verdict.sentence}")
