"""Sentences about results: curves, tables, classes, confusions, verdict."""

from collections.abc import Sequence

import numpy as np
from IPython.display import Markdown

from wusu_lib import legend, metrics
from wusu_lib.legend import Background, Scheme
from wusu_lib.sentences.words import counted, listed, pooled, them


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
        f"**{run.called}**{seed} trained for {counted(len(history), 'epoch')}. The "
        f"validation loss was lowest after epoch {int(best['epoch'])}, at {best['val/loss']:.3f}; that is "
        f"{abs(gap):.3f} {side} the training loss of that epoch."
    )


def ten_columns(
    runs: Sequence, baseline: Sequence, background: Background = "ignore", classes: Scheme = "all"
) -> Markdown:
    """Which of the validation figures rose and which fell, and the gap to training."""
    mine = metrics.scores(pooled(runs, "val"), background, classes)
    theirs = metrics.scores(pooled(baseline, "val"), background, classes)
    names = ("acc", "pixel_acc", "mIoU", "F1")
    rose = [n for n in names if mine[n] > theirs[n]]
    fell = [n for n in names if mine[n] < theirs[n]]
    name = runs[0].called
    base = baseline[0].called
    moves = [f"{side} in {listed(n)}" for side, n in (("higher", rose), ("lower", fell)) if n]
    how = f"{listed(moves)} than" if moves else "no better and no worse than"
    train = metrics.scores(pooled(runs, "train"), background, classes)["mIoU"]
    return Markdown(
        f"On the validation patches **{name}** is {how} **{base}**. Its mIoU is {mine['mIoU']:.3f}, "
        f"against {theirs['mIoU']:.3f}. On its training patches it is {train:.3f}, "
        f"{_gap(float(train - mine['mIoU']))}. "
        f"{absent(pooled(runs, 'val'), background, classes)}{unseen(runs, classes)}"
    )


def _gap(gap: float) -> str:
    """The difference between training and validation mIoU in words."""
    return f"{abs(gap):.3f} {'more' if gap >= 0 else 'less'} than on the validation patches"


def absent(matrix: np.ndarray, background: Background = "ignore", classes: Scheme = "all") -> str:
    """Names the classes without annotated pixels, which the figures say nothing about."""
    table = metrics.classes(matrix, background, classes)
    missing = table.loc[table["support"] == 0]
    names = missing["name"].str.lower().tolist()
    if not names:
        return "All classes occur among the annotated pixels."
    # a class that nobody annotated has an IoU only if it was predicted, and that IoU is 0
    claimed = missing.loc[missing["IoU"].notna(), "name"].str.lower().tolist()
    counts = f" Predicted all the same, and counted as 0 in the means: {listed(claimed)}." if claimed else ""
    return (
        f"No pixel is annotated as {listed(names, 'or')}, so the figures say nothing about {them(names)}."
        f"{counts}"
    )


def unseen(runs: Sequence, classes: Scheme = "all") -> str:
    """Names the classes that validation asks for and training never showed; empty where there are none."""
    train, val = (metrics.merge(pooled(runs, s), classes).sum(axis=1) for s in ("train", "val"))
    kept = legend.scored("ignore", classes)
    names = [legend.names(classes)[i].lower() for i in kept if val[i] and not train[i]]
    words = f" No training pixel is annotated as {listed(names, 'or')}, so no run could learn {them(names)}."
    return words if names else ""


def class_iou(
    runs: Sequence, baseline: Sequence, background: Background = "ignore", classes: Scheme = "all"
) -> Markdown:
    """Best and worst class, largest gain and largest loss against the baseline."""
    mine = metrics.classes(pooled(runs, "val"), background, classes)
    theirs = metrics.classes(pooled(baseline, "val"), background, classes)
    seen = mine[mine["support"] > 0]
    best, worst = seen.loc[seen["IoU"].idxmax()], seen.loc[seen["IoU"].idxmin()]
    change = (mine["IoU"] - theirs["IoU"])[seen.index]
    text = (
        f"Best is {best['name'].lower()} with an IoU of {best['IoU']:.2f}, "
        f"worst {worst['name'].lower()} with {worst['IoU']:.2f}. "
    )
    base = baseline[0].called
    gaining = int((change > 0).sum())
    gains = f"{gaining} of {counted(len(seen), 'class')} {'gains' if gaining == 1 else 'gain'} against {base}"
    ends = [("gain", change.idxmax(), 1), ("loss", change.idxmin(), -1)]
    largest = [
        f"the largest {word} is {change[i]:+.2f} ({mine.loc[i, 'name'].lower()})"
        for word, i, sign in ends
        if sign * change[i] > 0
    ]
    return Markdown(f"{text}{'; '.join([gains, *largest])}.")


def confusion(
    runs: Sequence, background: Background = "ignore", pairs: int = 3, classes: Scheme = "all"
) -> Markdown:
    """The most frequent confusions, in percent of the annotated class."""
    matrix, names = metrics.merge(pooled(runs, "val"), classes), legend.names(classes)
    first = 1 if background == "ignore" else 0
    truth = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, truth, out=np.zeros(matrix.shape), where=truth > 0)
    np.fill_diagonal(share, 0)
    share[:first] = 0
    order = np.argsort(-share, axis=None, kind="stable")[:pairs]
    found = [
        f"{share[t, p]:.0%} of {names[t].lower()} is predicted as {names[p].lower()}"
        for t, p in zip(*np.unravel_index(order, share.shape), strict=True)
        if share[t, p] > 0
    ]
    return Markdown(f"The most frequent confusions: {listed(found)}." if found else "No pixel is confused.")


def predictions(run, patches: Sequence[str], baseline=None) -> Markdown:
    """How many labelled pixels are right in each of the patches shown, judged as beside ``baseline``."""
    space = run.labels if baseline is None else run.labels.judged_with(baseline.labels)
    rows = run.confusion.reset_index(drop=True)
    shares = []
    for patch in patches:
        matrix = run.matrices[rows.index[rows["patch"] == patch][0]]
        shares.append(metrics.scores(matrix, space.background, space.classes)["pixel_acc"])
    words = [f"{share:.0%}" for share in shares]
    return Markdown(f"From top to bottom, {run.called} is right on {listed(words)} of the labelled pixels.")


def verdict(verdict) -> Markdown:
    """The verdict in one sentence, its outcome in bold."""
    return Markdown(f"> {verdict.sentence}")
