"""What an experiment is by definition, and how a run that differs from it is called.

An experiment is what was committed: the parameters cell of its notebook in git's HEAD. A parameter that is
tried in JupyterLab and saved changes the working copy, not the experiment, so nothing that compares with the
experiment changes. A notebook that git does not hold is defined by its file.

Two kinds of parameters may differ from the definition. ``CONDITIONS`` are those that an experiment hands on
to its baseline: data, split, treatment of unlabelled ground, scale, budget. Both sides then differ alike, and
it is the same experiment under other conditions. Every other parameter is what the experiment is about:
where one of them differs, the run is a variant.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wusu_lib import parameters
from wusu_lib.parameters import BudgetParameters, DataParameters, Parameters
from wusu_lib.runs.stored import read_record

CONDITIONS = frozenset(BudgetParameters.model_fields)
# Conditions that cannot change a figure.
_UNTOLD = DataParameters.without_effect


@dataclass(frozen=True)
class Definition:
    """Parameters of an experiment as defined. ``committed``: they are those of git's HEAD, not of the file.
    ``edited``: in words, one a parameter, how the file differs from them ("decoder unet, committed deeplab").
    """

    parameters: Parameters
    committed: bool
    edited: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """A sentence on the notebook's file; empty where it states what is committed."""
        name = self.parameters.name
        if not self.committed:
            return f"The notebook of {name} is not committed, so its file defines the experiment."
        if self.edited:
            return f"The file of {name} differs from the committed notebook: {'; '.join(self.edited)}."
        return ""


def definition(path: Path) -> Definition:
    """The experiment that a notebook defines: its committed parameters, else those of its file.

    A committed cell that this library cannot read, for instance with a parameter that it no longer has,
    defines nothing. Raises FileNotFoundError for a missing notebook, ValueError where neither can be read.
    """
    text = _committed(path.absolute()) if path.is_file() else None
    if text is not None:
        try:
            stated = parameters.from_notebook(path, text)
        except ValueError:
            return Definition(parameters.from_notebook(path), committed=False)
        return Definition(stated, committed=True, edited=_edited(path, stated))
    return Definition(parameters.from_notebook(path), committed=False)


@cache
def _committed(path: Path) -> str | None:
    """Content of a file in git's HEAD; None without git, outside a checkout and for a file unknown to it."""
    command = ["git", "-C", str(path.parent), "show", f"HEAD:./{path.name}"]
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=True).stdout.decode()
    except (OSError, subprocess.SubprocessError):
        return None


def _edited(path: Path, defined: Parameters) -> tuple[str, ...]:
    """How the file's parameters differ from those defined; the values count, not the text."""
    try:
        stated = parameters.from_notebook(path)
    except ValueError:  # a slip in the file must not stop the experiments that compare with this one
        return ("its parameters cannot be read",)
    mine, theirs = stated.model_dump(), defined.model_dump()
    return tuple(
        f"{_words(name)} {_value(value)}, committed {_value(theirs.get(name))}"
        for name, value in mine.items()
        if theirs.get(name) != value
    )


def differences(stated: Mapping[str, Any], defined: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that make a variant of an experiment, with their values: no condition is among them."""
    return {
        name: value
        for name, value in stated.items()
        if name not in CONDITIONS and (name not in defined or defined[name] != value)
    }


def called(stated: Mapping[str, Any], defined: Mapping[str, Any] | None) -> str:
    """The name of what is run: "exp05", or "exp05 with decoder unet" for a variant.

    ``stated``: an experiment's parameters; ``defined``: those of its definition, None where no notebook
    defines it. Weights that another run of this log gave are named too: "exp03 with weights of exp04".
    """
    parts = [f"{_words(n)} {_value(v)}" for n, v in differences(stated, defined or stated).items()]
    weights = Path(str(stated.get("weights", "")))
    teacher = (read_record(weights.parent) or {}) if weights.is_file() else {}
    if "called" in teacher:
        parts.append(f"weights of {teacher['called']}")
    return f"{stated['name']} with {_listed(parts)}" if parts else str(stated["name"])


def conditions(stated: Mapping[str, Any], defined: Mapping[str, Any] | None) -> str:
    """The conditions that differ from the definition, in words: "epochs 9 and scale full"; may be empty."""
    defined = defined or {}
    return _listed(
        [
            f"{_words(name)} {_value(value)}"
            for name, value in stated.items()
            if name in CONDITIONS - _UNTOLD and name in defined and defined[name] != value
        ]
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: Any) -> str:
    return "empty" if value == "" else f"{value:g}" if isinstance(value, float) else str(value)


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
