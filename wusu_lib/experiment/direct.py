"""Change from two images at once: a siamese network trained on the change itself.

The direct way, beside the two-stage way of comparing two class maps. The backbone, its neck and its
decoder are those of the segmentation experiments and see both dates with the same weights; their two maps
meet in one of two ways (Caye Daudt et al. 2018, ICIP, doi 10.1109/ICIP.2018.8451652):

- "difference": the absolute difference of the maps; which date came first makes no difference.
- "concatenation": the maps one after the other; the order of the dates can be learnt.

What is predicted is one of two things:

- "bcd": changed or not (binary change detection).
- "scd": that, and the classes of both dates, from two heads with shared weights beside the change head
  (semantic change detection by multi-task learning: Caye Daudt et al. 2019, CVIU 187, "strategy 4", doi
  10.1016/j.cviu.2019.07.003; Ding et al. 2022, IEEE TGRS 60, arXiv 2108.06103).

The originals fuse at every level of an encoder; here the maps meet once, at the end of the decoder, so
that backbone and decoder stay exactly those that the two-stage way uses.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from wusu_lib.change.analysis import pairs
from wusu_lib.change.codebook import CodeBook, count_transitions, cross_tabulate, learn
from wusu_lib.data import statistics
from wusu_lib.experiment.parameters import (
    CHANGE,
    DATA,
    TORCH,
    TRAINING,
    Kind,
    ModelParameters,
    published,
    weights_hash,
)
from wusu_lib.experiment.segmentation import IN_MEMORY, build_network, image_shape
from wusu_lib.experiment.two_stage import maps_compared
from wusu_lib.models.catalogue import expected_statistics
from wusu_lib.runs.results import write_change

if TYPE_CHECKING:
    from wusu_lib.data.loading import PairDataModule
    from wusu_lib.experiment.experiment import Experiment
    from wusu_lib.models.segmentation import SiameseModel
    from wusu_lib.training.task import PairTally


class DirectParameters(ModelParameters):
    """Change from two images at once: one encoder for both dates, trained on the change itself."""

    change: ClassVar[bool] = True

    method: Literal["bcd", "scd"] = Field(
        "bcd", description="changed or not, or the classes of both dates as well"
    )
    fusion: Literal["difference", "concatenation"] = Field(
        "difference", description="how the maps of the two dates meet"
    )

    @model_validator(mode="after")
    def _decoder_gives_a_map(self) -> Self:
        if self.decoder == "mask2former":
            raise ValueError(
                'decoder: got "mask2former", which predicts objects and gives no map that two dates could '
                "meet in; use another decoder, for instance deeplab"
            )
        return self


# One direct run from parameters to files: its pairs, its model, its training, its results.

JUDGED = ("val", "test")  # as the two-stage way is


def train_direct(
    folder: Path,
    parameters: DirectParameters,
    table: pd.DataFrame,
    changes: pd.DataFrame,
    measured: statistics.Statistics,
    seed: int,
    called: str = "",
) -> dict[str, Any]:
    """Train and evaluate the siamese network that ``parameters`` describe; files into ``folder``, figures
    returned.

    ``table``: patches with their split and block assigned. ``changes``: change masks, of
    ``tree.scan_changes``. ``measured``: statistics of the training rows. The record also gets the weight
    of changed pixels and how far the change masks agree with the class masks. Errors as those of
    ``loop.train``, ``pairs.pairs`` and ``codebook.learn``; ValueError naming the codes
    at fault where the change masks contradict themselves or say that nothing changed.
    """
    from wusu_lib.models.build import siamese_parts
    from wusu_lib.training.loop import threads, train
    from wusu_lib.training.task import DirectTask

    rows = pairs(table, changes)
    evidence = cross_tabulate(table, changes, parameters.method)
    book = learn(evidence, parameters.method, parameters.unlabelled).require()
    weight = change_weight(table[table["split"] == "train"])
    data = _data(parameters, rows, table, measured, book, seed)
    found: dict[str, Any] = {"change_weight": weight, "change_masks": _agreement(book)}

    with threads(parameters.scale):
        model = build_siamese(parameters, table, seed)
        found["parts"] = siamese_parts(model, max(image_shape(table)[1:])).to_dict("list")
        tallies, figures = train(folder, DirectTask(model, parameters, weight), data, seed, JUDGED, called)
    return _write(folder, rows, tallies) | figures | found


def build_siamese(parameters: DirectParameters, table: pd.DataFrame, seed: int) -> "SiameseModel":
    """The network of ``parameters`` for the patches of ``table``, its encoder frozen if so stated."""
    from wusu_lib.models.segmentation import SiameseModel

    outputs = parameters.labels.outputs
    base = build_network(parameters, outputs, max(image_shape(table)[1:]), seed)
    return SiameseModel(base, parameters.method, parameters.fusion, seed + 2)  # base uses seed and seed + 1


def describe_direct(parameters: DirectParameters, table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Parts of the network with their sizes, as ``build.describe`` gives them of a segmentation model."""
    from wusu_lib.models.build import siamese_parts

    return siamese_parts(build_siamese(parameters, table, seed), max(image_shape(table)[1:]))


def change_weight(train: pd.DataFrame) -> float:
    """How many times a changed pixel counts in the loss: sqrt(unchanged pixels / changed pixels) of train.

    At 1 the network does best to predict no change at all for long; at the full ratio it would be trained as
    if half of the ground changed, and claim far too much. The square root lies between. Raises ValueError
    where no training pixel changed.
    """
    counted = np.sum(list(count_transitions(train).values()), axis=0)
    unchanged = int(np.trace(counted[1:, 1:]))
    changed = int(counted[1:, 1:].sum()) - unchanged
    if not changed:
        raise ValueError("no labelled ground of the training patches changed; there is no change to learn")
    return math.sqrt(max(unchanged / changed, 1.0))


def _data(
    parameters: DirectParameters,
    rows: pd.DataFrame,
    table: pd.DataFrame,
    measured: statistics.Statistics,
    book: CodeBook,
    seed: int,
) -> "PairDataModule":
    from wusu_lib.data.loading import PairDataModule

    mean, std = statistics.normalisation(
        parameters.normalisation,
        measured,
        expected_statistics(parameters.backbone, parameters.scale, parameters.weights),
    )
    bands, height, width = image_shape(table)
    return PairDataModule(
        rows,
        mean.tolist(),
        std.tolist(),
        book,
        labels=parameters.labels,
        batch_size=parameters.batch_size,
        workers=parameters.workers,
        seed=seed,
        in_memory=not parameters.workers and len(rows) * (2 * bands + 3) * height * width <= IN_MEMORY,
    )


def _agreement(book: CodeBook) -> dict[str, Any]:
    """What the change masks that were trained on are worth, for the record."""
    return {
        "kind": book.kind,
        "codes": len(book.codes),
        "agreement": book.agreement,
        "conflicts": len(book.conflicts),
    }


def _write(folder: Path, rows: pd.DataFrame, tallies: "dict[str, PairTally]") -> dict[str, Any]:
    """Write the run's files; give what ``write_change`` gives."""
    order = [pair for tally in tallies.values() for pair in tally.patches]
    matrices = np.stack([matrix for tally in tallies.values() for matrix in tally.matrices])
    val = tallies["val"]
    maps = dict(zip(val.patches, val.maps, strict=True))
    return write_change(folder, rows.set_index("patch").loc[order].reset_index(), matrices, maps)


# What the kind is.


def _make(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    stated = cast(DirectParameters, exp.parameters)
    made = train_direct(folder, stated, exp.table, exp.dossier.changes, exp.statistics, seed, exp.called)
    return made | published(stated)


def _inputs(exp: "Experiment", seed: int) -> str:
    return f"{exp.dossier.change_fingerprint} {weights_hash(cast(DirectParameters, exp.parameters))}"


def _parts(exp: "Experiment") -> pd.DataFrame:
    return describe_direct(cast(DirectParameters, exp.parameters), exp.table, exp.seeds[0])


CODE = (
    *DATA,
    *TRAINING,
    *CHANGE,
    "wusu_lib.training.task:DirectTask,PairTally",
    "wusu_lib.data.loading:PairDataModule",
    "wusu_lib.experiment.direct:train_direct",
    "wusu_lib.models.segmentation:SiameseModel",
)
KIND = Kind(
    schema=DirectParameters,
    told_by=frozenset({"method", "fusion"}),
    code=CODE,
    packages=(*TORCH, "scipy"),
    make=_make,
    inputs=_inputs,
    parts=_parts,
    baseline=maps_compared,
)
