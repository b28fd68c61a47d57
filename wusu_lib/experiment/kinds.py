"""The kinds of run. Each has a schema of parameters, the code that its key covers, and what makes it.

Another kind is another entry in ``KINDS``: nothing else asks of which kind an experiment is.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from wusu_lib import provenance
from wusu_lib.experiment.parameters import (
    DirectParameters,
    ModelParameters,
    Parameters,
    PixelParameters,
    Schema,
    SegmentationParameters,
    TwoStageParameters,
)
from wusu_lib.models import catalogue

if TYPE_CHECKING:
    from wusu_lib.experiment.experiment import Experiment

# The modules that compute each kind of run. Its key covers these files (or, behind a colon, definitions of
# them) and nothing that they import: whoever adds an import of something that computes adds it here.
DATA = (
    "wusu_lib.legend",
    "wusu_lib.data.masks",
    "wusu_lib.imagery:missing,read",
    "wusu_lib.data.tree:fingerprint,fingerprint_changes,scan,scan_changes",
    "wusu_lib.data.splits",
)
TRAINING = (
    "wusu_lib.data.statistics:measure,normalisation",
    "wusu_lib.models.segmentation:SegmentationModel,TrainingLoss,pixel_loss",
    "wusu_lib.data.loading",
    "wusu_lib.experiment.segmentation",
    "wusu_lib.training.loop",
    "wusu_lib.training.task:SegmentationTask,Tally",
    "wusu_lib.models.arithmetic",
    "wusu_lib.models.build:accept_single_images,assemble,build_encoder",
    "wusu_lib.models.weights:encoder_name,load_checkpoint,read_checkpoint,unfused",
    "wusu_lib.models.terratorch_parts",
)
PIXELS = (
    *DATA,
    "wusu_lib.experiment.per_pixel",
    "wusu_lib.data.statistics:class_index",
    "wusu_lib.measures.classes:confusion",
)
SEGMENTATION = (*DATA, *TRAINING, "wusu_lib.measures.classes:confusion")
CHANGE = (
    "wusu_lib.transitions",
    "wusu_lib.measures.change:binary_confusion,confusion,reduce",
    "wusu_lib.change.pairs:pairs,true_labels",
    "wusu_lib.change.codebook:count_chains,count_transitions,cross_tabulate,learn",
)
TWO_STAGE = (
    *DATA,
    *CHANGE,
    "wusu_lib.experiment.two_stage",
    "wusu_lib.change.analysis:chain_table,count_chains_of_maps,summarise_chains",
    "wusu_lib.change.decoding",
    "wusu_lib.measures.change:counts,score",  # the settings are chosen by a figure
    "wusu_lib.change.codebook:code_book",
    "wusu_lib.experiment.predictor",
)
DIRECT = (
    *DATA,
    *TRAINING,
    *CHANGE,
    "wusu_lib.training.task:DirectTask,PairTally",
    "wusu_lib.experiment.direct",
    "wusu_lib.models.segmentation:SiameseModel",
)
# The packages that compute each kind; a backbone, a decoder and LoRA name their own.
ARRAYS = ("numpy", "pandas", "rasterio")
TORCH = (*ARRAYS, "torch", "lightning", "terratorch", "safetensors")


@dataclass(frozen=True)
class Kind:
    """One kind of run.

    ``code`` and ``packages``: the modules and the packages that compute it. ``make``: (experiment, seed,
    folder) -> rest of the record, files written into the folder; whoever computes is imported in it.
    ``inputs``: content hash of what else the figures depend on. ``parts``: parts of the model with their
    sizes; None where there is no model. ``source``: keys of the runs that it is made of, by experiment's
    name. ``torch``: whether torch computes it, whose sums depend on the processor. ``change``: whether it is
    judged on pairs of dates.
    """

    code: tuple[str, ...]
    packages: tuple[str, ...]
    make: "Callable[[Experiment, int, Path], dict[str, Any]]"
    inputs: "Callable[[Experiment, int], str]"
    parts: "Callable[[Experiment], pd.DataFrame] | None" = None
    source: "Callable[[Experiment, int], dict[str, str]] | None" = None
    torch: bool = True
    change: bool = False


def kind_of(parameters: Parameters) -> Kind:
    """The kind of the runs that parameters describe."""
    return KINDS[type(parameters)]


def made_by(exp: "Experiment", seed: int) -> dict[str, Any]:
    """What computes a run, for its key and its record: hash of each module, version of each package.

    Beside them "model", what the tables of backbones and decoders say of the chosen ones, "arithmetic", of
    this machine, and "runs", the keys of the runs that it is made of; each where there is any.
    """
    stated = exp.parameters
    kind = kind_of(stated)
    modules, packages, model = kind.code, kind.packages, {}
    if isinstance(stated, ModelParameters):
        modules = (*modules, *catalogue.chosen_modules(stated))
        packages = (*packages, *catalogue.chosen_packages(stated))
        model = {
            "model": json.loads(json.dumps(catalogue.chosen_as_data(stated)))
        }  # as it is read back from a record
    return {
        "modules": provenance.code(modules),
        "packages": provenance.versions(set(packages)),
        **model,
        **({"arithmetic": provenance.arithmetic()} if kind.torch else {}),
        **({"runs": kind.source(exp, seed)} if kind.source else {}),
    }


def _nothing(exp: "Experiment", seed: int) -> str:
    return ""


def weights_hash(stated: ModelParameters) -> str:
    """Hash of the weight file behind a path, so that other weights make another run; empty for a name."""
    if stated.weights_path is None:
        return ""
    from wusu_lib.models.spec import checkpoint_path

    return provenance.content_hash(checkpoint_path(stated.weights_path, stated.backbone))


def _weights(exp: "Experiment", seed: int) -> str:
    return weights_hash(cast(ModelParameters, exp.parameters))


def _masks_and_weights(exp: "Experiment", seed: int) -> str:
    return f"{exp.dossier.change_fingerprint} {_weights(exp, seed)}"


def _masks_and_source(exp: "Experiment", seed: int) -> str:
    """The change masks, and what is asked of the segmentation run that the change is made of."""
    return f"{exp.dossier.change_fingerprint} {exp.source().question(seed)}"


def _source_key(exp: "Experiment", seed: int) -> dict[str, str]:
    source = exp.source()
    return {source.name: source.key(seed)}


def _classify(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    from wusu_lib.experiment.per_pixel import classify

    return classify(folder, cast(PixelParameters, exp.parameters), exp.table, seed)


def _segment(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    from wusu_lib.experiment.segmentation import train_segmentation

    stated = cast(SegmentationParameters, exp.parameters)
    return train_segmentation(folder, stated, exp.table, exp.statistics, seed) | _published(stated)


def _compare_maps(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    from wusu_lib.experiment.two_stage import compare_maps

    return compare_maps(folder, exp, seed)


def _detect(exp: "Experiment", seed: int, folder: Path) -> dict[str, Any]:
    from wusu_lib.experiment.direct import train_direct

    stated = cast(DirectParameters, exp.parameters)
    made = train_direct(folder, stated, exp.table, exp.dossier.changes, exp.statistics, seed)
    return made | _published(stated)


def _published(stated: ModelParameters) -> dict[str, Any]:
    """For the record: which published weights were read, where any were."""
    if stated.weights != "pretrained":
        return {}
    from wusu_lib.models.weights import hub_origin

    spec = catalogue.find(stated.backbone)
    return {"weights": hub_origin(*spec.hub, spec.revision)}


def _segmentation_parts(exp: "Experiment") -> pd.DataFrame:
    from wusu_lib.experiment.segmentation import build_model, describe_model

    stated = cast(SegmentationParameters, exp.parameters)
    return describe_model(build_model(stated, exp.table, exp.seeds[0]), exp.table)


def _source_parts(exp: "Experiment") -> pd.DataFrame:
    return exp.source().parts()


def _direct_parts(exp: "Experiment") -> pd.DataFrame:
    from wusu_lib.experiment.direct import describe_direct

    return describe_direct(cast(DirectParameters, exp.parameters), exp.table, exp.seeds[0])


KINDS: dict[Schema, Kind] = {
    PixelParameters: Kind(PIXELS, (*ARRAYS, "scikit-learn", "scipy"), _classify, _nothing, torch=False),
    SegmentationParameters: Kind(SEGMENTATION, TORCH, _segment, _weights, _segmentation_parts),
    TwoStageParameters: Kind(
        TWO_STAGE,
        (*TORCH, "scipy"),
        _compare_maps,
        _masks_and_source,
        _source_parts,
        source=_source_key,
        change=True,
    ),
    DirectParameters: Kind(
        DIRECT, (*TORCH, "scipy"), _detect, _masks_and_weights, _direct_parts, change=True
    ),
}
