"""The parameters of an experiment: flat, typed, checked before any work, with errors that name what is
allowed.

A notebook's ``parameters`` cell is the interface. Three readers turn such a cell into one of the two schemas
here: ``from_namespace`` (the running notebook, with what papermill injected), ``from_notebook`` (another
notebook's own cell, without running it) and ``parse`` (a plain dictionary). All of them fail with one
``ValueError`` that lists every fault.
"""

import ast
import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from wusu_lib.legend import Background

INJECTED = "# Parameters"  # first line of the cell that papermill puts behind the parameters cell
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


Seeds = Annotated[
    list[Annotated[int, Field(ge=0, lt=2**32)]], BeforeValidator(_list_from_text), Field(min_length=1)
]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class DataParameters(BaseModel):
    """What every experiment states: its name, its scale, its data and its seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", examples=["exp05"], description="experiment, as the notebook's file"
    )
    scale: Literal["demo", "full"] = Field(
        "demo", description="miniature models and city, or the study's own"
    )
    data_root: str = Field(
        "", examples=["/data/OpenWUSU512"], description="WUSU tree; empty: the mini city (demo)"
    )
    split: Literal["blocks", "study", "folders"] = Field(
        "blocks", description="how validation and test are separated"
    )
    background: Background = Field(
        "ignore", description="unlabelled pixels: ignored, or a class of their own"
    )
    seeds: Seeds = Field([42], examples=[[42, 43, 44]], description="one run a seed")

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


class PixelParameters(DataParameters):
    """The per-pixel floor: no model to choose, only data and seeds."""


class SegmentationParameters(DataParameters):
    """A segmentation experiment. Defaults are the study's recipe (AdamW, 1e-5 / 1e-3, weight decay 1e-3)."""

    prediction: str = Field(
        examples=["val mIoU rises by at least 0.01 over exp04"], description="stated before the run"
    )
    backbone: str = Field(examples=["prithvi_600m"], description="encoder")
    decoder: str = Field(examples=["fpn"], description="what turns the encoder's maps into classes")
    weights: str = Field(
        "random", examples=["pretrained"], description='"pretrained", "random", a file or a folder'
    )
    bands: Literal["all", "rgb"] = Field("all", description="what the model sees: four bands, or no infrared")
    skip_block: Annotated[int, Field(ge=0)] = Field(
        0, examples=[10], description="transformer block (from 1) behind DeepLabV3+'s skip; 0: the usual one"
    )
    classes: Literal["all", "merged"] = Field(
        "all", description="the legend's classes, or buildings and waters merged"
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
    encoder_learning_rate: Positive = Field(
        1e-5, examples=[0.00001], description="of the encoder with differential"
    )
    weight_decay: NotNegative = Field(1e-3, examples=[0.001], description="AdamW's")
    epochs: Count = Field(500, examples=[500], description="at most so many")
    patience: Count = Field(
        10, examples=[10], description="epochs without a lower val/loss before training stops"
    )
    batch_size: Count = Field(4, examples=[4], description="patches a batch")
    accumulate: Count = Field(8, examples=[8], description="batches a step of the optimiser")
    precision: Literal["bf16", "32"] = Field(
        "bf16", description="autocast to bfloat16, or float32 throughout"
    )
    workers: Annotated[int, Field(ge=0)] = Field(0, examples=[8], description="processes that load data")

    @field_validator("decoder")
    @classmethod
    def _canonical(cls, decoder: str) -> str:
        from wusu_lib import models

        return models.canonical(decoder)

    @field_validator("prediction")
    @classmethod
    def _stated(cls, prediction: str) -> str:
        from wusu_lib.compare import Prediction

        Prediction.parse(prediction)
        return prediction

    @model_validator(mode="after")
    def _model_exists(self) -> Self:
        from wusu_lib import models

        named = self.weights if self.weights in NAMED_WEIGHTS else "random"  # a path is looked for later
        models.check(self.backbone, self.decoder, self.scale, named)
        return self

    @property
    def weights_path(self) -> str | None:
        """The path given as ``weights``, None where a name was given."""
        return None if self.weights in NAMED_WEIGHTS else self.weights


Schema = type[PixelParameters] | type[SegmentationParameters]
Parameters = PixelParameters | SegmentationParameters


def schema_for(names: Iterable[str]) -> Schema:
    """Schema of an experiment that declares these names: one that names a model is a segmentation
    experiment.
    """
    return SegmentationParameters if {"backbone", "decoder", "prediction"} & set(names) else PixelParameters


def parse(schema: Schema, values: Mapping[str, Any]) -> Parameters:
    """Check ``values`` against ``schema``. Raises one ValueError that lists every fault and what is
    allowed.
    """
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        owner = str(values.get("name", "this experiment"))
        faults = [_explain(schema, owner, fault) for fault in error.errors()]
    raise ValueError("\n".join([f"{owner}: {len(faults)} parameter(s) cannot be used.", *faults]))


def from_namespace(namespace: Mapping[str, Any]) -> Parameters:
    """Parameters of the running notebook, from its ``globals()``; a plain dictionary is checked key by key.

    A notebook's namespace holds more than parameters, so unknown names are looked for where parameters are
    set: in the latest executed cell that assigns ``name`` and in the latest cell that papermill injected.
    """
    if "In" not in namespace:
        return parse(schema_for(namespace), namespace)
    cells = [str(cell) for cell in namespace["In"]]
    injected = next((_assigned(cell) for cell in reversed(cells) if cell.lstrip().startswith(INJECTED)), [])
    own = next((names for cell in reversed(cells) if "name" in (names := _assigned(cell))), list(namespace))
    schema = schema_for(own)
    declared = set(injected) | (set() if own == list(namespace) else set(own))
    wanted = (set(schema.model_fields) & set(namespace)) | declared
    return parse(schema, {name: namespace.get(name) for name in sorted(wanted)})


def from_notebook(path: Path) -> Parameters:
    """Parameters that a notebook states for itself: the literals in its cell tagged ``parameters``.

    Raises FileNotFoundError for a missing notebook, ValueError for one without such a cell or with computed
    values.
    """
    values = literals(path)
    return parse(schema_for(values), values)


def literals(path: Path) -> dict[str, Any]:
    """Name and value of every assignment in the notebook's ``parameters`` cell, without running it."""
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("exp*.ipynb"))) or "none"
        raise FileNotFoundError(f"{path}: no such notebook; notebooks there: {known}")
    for cell in json.loads(path.read_text())["cells"]:
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            return _literal_assignments(path, "".join(cell["source"]))
    raise ValueError(f'{path}: no cell is tagged "parameters"; tag the cell that sets them')


def _literal_assignments(path: Path, source: str) -> dict[str, Any]:
    values = {}
    for name, node in _assignments(source):
        try:
            values[name] = ast.literal_eval(node)
        except ValueError as error:
            text = ast.unparse(node)
            raise ValueError(f"{path}: {name} = {text} is computed; a parameter must be a literal") from error
    return values


def _assigned(source: str) -> list[str]:
    """Names that a cell assigns at its top level; none for a cell that is no Python."""
    try:
        return [name for name, _ in _assignments(source)]
    except SyntaxError:
        return []


def _assignments(source: str) -> list[tuple[str, ast.expr]]:
    pairs = []
    for node in ast.parse(source).body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        value = getattr(node, "value", None)
        pairs += [
            (target.id, value) for target in targets if isinstance(target, ast.Name) and value is not None
        ]
    return pairs


def _explain(schema: Schema, owner: str, fault: Any) -> str:
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


def _example(schema: Schema, name: str) -> str:
    field = schema.model_fields[name]
    return repr(field.examples[0] if field.examples else field.default)


def _suggest(word: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(str(word), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
