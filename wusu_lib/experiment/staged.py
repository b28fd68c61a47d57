"""Training in stages: the scene is resampled, and each stage learns from it at another ground pixel.

One coarse stage asks how coarse the imagery may be; several, the last at the data's own pixel, ask whether a
model that was pre-trained on coarse ground is better led down in steps. Whatever the last stage's pixel, the
maps are brought to the data's own, so that all runs are judged on the same patches.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from wusu_lib.data.masks import read_index
from wusu_lib.experiment import segmentation
from wusu_lib.experiment.parameters import DATA, TORCH, TRAINING, Kind, Positive, Text
from wusu_lib.experiment.segmentation import SegmentationParameters
from wusu_lib.measures import classes
from wusu_lib.runs.results import write_results

if TYPE_CHECKING:
    from wusu_lib.data.loading import SplitDataModule
    from wusu_lib.data.resampling import Mosaic
    from wusu_lib.experiment.experiment import Experiment
    from wusu_lib.experiment.segmentation import Predictor, Start
    from wusu_lib.models.segmentation import SegmentationModel

Stages = Annotated[list[Annotated[int, Field(ge=1, le=64)]], Text, Field(min_length=1)]
Shares = Annotated[list[Positive], Text]
Rates = Annotated[list[Positive], Text]
SLACK = 1e-6  # of a sum of shares


class StagedParameters(SegmentationParameters):
    """A segmentation experiment that learns from the scene at one or several coarser ground pixels."""

    stages: Stages = Field(
        examples=[[10, 5, 1]], description="ground pixel of each stage of training, in pixels of the data (m)"
    )
    stage_shares: Shares = Field(
        [], examples=[[0.25, 0.25, 0.5]], description="of all steps, for each stage; empty: alike"
    )
    stage_rates: Rates = Field(
        [], examples=[[1, 1, 0.5]], description="what each stage multiplies the learning rates by; empty: 1"
    )

    @model_validator(mode="after")
    def _one_for_each_stage(self) -> Self:
        for name in ("stage_shares", "stage_rates"):
            given = getattr(self, name)
            if given and len(given) != len(self.stages):
                number = len(self.stages)
                raise ValueError(
                    f"{name}: got {given} for stages={self.stages}; expected {number} numbers, or none"
                )
        if self.stage_shares and abs(sum(self.stage_shares) - 1) > SLACK:
            raise ValueError(f"stage_shares: got {self.stage_shares}; expected numbers with the sum 1")
        return self

    @property
    def shares_of(self) -> list[float]:
        """Share of all steps that each stage takes."""
        return list(self.stage_shares or [1 / len(self.stages)] * len(self.stages))

    @property
    def rates_of(self) -> list[float]:
        """What each stage multiplies the learning rates by."""
        return list(self.stage_rates or [1.0] * len(self.stages))

    def effective(self) -> dict[str, Any]:
        """As of every segmentation, with the shares and rates of each stage said."""
        return super().effective() | {"stage_shares": self.shares_of, "stage_rates": self.rates_of}

    def samples_of(self, number: int, training: int) -> tuple[int, int]:
        """Epochs of a stage, and how many samples each of them has, where the data have ``training`` patches.

        Together they are the stage's share of ``epochs`` times ``training``. A stage of less than one epoch
        has a short one.
        """
        wanted = self.shares_of[number] * self.epochs
        epochs = max(1, int(wanted + SLACK))
        return epochs, max(1, round(wanted * training / epochs))

    def of_stage(self, number: int, epochs: int) -> "StagedParameters":
        """What a stage is trained with: so many epochs, its learning rates."""
        rates = ("learning_rate", "encoder_learning_rate")
        changed = {name: getattr(self, name) * self.rates_of[number] for name in rates}
        return self.model_copy(update={"epochs": epochs, **changed})


def train_stages(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    """Train a model from stage to stage and judge its last weights; files into ``folder``, figures returned.

    Each stage has its share of the steps, a cycle of learning rates of its own, and starts from the best
    weights of the one before. The last stage's files lie in ``folder``, those of the
    others below it until the last one is done.
    """
    from wusu_lib.training.loop import threads

    parameters, table = cast("StagedParameters", exp.parameters), exp.table
    with threads(parameters.scale):
        model = segmentation.build_for_size(parameters, max(segmentation.image_shape(table)[1:]), seed)
        start = segmentation.begin(exp, model)
        places = [folder / f"stage-{k}" for k in range(1, len(parameters.stages))]
        for number, place in enumerate(places):
            place.mkdir(exist_ok=True)
            _learn(exp, seed, model, start, number, place)
        made = _learn(exp, seed, model, start, len(places), folder)
    before = _join(folder, places, parameters)
    made["best_epoch"] += before
    made["epochs"] += before
    for place in places:
        shutil.rmtree(place)
    return made | start.record


def _learn(
    exp: "Experiment", seed: int, model: "SegmentationModel", start: "Start", number: int, folder: Path
) -> dict[str, Any]:
    """Train one stage; of the last one, judge the maps too. Gives the rest of the record."""
    from wusu_lib.data.resampling import windows
    from wusu_lib.training.loop import SPLITS, train
    from wusu_lib.training.task import SegmentationTask

    parameters = cast("StagedParameters", exp.parameters)
    factor, last = parameters.stages[number], number == len(parameters.stages) - 1
    table = exp.table
    training = int((table["mask"].notna() & (table["split"] == "train")).sum())
    epochs, samples = parameters.samples_of(number, training)
    settings = parameters.of_stage(number, epochs)
    pieces, side = ground(exp, factor) if factor > 1 else ([], 0)
    data = (
        _windows(exp, start, windows(pieces, side, samples), pieces, side, seed)
        if pieces
        else segmentation.patches_of(replace(exp, table=_some(table, samples)), start, seed)
    )
    called = f"{exp.called}, {factor} m" if len(parameters.stages) > 1 else exp.called
    splits = SPLITS if last and not pieces else ("val",)
    tallies, made = train(folder, SegmentationTask(model, settings, start.shares), data, seed, splits, called)
    if not last:
        return made
    if not pieces:
        return made | segmentation.write_tallies(folder, cast(Any, data), tallies)
    predictor = segmentation.Predictor(
        model.eval(), start.mean.tolist(), start.std.tolist(), parameters.labels, side, parameters.precision
    )
    return made | _judge(folder, exp.table, pieces, predictor)


def ground(exp: "Experiment", factor: int) -> "tuple[list[Mosaic], int]":
    """The labelled ground of an experiment resampled, and the side of the windows that it is cut into."""
    from wusu_lib.data.loading import kept_pair, read_pair
    from wusu_lib.data.resampling import mosaics, side_of

    read = kept_pair if segmentation.fits_in_memory(exp.table) else read_pair
    assert exp.dossier.overlaps is not None
    pieces = list(mosaics(exp.table, exp.dossier.overlaps.layout, factor, read))
    return pieces, side_of(pieces, min(segmentation.image_shape(exp.table)[1:]))


def _some(table: pd.DataFrame, samples: int) -> pd.DataFrame:
    """The table with so many training rows, evenly chosen; some twice where there are fewer."""
    learnt = table[table["mask"].notna() & (table["split"] == "train")]
    chosen = learnt.iloc[np.linspace(0, len(learnt) - 1, samples).round().astype(int)]
    return table if samples == len(learnt) else pd.concat([chosen, table[table["split"] != "train"]])


def _windows(
    exp: "Experiment", start: "Start", rows: pd.DataFrame, pieces: "Sequence[Mosaic]", side: int, seed: int
) -> "SplitDataModule":
    """Windows of the coarse ground, normalised as the model expects them."""
    from wusu_lib.data.loading import SplitDataModule
    from wusu_lib.data.resampling import WindowSamples

    parameters = cast("StagedParameters", exp.parameters)
    samples = partial(
        WindowSamples,
        pieces=pieces,
        side=side,
        mean=start.mean.tolist(),
        std=start.std.tolist(),
        labels=parameters.labels,
        augmentation=parameters.augmentation,
    )
    return SplitDataModule(
        rows, samples, batch_size=parameters.batch_size, workers=parameters.workers, seed=seed
    )


def _judge(
    folder: Path, table: pd.DataFrame, pieces: "Sequence[Mosaic]", predictor: "Predictor"
) -> dict[str, Any]:
    """Map all ground at its coarse pixel, bring the maps to the data's, count and write them by patch."""
    from wusu_lib.data.resampling import enlarge

    labels, kept = predictor.labels, table.set_index("patch")
    matrices, maps, sure = {}, {}, {}
    for piece in pieces:
        fine = [enlarge(each, piece.factor, piece.shape) for each in mapped(piece, predictor)]
        for row in piece.places.itertuples():
            at = slice(row.y, row.y + row.height), slice(row.x, row.x + row.width)
            predicted, confidence = (each[at] for each in fine)
            index = read_index(kept.at[row.patch, "mask"])
            truth = labels.index_from_train_id(labels.train_id_from_index(index))
            matrices[row.patch] = classes.confusion(truth, predicted)
            if piece.split == "val":
                maps[row.patch], sure[row.patch] = predicted, confidence
    rows = kept.loc[list(matrices)].reset_index()
    return write_results(folder, rows, np.stack(list(matrices.values())), maps, sure, labels)


def mapped(piece: "Mosaic", predictor: "Predictor") -> tuple[np.ndarray, np.ndarray]:
    """Class index and largest probability x 255 of a mosaic, each uint8 [h, w], from windows side by side."""
    from wusu_lib.data.loading import EVALUATION_PIXELS
    from wusu_lib.data.resampling import padded, tiles

    side = predictor.window
    image, _ = padded(piece, side)
    found = np.zeros((2, *image.shape[1:]), dtype=np.uint8)
    known = np.array(predictor.class_indices, dtype=np.uint8)
    corners = tiles(image.shape[1:], side)
    batch = max(1, EVALUATION_PIXELS // side**2)
    for first in range(0, len(corners), batch):
        some = corners[first : first + batch]
        counts = np.stack([image[:, y : y + side, x : x + side] for y, x in some])
        most = predictor.probabilities(counts, np.ones((len(some), side, side), dtype=bool)).max(dim=1)
        index, share = known[most.indices.cpu().numpy()], (most.values * 255).round().cpu().numpy()
        for (y, x), each, confidence in zip(some, index, share, strict=True):
            found[:, y : y + side, x : x + side] = each, confidence.astype(np.uint8)
    height, width = piece.index.shape
    return found[0, :height, :width], found[1, :height, :width]


def _join(folder: Path, places: Sequence[Path], parameters: StagedParameters) -> int:
    """Histories and steps of all stages in one, counted on, with the pixel (m) in a column ``stage``.

    Gives the epochs before the last stage.
    """
    histories = [pd.read_csv(place / "history.csv") for place in [*places, folder]]
    epochs = np.cumsum([0, *(len(history) for history in histories)])
    for name in ("history.csv", "steps.csv"):
        parts, steps = [], 0
        for place, before, pixel in zip([*places, folder], epochs, parameters.stages, strict=False):
            part = pd.read_csv(place / name).assign(stage=pixel)
            part["epoch"] += before
            if "step" in part:
                part["step"] += steps
                steps += len(part)
            parts.append(part)
        pd.concat(parts, ignore_index=True).to_csv(folder / name, index=False)
    return int(epochs[-2])


# What the kind is.

KIND = Kind(
    schema=StagedParameters,
    told_by=frozenset({"stages", "stage_shares", "stage_rates"}),
    code=(
        *DATA,
        *TRAINING,
        "wusu_lib.measures.classes:confusion",
        "wusu_lib.data.resampling",
        "wusu_lib.data.loading:SplitDataModule",
        "wusu_lib.experiment.segmentation:Predictor",
        "wusu_lib.experiment.staged:_join,_judge,_learn,_some,_windows,ground,mapped,train_stages",
    ),
    packages=TORCH,
    make=train_stages,
    inputs=segmentation.KIND.inputs,
    parts=segmentation.KIND.parts,
)


# What experiments ask beside their main question.


def at_pixels(exp: "Experiment", pixels: Sequence[int]) -> "dict[int, Experiment]":
    """The experiment with each ground pixel (m) as its only stage, its own among them, from fine to coarse.

    Raises ValueError for an experiment that has several stages or none.
    """
    stages = getattr(exp.parameters, "stages", [])
    if len(stages) != 1:
        raise ValueError(f"{exp.name} has {len(stages)} stages; expected one, for instance stages=[4]")
    return {
        pixel: exp if [pixel] == stages else exp.variant(stages=[pixel])
        for pixel in sorted({*pixels, *stages})
    }


def with_first_stages(exp: "Experiment", ratios: Sequence[int]) -> "dict[int, Experiment]":
    """The experiment with two stages of half the steps each, the first coarser by each ratio, by the ratio.

    With a ratio of 1 both are at the same pixel: what a second cycle of rates does by itself. Raises
    ValueError for an experiment that has no stages.
    """
    if not isinstance(exp.parameters, StagedParameters):
        raise ValueError(f"{exp.name} has no stages to vary; give some, for instance stages=[10, 5, 1]")
    last = exp.parameters.stages[-1]
    halves: dict[str, Any] = {"stage_shares": [0.5, 0.5], "stage_rates": []}
    return {ratio: exp.variant(stages=[ratio * last, last], **halves) for ratio in ratios}
