"""What the tool ``map_change`` can be told, checked before any work."""

from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from wusu_lib.scenes import targets as target_names


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


def _text(value: Any) -> Any:
    """A label as text: papermill's -p turns 2015 into a number."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Names = Annotated[list[str], BeforeValidator(_names)]
Label = Annotated[str, BeforeValidator(_text)]


class MapChangeParameters(BaseModel):
    """Two images, a model, and what is asked of the changes between them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    name: str = Field("map_change", description="the tool's name, under which errors speak of it")
    t1: str = Field("", examples=["2015.tif"], description="image of the first date; empty: the mini city")
    t2: str = Field("", examples=["2018.tif"], description="image of the second date")
    date1: Label = Field("", examples=["2015"], description="label of the first date; empty: from the file")
    date2: Label = Field("", examples=["2018"], description="label of the second date")
    run: Label = Field("exp06", examples=["exp06"], description="experiment, or the folder of a stored run")
    scale: Literal["demo", "full"] = Field("demo", description="of the experiment's run")
    data_root: str = Field("", description="data of the experiment's run; empty: the mini city")
    targets: Names = Field([], examples=[["Building", "Road"]], description="new classes; empty: all")
    minimum_area: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        50.0, examples=[50.0], description="m2 that a change has at least"
    )
    out: str = Field("", description="folder of the results; empty: runs/map_change")
    window: Annotated[int, Field(ge=0)] = Field(0, examples=[512], description="px; 0: as in training")
    overlap: Annotated[int, Field(ge=0)] = Field(0, examples=[128], description="px; 0: a quarter")
    tolerance: Annotated[int, Field(ge=0, le=32)] = Field(
        1, examples=[1], description="px of misregistration; slivers of change so narrow are taken back"
    )
    decode: Literal["argmax", "map"] = Field("argmax", description="each date alone, or both together")
    engine: Literal["local", "ray"] = Field("local", description="this machine, or a Ray cluster")

    @field_validator("targets")
    @classmethod
    def _known(cls, targets: list[str]) -> list[str]:
        return list(target_names.resolve(targets)) if targets else []

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.t1) != bool(self.t2):
            given, missing = ("t1", "t2") if self.t1 else ("t2", "t1")
            raise ValueError(f"{missing}: missing, though {given} is given; give both images or neither")
        if self.scale == "full" and not self.data_root and not _is_path(self.run):
            raise ValueError('data_root: must be given with scale="full", for instance "/data/OpenWUSU512"')
        if self.overlap and self.window and self.overlap > self.window // 2:
            raise ValueError(f"overlap: got {self.overlap}; expected at most half the window, {self.window}")
        return self


def _is_path(run: str) -> bool:
    return "/" in run
