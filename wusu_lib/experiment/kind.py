"""A kind of run: what it can be told, what computes it, what makes it; and what the kinds share.

Each kind has a file of its own, which ends with its ``KIND``; ``notebooks`` lists them. Nothing else asks of
which kind an experiment is.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from wusu_lib import provenance
from wusu_lib.experiment.parameters import DataParameters, ModelParameters
from wusu_lib.models import catalogue
from wusu_lib.models.spec import recorded_miniature

if TYPE_CHECKING:
    from wusu_lib.experiment.experiment import Experiment

# The modules that compute a run. Its key covers these files (or, behind a colon, definitions of them) and
# nothing that they import: whoever adds an import of something that computes adds it here or in its kind.
DATA = (
    "wusu_lib.legend",
    "wusu_lib.data.masks",
    "wusu_lib.imagery:missing,read",
    "wusu_lib.data.tree:fingerprint,fingerprint_changes,scan,scan_changes",
    "wusu_lib.data.splits",
)
MODEL = (
    "wusu_lib.models.segmentation:SegmentationModel",
    "wusu_lib.models.arithmetic",
    "wusu_lib.models.build:accept_single_images,assemble,build_encoder",
    "wusu_lib.models.weights:encoder_name,load_checkpoint,read_checkpoint,unfused",
    "wusu_lib.models.terratorch_parts",
)
TRAINING = (
    *MODEL,
    "wusu_lib.data.statistics:measure,normalisation",
    "wusu_lib.models.losses:pixel_loss",
    "wusu_lib.data.loading:WusuDataModule",
    "wusu_lib.experiment.segmentation:train_segmentation",
    "wusu_lib.training.loop",
    "wusu_lib.training.task:SegmentationTask,Tally",
)
CHANGE = (
    "wusu_lib.transitions",
    "wusu_lib.measures.change:binary_confusion,confusion,reduce",
    "wusu_lib.change.pairs:pairs,true_labels",
    "wusu_lib.change.codebook:count_chains,count_transitions,cross_tabulate,learn",
)
# The packages that compute each kind; a backbone, a decoder and LoRA name their own.
ARRAYS = ("numpy", "pandas", "rasterio")
TORCH = (*ARRAYS, "torch", "lightning", "terratorch", "safetensors")


def as_defined(exp: "Experiment", stated: DataParameters) -> DataParameters:
    """The baseline of what is judged on class maps: the experiment itself.

    Raises ValueError for one that is judged on change.
    """
    if stated.change:
        raise ValueError(
            f"prediction: {stated.name} is about change between dates and {exp.name} about one date; "
            "name a segmentation experiment as the baseline"
        )
    return stated


def nothing(exp: "Experiment", seed: int) -> str:
    """No other input than the data."""
    return ""


@dataclass(frozen=True)
class Kind:
    """One kind of run.

    ``schema``: what it can be told. ``told_by``: the parameters that only it and more special kinds have.
    ``code`` and ``packages``: the modules and the packages that compute it. ``make``: (experiment, seed,
    folder) -> rest of the record, files written into the folder; whoever computes is imported in it.
    ``inputs``: content hash of what else the figures depend on. ``parts``: parts of the model with their
    sizes; None where there is no model. ``source``: keys of the runs that it is made of, by experiment's
    name. ``baseline``: what it is compared with, from the parameters of the experiment that the prediction
    names. ``torch``: whether torch computes it, whose sums depend on the processor.
    """

    schema: type[DataParameters]
    told_by: frozenset[str]
    code: tuple[str, ...]
    packages: tuple[str, ...]
    make: "Callable[[Experiment, int, Path], dict[str, Any]]"
    inputs: "Callable[[Experiment, int], str]" = nothing
    parts: "Callable[[Experiment], pd.DataFrame] | None" = None
    source: "Callable[[Experiment, int], dict[str, str]] | None" = None
    baseline: "Callable[[Experiment, DataParameters], DataParameters]" = as_defined
    torch: bool = True


def made_by(kind: Kind, exp: "Experiment", seed: int) -> dict[str, Any]:
    """What computes a run, for its key and its record: hash of each module, version of each package.

    Beside them "model", what the tables of backbones and decoders say of the chosen ones, "arithmetic", of
    this machine, and "runs", the keys of the runs that it is made of; each where there is any.
    """
    stated = exp.parameters
    modules, packages, model = kind.code, kind.packages, {}
    if isinstance(stated, ModelParameters):
        modules = (*modules, *catalogue.chosen_modules(stated))
        packages = (*packages, *catalogue.chosen_packages(stated))
        as_read_back = json.loads(json.dumps(catalogue.chosen_as_data(stated)))  # from a record
        model = {"model": as_read_back}
    return {
        "modules": provenance.code(modules),
        "packages": provenance.versions(set(packages)),
        **model,
        **({"arithmetic": provenance.arithmetic()} if kind.torch else {}),
        **({"runs": kind.source(exp, seed)} if kind.source else {}),
    }


def weights_hash(stated: ModelParameters) -> str:
    """Hash of the weight file behind a path, so that other weights make another run; empty for a name."""
    if stated.weights_path is None:
        return ""
    from wusu_lib.models.spec import checkpoint_path

    return provenance.content_hash(checkpoint_path(stated.weights_path, stated.backbone))


def published(stated: ModelParameters) -> dict[str, Any]:
    """For the record: which published weights were read, where any were."""
    if stated.weights != "pretrained":
        return {}
    spec = catalogue.find(stated.backbone)
    if stated.scale == "demo":
        record = recorded_miniature(spec.miniature)
        return {"weights": {"file": record["file"], "hash": record["hash"]}}
    from wusu_lib.models.weights import hub_origin

    return {"weights": hub_origin(*spec.hub, spec.revision)}
