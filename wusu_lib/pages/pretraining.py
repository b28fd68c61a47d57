"""The miniatures' pre-training shown: what was recorded beside their weights, what their features tell."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from wusu_lib import legend
from wusu_lib.data.masks import read_index
from wusu_lib.experiment.experiment import open_notebook
from wusu_lib.imagery import read, rgb, stretch
from wusu_lib.models.spec import FROZEN, MINIATURES, recorded_miniature
from wusu_lib.pages.style import (
    LINES,
    Sentence,
    captioned,
    counted,
    image_grid,
    listed,
    open_figure,
    styled,
    styled_table,
)

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler


def miniatures() -> dict[str, dict[str, Any]]:
    """The records of all pre-trained miniatures by name."""
    return {path.stem: recorded_miniature(path.stem) for path in sorted(MINIATURES.glob("*.json"))}


def worlds_table() -> "Styler":
    """What each miniature learnt from and how: a row a miniature."""
    rows = [
        {
            "miniature": name,
            "bands": len(record["recipe"]["sensor"]["response"]),
            "metres a pixel": record["recipe"]["sensor"]["ground"],
            "steps": record["recipe"]["steps"],
            "crops a step": record["recipe"]["batch"],
            "blanked": record["recipe"]["hidden"],
            "seconds": record["seconds"],
            "kB": round(record["bytes"] / 1000),
            "hash": record["hash"],
        }
        for name, record in miniatures().items()
    ]
    return styled_table(pd.DataFrame(rows), "worlds", index=False).format({"blanked": "{:.0%}"})


@styled
def pretraining_curves_figure() -> Figure:
    """Losses of every miniature over its steps: of what it sees, and of what was blanked."""
    figure = open_figure(2.9)
    panels = figure.subplots(1, 2)
    for axes, kind, title in zip(
        panels, ("visible", "hidden"), ("Visible cells", "Blanked cells"), strict=True
    ):
        for (name, record), colour in zip(miniatures().items(), LINES, strict=False):
            curve = pd.DataFrame(record["loss"]).dropna(subset=[kind])
            if len(curve):  # the ResNet sees whole images
                axes.plot(curve["step"], curve[kind].astype(float), color=colour, label=name)
        axes.set(title=title, xlabel="step", ylabel="smooth L1 loss", ylim=(0, None))
        axes.grid(axis="y")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return captioned(
        figure,
        "pretraining",
        "Loss of the predicted statistics (in standard deviations) while each miniature was pre-trained, the "
        "mean of 20 steps. Left: cells that the encoder sees. Right: cells that were blanked in the image.",
        "Two line charts: loss by step, one line a miniature.",
    )


def frozen_gains(against_random: bool = True) -> pd.DataFrame:
    """What frozen miniatures are worth, as ``training.pretraining`` recorded it: a row a pair of encoders.

    Against random encoders, or against ones that were pre-trained without one of the shifts.
    """
    rows = pd.read_csv(FROZEN)
    return rows[(rows["against"] == "random") == against_random].reset_index(drop=True)


def frozen_gains_table(against_random: bool = True) -> "Styler":
    """Mean IoU of the frozen encoders by seed of the decoder, and the difference with its interval."""
    rows = frozen_gains(against_random)
    rows["bands"] = rows["bands"].map({"all": "B, G, R, NIR", "rgb": "B, G, R"})
    rows["difference"] = [f"{value:+.3f}" for value in rows["gain"]]
    rows["95 % interval"] = [f"{row.low:+.3f} to {row.high:+.3f}" for row in rows.itertuples()]
    shown = ["miniature", "seed", "bands", "against", "mIoU", "mIoU against", "difference", "95 % interval"]
    if against_random:
        shown.remove("against")
    return styled_table(rows[shown], "frozen_gains" if against_random else "frozen_costs", index=False)


def frozen_gains_sentence() -> Sentence:
    """Which published miniatures gain, and how far encoders of one recipe and other seeds go apart."""
    rows = frozen_gains()
    published = rows[rows["hash"].isin([record["hash"] for record in miniatures().values()])]
    sure = published[published["low"] > 0]
    told = [
        f"Of {counted(len(published), 'comparison')} of the published weights with random ones "
        f"{len(sure)} {'shows' if len(sure) == 1 else 'show'} a gain with an interval clear of zero. The "
        f"gains go from {published['gain'].min():+.3f} to {published['gain'].max():+.3f}."
    ]
    for (name, bands), part in rows.groupby(["miniature", "bands"]):
        if len(part) > 1:
            told.append(
                f"{name} was pre-trained with {counted(len(part), 'seed')}: the gains"
                f"{' without infrared' if bands == 'rgb' else ''} are "
                f"{listed([f'{gain:+.3f}' for gain in part['gain']])}."
            )
    for name, part in published.groupby("miniature"):
        if len(part) > 1:
            without, with_it = (
                _mean(part.loc[part["bands"] == bands, "mIoU"].iloc[0]) for bands in ("rgb", "all")
            )
            told.append(
                f"{name} reaches {without:.3f} without infrared and {with_it:.3f} with it, read through the "
                "mean of its colour filters."
            )
    missing = sorted(set(miniatures()) - set(published["miniature"]))
    if missing:
        told.append(f"Not measured: {listed(missing)}.")
    return Sentence(" ".join(told))


def _mean(scores: str) -> float:
    """Of figures in a row: "0.40 0.50" -> 0.45."""
    return float(np.mean([float(score) for score in scores.split()]))


def frozen_costs_sentence() -> Sentence:
    """What each shift between the pre-training's world and the city costs, where it was measured."""
    rows = frozen_gains(against_random=False)
    told = []
    for row in rows.itertuples():
        compared = f"{row.miniature} against itself, pre-trained {row.against}"
        if row.high < 0:
            told.append(f"{compared}: the shift costs {-row.gain:.3f} of mean IoU.")
        elif row.low > 0:
            told.append(f"{compared}: the shift does not cost, it gains {row.gain:.3f} of mean IoU.")
        else:
            told.append(f"{compared}: no cost is shown (between {row.low:+.3f} and {row.high:+.3f}).")
    return Sentence(" ".join(told) or "Not measured.")


# What the features of a frozen encoder tell of the classes, before any decoder: read out linearly, and by
# what lies near in them. Of the demo's city, on the bands that a miniature learnt from; the pre-training saw
# no label and no place of it.

EVERY = 16  # patches of a split, of which one is read
RANDOM = (0, 1, 2)  # seeds of the random encoders
NEAREST = 5
ASKED = 2000  # cells whose neighbours are looked for, drawn with one seed
QUERIES = ("Low building", "Road", "Excavation", "River")
SHOWN = 3  # neighbours drawn a side


class Patches(NamedTuple):
    """Counts uint8 [N, 4, H, W], class index uint8 [N, H, W], and the number of the place of each [N]."""

    counts: np.ndarray
    classes: np.ndarray
    place: np.ndarray


class Cells(NamedTuple):
    """Of n cells: features float32 [n, D], the class index (0: none fills half of it), and the patch [n]."""

    features: np.ndarray
    label: np.ndarray
    patch: np.ndarray


def patches_of(split: str) -> Patches:
    """Every ``EVERY``-th labelled patch of a split of the demo's city."""
    table = open_notebook("exp00").table
    rows = table[(table["split"] == split) & table["mask"].notna()].iloc[::EVERY]
    counts, classes = (np.stack([f(p) for p in rows[c]]) for f, c in ((read, "image"), (read_index, "mask")))
    return Patches(counts, classes, rows["site"].astype("category").cat.codes.to_numpy())


def cell_labels(index: np.ndarray, cell: int) -> np.ndarray:
    """Class index that fills at least half of each cell, else 0: uint8 [N, H, W] -> int64 [N * g * g].

    g = H // cell cells a side; what is left over at the lower and the right edge has none.
    """
    n, g = len(index), index.shape[-1] // cell
    cut = (
        index[:, : g * cell, : g * cell].reshape(n, g, cell, g, cell).swapaxes(2, 3).reshape(-1, cell * cell)
    )
    number = np.stack([(cut == i).sum(axis=1) for i in range(legend.N_INDEX)], axis=1)
    number[:, 0] = 0  # unlabelled
    return np.where(2 * number.max(axis=1) >= cell * cell, number.argmax(axis=1), 0)


def cells(name: str, weights: str, patches: Patches, statistics: np.ndarray, seed: int = 0) -> Cells:
    """What the last block (stage) of a miniature's frozen encoder gives for the cells of some patches.

    statistics: [2, 4] mean and deviation of the counts, by which they are normalised. ``seed``: of random
    weights.
    """
    import torch

    from wusu_lib.models.build import build_encoder
    from wusu_lib.models.catalogue import find
    from wusu_lib.training.pretraining import RECIPES, cells_of

    recipe = RECIPES[name]
    spec, g = find(recipe.backbone), patches.counts.shape[-1] // recipe.cell
    side, order = g * recipe.cell, list(spec.reads(recipe.bands)[1])
    mean, std = (torch.tensor(v, dtype=torch.float32).view(-1, 1, 1) for v in statistics)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = build_encoder(recipe.backbone, "demo", weights, recipe.bands).eval()
    found = []
    with torch.inference_mode():
        for part in torch.from_numpy(patches.counts).split(32):
            x = ((part.float() - mean) / std)[:, order, :side, :side]
            found.append(cells_of(encoder(x), spec, g)[-1].flatten(0, 1).numpy())
    numbers = np.repeat(np.arange(len(patches.counts)), g * g)
    return Cells(np.concatenate(found), cell_labels(patches.classes, recipe.cell), numbers)


def probe(learnt: Cells, judged: Cells) -> float:
    """Mean recall over the classes of a linear reading of the features (ridge regression on the classes).

    Fitted on the labelled cells of ``learnt``, every class with the same weight, told of those of ``judged``.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    reading = make_pipeline(StandardScaler(), RidgeClassifier(class_weight="balanced"))
    fitted, asked = learnt.label > 0, judged.label > 0
    reading.fit(learnt.features[fitted], learnt.label[fitted])
    predicted = reading.predict(judged.features[asked])
    known = np.isin(judged.label[asked], learnt.label[fitted])  # another class has no recall to speak of
    return float(balanced_accuracy_score(judged.label[asked][known], predicted[known]))


def nearest(found: Cells, place: np.ndarray, asked: np.ndarray, number: int = NEAREST) -> np.ndarray:
    """The most similar cells [len(asked), number] of labelled cells elsewhere; ``asked``: numbers of cells.

    Similar: by the cosine of the features, each less its mean and over its deviation. ``place``: [N] of the
    patches; cells of the same place, at whatever date, do not count.
    """
    scaled = (found.features - found.features.mean(axis=0)) / (found.features.std(axis=0) + 1e-6)
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True) + 1e-6
    where = place[found.patch]
    likeness = scaled[asked] @ scaled.T
    likeness[(where[asked][:, None] == where[None]) | (found.label == 0)[None]] = -np.inf
    return np.argsort(-likeness, axis=1, kind="stable")[:, :number]


def alike(found: Cells, place: np.ndarray) -> float:
    """Share of the ``NEAREST`` cells that have the class of the cell that they are near to."""
    labelled = np.flatnonzero(found.label)
    asked = np.random.default_rng(0).choice(labelled, min(ASKED, len(labelled)), replace=False)
    return float((found.label[nearest(found, place, asked)] == found.label[asked][:, None]).mean())


def features_told() -> pd.DataFrame:
    """What the features of every miniature tell of the classes: a row a miniature, by weights.

    Columns "probe" (``probe``) and "alike" (``alike``) of the published weights, and those of random weights,
    the mean over ``RANDOM`` ("probe, random", "alike, random"). Takes about a minute.
    """
    train, val = patches_of("train"), patches_of("val")
    statistics = np.stack([train.counts.mean(axis=(0, 2, 3)), train.counts.std(axis=(0, 2, 3))])
    rows = []
    for name in miniatures():
        row: dict[str, Any] = {"miniature": name}
        for ending, weights, seeds in (("", "pretrained", (0,)), (", random", "random", RANDOM)):
            told = []
            for seed in seeds:
                learnt, judged = (cells(name, weights, part, statistics, seed) for part in (train, val))
                told.append((probe(learnt, judged), alike(judged, val.place)))
            row["probe" + ending], row["alike" + ending] = np.mean(told, axis=0)
        rows.append(row)
    return pd.DataFrame(rows)


def features_table(told: pd.DataFrame) -> "Styler":
    """``features_told``, in the order in which the figures are compared."""
    shown = told[["miniature", "probe", "probe, random", "alike", "alike, random"]]
    return styled_table(shown, "features", index=False).format(precision=3)


def features_sentence(told: pd.DataFrame) -> Sentence:
    """Of how many miniatures the features tell the classes better than random ones do."""
    better = {what: told[what] > told[f"{what}, random"] for what in ("probe", "alike")}
    lines = [
        f"Read out linearly, the features of {sum(better['probe'])} of {counted(len(told), 'miniature')} "
        f"tell the classes better than random ones. Among the {NEAREST} cells that lie nearest more are of "
        f"the same class with {sum(better['alike'])} of them."
    ]
    worse = [str(name) for name in told.loc[~(better["probe"] & better["alike"]), "miniature"]]
    if worse:
        lines.append(f"At least one of the two is no better with {listed(worse)}.")
    return Sentence(" ".join(lines))


@styled
def neighbours_figure(name: str) -> Figure:
    """Cells of four classes and the cells nearest to them, by the features of one miniature."""
    from wusu_lib.training.pretraining import RECIPES

    val, cell = patches_of("val"), RECIPES[name].cell
    statistics = np.stack([val.counts.mean(axis=(0, 2, 3)), val.counts.std(axis=(0, 2, 3))])
    sides = [cells(name, weights, val, statistics) for weights in ("pretrained", "random")]
    asked = _queries(sides[0].label, val.classes.shape[-1] // cell)
    columns = ["cell", *(f"trained {i}" for i in range(1, SHOWN + 1))]
    columns += [f"random {i}" for i in range(1, SHOWN + 1)]
    figure, grid = image_grid(columns, len(asked), 0.84, [], around=0.25 + 0.16 * len(asked))
    found = np.concatenate([nearest(side, val.place, asked, SHOWN) for side in sides], axis=1)
    limits = stretch(val.counts)
    for axes, query, near in zip(grid, asked, found, strict=True):
        for panel, number in zip(axes, [query, *near], strict=True):
            _draw_cell(panel, val, sides[0], int(number), cell, limits)
            same = sides[0].label[number] == sides[0].label[query]
            panel.set_xlabel(
                legend.NAMES[sides[0].label[number]], fontsize=6, fontweight="bold" if same else "normal"
            )
    return captioned(
        figure,
        "neighbours",
        f"Cells of the demo's city and the {SHOWN} cells of other places that lie nearest in the features of "
        f"the frozen miniature {name}: by its pre-trained weights, then by random ones. Each panel shows the "
        "cell (framed) with a cell's width around it, white beyond the patch; the class below it is bold "
        "where it is that of the first cell.",
        "A grid of small image crops: one row a cell, its neighbours by pre-trained and by random features.",
    )


def _queries(label: np.ndarray, g: int) -> np.ndarray:
    """The first cell of each of ``QUERIES`` that has cells all around it in its patch."""
    row, column = np.divmod(np.arange(len(label)) % (g * g), g)
    inner = (row > 0) & (row < g - 1) & (column > 0) & (column < g - 1)
    found = [np.flatnonzero(inner & (label == legend.NAMES.index(name))) for name in QUERIES]
    return np.array([numbers[0] for numbers in found if len(numbers)])


def _draw_cell(
    axes: Any, patches: Patches, found: Cells, number: int, cell: int, limits: tuple[np.ndarray, np.ndarray]
) -> None:
    patch, g = int(found.patch[number]), patches.classes.shape[-1] // cell
    row, column = divmod(number % (g * g), g)
    axes.imshow(rgb(patches.counts[patch], *limits))
    axes.add_patch(Rectangle((column * cell - 0.5, row * cell - 0.5), cell, cell, fill=False, color="white"))
    axes.set_xlim((column - 1) * cell - 0.5, (column + 2) * cell - 0.5)
    axes.set_ylim((row + 2) * cell - 0.5, (row - 1) * cell - 0.5)
