"""The parameters of an experiment: flat, typed, checked before any work, with errors that name what is
allowed.

A notebook's ``parameters`` cell is the interface. Three readers turn such a cell into one of the schemas
here: ``from_namespace`` (the running notebook, with what papermill injected), ``from_notebook`` (another
notebook's own cell, without running it) and ``parse`` (a plain dictionary). All of them fail with one
``ValueError`` that lists every fault.
"""

from wusu_lib.parameters.checking import parse
from wusu_lib.parameters.reading import INJECTED, from_namespace, from_notebook, literals
from wusu_lib.parameters.schemas import (
    NAMED_WEIGHTS,
    BudgetParameters,
    DataParameters,
    DirectParameters,
    ModelParameters,
    Parameters,
    PixelParameters,
    Schema,
    SegmentationParameters,
    TwoStageParameters,
    schema_for,
)

__all__ = [
    "INJECTED",
    "NAMED_WEIGHTS",
    "BudgetParameters",
    "DataParameters",
    "DirectParameters",
    "ModelParameters",
    "Parameters",
    "PixelParameters",
    "Schema",
    "SegmentationParameters",
    "TwoStageParameters",
    "from_namespace",
    "from_notebook",
    "literals",
    "parse",
    "schema_for",
]
