"""Segmentation: the classes of one image. From parameters to files: data, model, training, results."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from wusu_lib.data import statistics
from wusu_lib.experiment.parameters import (
    DATA,
    TORCH,
    TRAINING,
    Kind,
    ModelParameters,
    published,
    weights_hash,
)
from wusu_lib.models import losses
from wusu_lib.models.catalogue import expected_statistics, find
from wusu_lib.models.decoders import DECODERS
from wusu_lib.runs.results import write_results

if TYPE_CHECKING:
    from torch import nn

    from wusu_lib.data.loading import WusuDataModule
    from wusu_lib.experiment.experiment import Experiment
    from wusu_lib.models.segmentation import SegmentationModel
    from wusu_lib.training.task import Tally


class SegmentationParameters(ModelParameters):
    """A segmentation experiment: classes from one image."""

    classes: Literal["all", "merged"] = Field(
        "all", description="the legend's classes, or buildings and waters merged"
    )
    loss: str = Field(
        "cross_entropy", examples=["focal"], description="cross_entropy, focal, dice or cross_entropy_dice"
    )

    @model_validator(mode="after")
    def _loss_exists(self) -> Self:
        losses.check(self.loss, DECODERS[self.decoder].set_loss)
        return self


IN_MEMORY = 2**30  # bytes of images and masks that are kept in memory rather than read every epoch


def train_segmentation(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    """Train and evaluate the model that an experiment describes; files into ``folder``, figures returned."""
    from wusu_lib.data.loading import WusuDataModule
    from wusu_lib.training.loop import threads

    parameters, table = cast("SegmentationParameters", exp.parameters), exp.table
    mean, std = statistics.normalisation(
        parameters.normalisation,
        exp.statistics,
        expected_statistics(parameters.backbone, parameters.scale, parameters.weights),
    )
    data = WusuDataModule(
        table,
        mean.tolist(),
        std.tolist(),
        labels=parameters.labels,
        batch_size=parameters.batch_size,
        workers=parameters.workers,
        seed=seed,
        in_memory=not parameters.workers and _fits_in_memory(table),  # workers would each get a copy
    )
    # What the stored weights expect of an image, so that they can be used without the data they learnt from.
    expects = {"mean": mean.tolist(), "std": std.tolist(), "size": list(image_shape(table)[1:])}
    with threads(parameters.scale):
        model = build_network(parameters, outputs_of(parameters), max(expects["size"]), seed)
        parts = describe_model(model, table).to_dict("list")
        made = fit(folder, model, data, parameters, seed, exp.called)
    return made | {"input": expects, "parts": parts} | published(parameters)


def outputs_of(parameters: SegmentationParameters) -> int:
    """Number of classes that the model predicts."""
    return parameters.labels.outputs


def build_for_size(parameters: SegmentationParameters, image_size: int, seed: int) -> "SegmentationModel":
    """The model of ``parameters`` for square images of ``image_size`` px, its encoder adapted as stated."""
    return build_network(parameters, outputs_of(parameters), image_size, seed)


def build_network(
    parameters: ModelParameters, outputs: int, image_size: int, seed: int
) -> "SegmentationModel":
    """A model with so many outputs whose encoder is frozen or adapted as ``parameters`` state."""
    from wusu_lib.models import build, weights

    model = build.build(
        parameters.backbone,
        parameters.decoder,
        scale=parameters.scale,
        weights=parameters.weights,
        outputs=outputs,
        image_size=image_size,
        seed=seed,
        bands=parameters.bands,
        skip_block=parameters.skip_block,
    )
    if parameters.adaptation == "frozen":
        model.freeze_encoder()
    elif parameters.adaptation == "lora":
        weights.add_lora(model, seed=seed)
    return model


def describe_model(model: "SegmentationModel", table: pd.DataFrame) -> pd.DataFrame:
    """Parts of a model with their sizes (``build.describe``) for the patches of ``table``."""
    from wusu_lib.models import build

    return build.describe(model, max(image_shape(table)[1:]))


def image_shape(table: pd.DataFrame) -> tuple[int, int, int]:
    """Bands, height and width (px) of the patches."""
    from wusu_lib.imagery import read

    bands, height, width = read(table["image"].iat[0]).shape
    return bands, height, width


def _fits_in_memory(table: pd.DataFrame) -> bool:
    """Whether all images and masks fit the memory set aside for them."""
    bands, height, width = image_shape(table)
    return len(table) * (bands + 1) * height * width <= IN_MEMORY


def fit(
    folder: Path,
    model: "nn.Module",
    data: "WusuDataModule",
    parameters: SegmentationParameters,
    seed: int,
    called: str = "",
) -> dict[str, Any]:
    """Train a model on ``data`` and evaluate its best weights; resumes what ``folder`` holds.

    Writes what ``loop.train`` writes, confusion.npz and predictions.npz. Gives the rest of the record: what
    ``loop.train`` gives, metrics by protocol and split, classes absent from a split. Errors as there.
    """
    from wusu_lib.training.loop import train
    from wusu_lib.training.task import SegmentationTask

    tallies, figures = train(folder, SegmentationTask(model, parameters), data, seed, called=called)
    return _write(folder, data, tallies) | figures


def _write(folder: Path, data: "WusuDataModule", tallies: "dict[str, Tally]") -> dict[str, Any]:
    """Write the run's files; give what ``write_results`` gives."""
    patches = [patch for tally in tallies.values() for patch in tally.patches]
    matrices = np.stack([matrix for tally in tallies.values() for matrix in tally.matrices])
    rows = data.table.set_index("patch").loc[patches].reset_index()
    val = tallies["val"]
    maps, confidence = (dict(zip(val.patches, v, strict=True)) for v in (val.maps, val.confidence))
    return write_results(folder, rows, matrices, maps, confidence, data.labels)


# What the kind is.


def _weights(exp: "Experiment", seed: int) -> str:
    return weights_hash(cast(SegmentationParameters, exp.parameters))


def _parts(exp: "Experiment") -> pd.DataFrame:
    stated = cast(SegmentationParameters, exp.parameters)
    model = build_for_size(stated, max(image_shape(exp.table)[1:]), exp.seeds[0])
    return describe_model(model, exp.table)


KIND = Kind(
    schema=SegmentationParameters,
    told_by=frozenset({"backbone", "decoder", "prediction"}),
    code=(*DATA, *TRAINING, "wusu_lib.measures.classes:confusion"),
    packages=TORCH,
    make=train_segmentation,
    inputs=_weights,
    parts=_parts,
)


# Trainings beside an experiment's own: one of its parameters changed, or another start.


def bands_and_skips(exp: "Experiment") -> "dict[str, Experiment]":
    """What experiment 6 asks beside its main question: no near infrared, and another block for the skip.

    The blocks are those at the quarter points of the backbone, without the one that the run itself uses and
    the last one, which the skip is joined to; none where the decoder has no skip to choose. Without the
    infrared in the run itself, that variant is left out.
    Raises ValueError for an experiment that trains no segmentation model.
    """
    stated = exp.parameters
    if not isinstance(stated, SegmentationParameters):
        raise ValueError(
            f"{exp.name} trains no segmentation model, so it has neither bands nor a skip to choose"
        )
    spec = find(stated.backbone)
    encoder = spec.encoder(stated.scale)
    own = stated.skip_block or encoder.skip + 1
    choosable = spec.transformer and stated.decoder == "deeplab"
    blocks = [tap + 1 for tap in encoder.taps[:-1] if choosable and tap + 1 != own]
    found = {"red, green, blue only": exp.variant(bands="rgb")} if stated.bands == "all" else {}
    return found | {f"skip from block {block}": exp.variant(skip_block=block) for block in blocks}
