"""The kinds of run. Each has a schema of parameters, the code that its key covers, and what makes it.

Another kind is another entry in ``KINDS``: nothing else asks of which kind an experiment is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from wusu_lib import provenance
from wusu_lib.parameters import (
    DirectParameters,
    ModelParameters,
    Parameters,
    PixelParameters,
    Schema,
    SegmentationParameters,
    TwoStageParameters,
)

if TYPE_CHECKING:
    from wusu_lib.experiment import Experiment

READER = ("wusu_lib.patches.table", "wusu_lib.patches.splits")


@dataclass(frozen=True)
class Kind:
    """One kind of run.

    ``code``: dotted names of the modules that compute it. ``make``: (experiment, seed, folder) -> rest of the
    record, files written into the folder; whoever computes is imported in it. ``inputs``: hash or key of what
    else the figures depend on. ``parts``: parts of the model with their sizes; None where there is no model.
    ``change``: whether it is judged on pairs of dates.
    """

    code: tuple[str, ...]
    make: "Callable[[Experiment, int, Path], dict[str, Any]]"
    inputs: "Callable[[Experiment, int], str]"
    parts: "Callable[[Experiment], pd.DataFrame] | None" = None
    change: bool = False


def kind_of(parameters: Parameters) -> Kind:
    """The kind of the runs that parameters describe."""
    return KINDS[type(parameters)]


def _nothing(exp: "Experiment", seed: int) -> str:
    return ""


def weights_hash(stated: ModelParameters) -> str:
    """Hash of the weight file behind a path, so that other weights make another run; empty for a name."""
    if stated.weights_path is None:
        return ""
    from wusu_lib.models.weights import checkpoint_path

    return provenance.content_hash(checkpoint_path(stated.weights_path, stated.backbone))


def _weights(exp: "Experiment", seed: int) -> str:
    return weights_hash(cast(ModelParameters, exp.parameters))


def _masks_and_weights(exp: "Experiment", seed: int) -> str:
    return f"{exp.dossier.change_fingerprint} {_weights(exp, seed)}"


def _masks_and_source(exp: "Experiment", seed: int) -> str:
    """The change masks and the key of the segmentation run that the change is made of."""
    return f"{exp.dossier.change_fingerprint} {exp.source().key(seed)}"


def _classify(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    from wusu_lib.floor_run import classify

    return classify(folder, cast(PixelParameters, exp.parameters), exp.table, seed)


def _segment(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    from wusu_lib.training import train_segmentation

    stated = cast(SegmentationParameters, exp.parameters)
    return train_segmentation(folder, stated, exp.table, exp.statistics, seed)


def _compare_maps(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    from wusu_lib.change.two_stage import compare_maps

    return compare_maps(folder, exp, seed)


def _detect(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    from wusu_lib.change.direct import train_direct

    stated = cast(DirectParameters, exp.parameters)
    return train_direct(folder, stated, exp.table, exp.dossier.changes, exp.statistics, seed)


def _segmentation_parts(exp: "Experiment") -> pd.DataFrame:
    from wusu_lib.training import build_model, describe_model

    stated = cast(SegmentationParameters, exp.parameters)
    return describe_model(build_model(stated, exp.table, exp.seeds[0]), exp.table)


def _source_parts(exp: "Experiment") -> pd.DataFrame:
    return exp.source().parts()


def _direct_parts(exp: "Experiment") -> pd.DataFrame:
    from wusu_lib.change.direct import describe_direct

    return describe_direct(cast(DirectParameters, exp.parameters), exp.table, exp.seeds[0])


KINDS: dict[Schema, Kind] = {
    PixelParameters: Kind(("wusu_lib.floor_run", *READER), _classify, _nothing),
    SegmentationParameters: Kind(
        ("wusu_lib.training", "wusu_lib.models", *READER), _segment, _weights, _segmentation_parts
    ),
    TwoStageParameters: Kind(
        ("wusu_lib.change.two_stage", *READER), _compare_maps, _masks_and_source, _source_parts, change=True
    ),
    DirectParameters: Kind(
        ("wusu_lib.change.direct", "wusu_lib.models", *READER),
        _detect,
        _masks_and_weights,
        _direct_parts,
        change=True,
    ),
}
