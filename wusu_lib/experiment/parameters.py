"""The parameters of an experiment: flat, typed, checked before any work; and what a kind of run is.

What several kinds of experiment can be told, with types, ranges and defaults; what only one can be told
stands in the file of that kind. A notebook's ``parameters`` cell is the interface; ``notebooks`` reads it.
All that is wrong is told in one ``ValueError``, which names what is allowed.
"""

import ast
import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import pandas as pd
import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from wusu_lib import provenance
from wusu_lib.files import as_typed
from wusu_lib.legend import Background, LabelSpace, stated_space
from wusu_lib.models import catalogue
from wusu_lib.models.spec import checkpoint_path, recorded_miniature

if TYPE_CHECKING:
    from wusu_lib.experiment.experiment import Experiment

NAMED_WEIGHTS = ("pretrained", "random")


def _list_from_text(value: Any) -> Any:
    """Turn "[1, 2]" into [1, 2]: papermill's -p hands every list over as text."""
    if not isinstance(value, str):
        return value
    try:
        parsed = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return list(parsed) if isinstance(parsed, list | tuple) else value


def _names(value: Any) -> Any:
    """Names out of "[Building, Road]" or "Building, Road": papermill's -p hands lists over as text."""
    if not isinstance(value, str):
        return value
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    if isinstance(parsed, str):
        parsed = [part.strip() for part in parsed.split(",")]
    return parsed if parsed else []


Label = Annotated[str, BeforeValidator(as_typed)]  # a label, a file or a folder: it may be called 2018
Text = BeforeValidator(_list_from_text)
Names = Annotated[list[str], BeforeValidator(_names)]
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Text, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class DataParameters(BaseModel):
    """What every experiment states: its name, its scale, its data and its seeds."""

    change: ClassVar[bool] = False  # whether it is judged on pairs of dates

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)
    # Names that say where things are or why a run is made: they cannot change its figures.
    without_effect: ClassVar[frozenset[str]] = frozenset(
        {"name", "data_root", "city", "workers", "seeds", "prediction", "reuse"}
    )

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", examples=["exp05"], description="experiment, as the notebook's file"
    )
    scale: Literal["demo", "full"] = Field(
        "demo", description="miniature models and city, or the study's own"
    )
    data_root: Label = Field(
        "", examples=["/data/OpenWUSU512"], description="WUSU tree; empty: the mini city (demo)"
    )
    city: Literal["small", "large"] = Field(
        "small", description="mini city: how much of it is learnt from; all is judged on the same area"
    )
    split: Literal["blocks", "study", "folders"] = Field(
        "blocks", description="how validation and test are separated"
    )
    background: Background = Field(
        "ignore", description="unlabelled pixels: ignored, or a class of their own"
    )
    unlabelled: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = Field(
        None, examples=[255], description="code of unlabelled ground in the masks, beside 0"
    )
    seeds: Seeds = Field([42], examples=[[42, 43, 44]], description="one run a seed")
    reuse: Literal["same code", "any code"] = Field(
        "same code",
        description="stored runs that are taken: this code's, or those of any code",
    )

    @property
    def labels(self) -> LabelSpace:
        """The label space of maps and figures."""
        return stated_space(self.background, getattr(self, "classes", None))

    @field_validator("seeds")
    @classmethod
    def _unique(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(
                f"got {seeds}, a seed twice; expected different seeds, for instance [42, 43, 44]"
            )
        return seeds

    @model_validator(mode="after")
    def _data_at_full_scale(self) -> Self:
        if self.scale == "full" and not self.data_root:
            raise ValueError('data_root: must be given with scale="full", for instance "/data/OpenWUSU512"')
        return self

    def effective(self) -> dict[str, Any]:
        """What a run's figures depend on, by name; files that are named here count by content, elsewhere."""
        return {name: value for name, value in self.model_dump().items() if name not in self.without_effect}


class BudgetParameters(DataParameters):
    """A prediction, and what a training may cost: an experiment hands the budget on to its baseline.

    Defaults are those of the demo; ``params/full.yaml`` has the study's.
    """

    prediction: str = Field(
        examples=["val mIoU rises by at least 0.01 over exp04"], description="stated before the run"
    )
    weights: Label = Field(
        "pretrained", examples=["random"], description='"pretrained", "random", a file or a folder'
    )
    encoder_learning_rate: Positive = Field(
        1e-4, examples=[0.00001], description="of the encoder with differential, of its adapters with lora"
    )
    epochs: Count = Field(4, examples=[500], description="at most so many")
    schedule: Literal["one_cycle", "plateau"] = Field(
        "one_cycle",
        description="learning rates: up to twice what is stated for the first 3 tenths of all steps and down "
        "to nothing, or as stated and halved where val/loss stays",
    )
    followed: Annotated[int, Field(ge=0)] = Field(
        256, examples=[256], description="validation patches that an epoch is followed by; 0: all"
    )
    patience: Count = Field(
        10, examples=[10], description="epochs without a lower val/loss before training stops"
    )
    batch_size: Count = Field(8, examples=[4], description="patches a batch")
    accumulate: Count = Field(1, examples=[8], description="batches a step of the optimiser")
    precision: Literal["bf16", "32"] = Field(
        "bf16", description="autocast to bfloat16 where there are instructions for it, or float32 throughout"
    )
    workers: Annotated[int, Field(ge=0)] = Field(0, examples=[8], description="processes that load data")

    @field_validator("prediction")
    @classmethod
    def _stated(cls, prediction: str, info: ValidationInfo) -> str:
        from wusu_lib.measures.verdict import Prediction

        if not info.context:
            Prediction.parse(prediction)
        return prediction

    @property
    def weights_path(self) -> str | None:
        """The path given as ``weights``, None where a name was given."""
        return None if self.weights in NAMED_WEIGHTS else self.weights


class ModelParameters(BudgetParameters):
    """A model that is trained by AdamW."""

    backbone: str = Field(examples=["prithvi_600m"], description="encoder")
    decoder: str = Field(examples=["fpn"], description="what turns the encoder's maps into classes")
    bands: Literal["all", "rgb"] = Field("all", description="what the model sees: four bands, or no infrared")
    skip_block: Annotated[int, Field(ge=0)] = Field(
        0, examples=[10], description="transformer block (from 1) behind DeepLabV3+'s skip; 0: the usual one"
    )
    adaptation: Literal["frozen", "full", "differential", "lora"] = Field(
        "differential", description="how the encoder learns"
    )
    normalisation: Literal["wusu", "burnscars", "prithvi", "backbone"] = Field(
        "wusu", description="band statistics"
    )
    learning_rate: Positive = Field(
        1e-3, examples=[0.001], description="of the decoder (and of all with full)"
    )
    weight_decay: NotNegative = Field(1e-3, examples=[0.001], description="AdamW's")

    @field_validator("decoder")
    @classmethod
    def _canonical(cls, decoder: str) -> str:
        from wusu_lib.models import decoders

        return decoders.canonical(decoder)

    @model_validator(mode="after")
    def _model_exists(self) -> Self:
        named = self.weights if self.weights in NAMED_WEIGHTS else "random"  # a path is looked for later
        catalogue.check(
            self.backbone, self.decoder, self.scale, named, self.bands, self.skip_block, self.adaptation
        )
        return self

    def effective(self) -> dict[str, Any]:
        """As of every experiment, without a learning rate that is not used and a path of weights."""
        found = super().effective()
        if self.adaptation in ("frozen", "full"):
            del found["encoder_learning_rate"]
        if self.weights_path is not None:
            del found["weights"]
        return found


# Values checked against a schema; what is wrong is told in one ValueError, in words.


def parse[S: BaseModel](schema: type[S], values: Mapping[str, Any], stored: bool = False) -> S:
    """Check ``values`` against ``schema``. Raises one ValueError that lists every fault and what is
    allowed.

    ``stored``: of a run, whose model serves whatever was predicted of it, and in whatever words.
    """
    try:
        return schema.model_validate(dict(values), context={"stored": True} if stored else None)
    except ValidationError as error:
        owner = str(values.get("name", "this experiment"))
        faults = [_explain(schema, owner, fault) for fault in error.errors()]
    raise ValueError("\n".join([f"{owner}: {len(faults)} parameter(s) cannot be used.", *faults]))


def _explain(schema: type[BaseModel], owner: str, fault: Any) -> str:
    """One line for one of pydantic's faults: what was expected, what came, what to do."""
    name = str(fault["loc"][0]) if fault["loc"] else ""
    came = f"got {fault['input']!r} ({type(fault['input']).__name__})"
    kind = fault["type"]
    if kind == "extra_forbidden":
        known = list(schema.model_fields)
        hint = _suggest(name, known) or "."
        return f"{name}: not a parameter of {owner}{hint} Parameters are: {', '.join(known)}"
    if kind == "missing":
        return (
            f"{name}: missing; set it in the parameters cell, for instance {name} = {_example(schema, name)}"
        )
    if kind == "literal_error":
        allowed = list(schema.model_fields[name].annotation.__args__)  # type: ignore[union-attr]
        hint = _suggest(fault["input"], allowed)
        return f"{name}: got {fault['input']!r}; allowed: {', '.join(allowed)}{hint}"
    if kind == "value_error":  # raised by a validator here or by the module it asks, already in words
        text = str(fault["ctx"]["error"])
        return text if not name or text.startswith(name) else f"{name}: {text}"
    expected = (
        fault["msg"]
        .removeprefix("Input should be ")
        .replace("valid integer", "whole number")
        .replace("valid ", "")
    )
    return f"{name}: expected {expected}, for instance {_example(schema, name)}; {came}"


def _example(schema: type[BaseModel], name: str) -> str:
    field = schema.model_fields[name]
    return repr(field.examples[0] if field.examples else field.default)


def _suggest(word: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(str(word), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


# A kind of run: what it can be told, what computes it, what makes it; and what the kinds share. Each kind
# has a file of its own, which ends with its ``KIND``; ``notebooks`` lists them. Nothing else asks of which
# kind an experiment is.

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
    "wusu_lib.experiment.segmentation:begin,build_network,fit,patches_of,train_segmentation",
    "wusu_lib.training.loop",
    "wusu_lib.training.task:SegmentationTask,Tally",
)
CHANGE = (
    "wusu_lib.transitions",
    "wusu_lib.measures.change:binary_confusion,confusion,reduce",
    "wusu_lib.change.analysis:pairs,true_labels",
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
