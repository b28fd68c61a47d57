"""Where parameters are read from: a running notebook's namespace, another notebook's file."""

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from wusu_lib.parameters.checking import parse
from wusu_lib.parameters.schemas import Parameters, schema_for

INJECTED = "# Parameters"  # first line of the cell that papermill puts behind the parameters cell


def from_namespace(namespace: Mapping[str, Any], schema: type[BaseModel] | None = None) -> Any:
    """Parameters of the running notebook, from its ``globals()``; a plain dictionary is checked key by key.

    ``schema``: by default that of the kind of experiment which the names tell.
    A notebook's namespace holds more than parameters, so unknown names are looked for where parameters are
    set: in the latest executed cell that assigns ``name`` and in the latest cell that papermill injected.
    """
    if "In" not in namespace:
        return parse(schema or schema_for(namespace), namespace)
    cells = [str(cell) for cell in namespace["In"]]
    injected = next((_assigned(cell) for cell in reversed(cells) if cell.lstrip().startswith(INJECTED)), [])
    own = next((names for cell in reversed(cells) if "name" in (names := _assigned(cell))), list(namespace))
    schema = schema or schema_for(own)
    declared = set(injected) | (set() if own == list(namespace) else set(own))
    wanted = (set(schema.model_fields) & set(namespace)) | declared
    return parse(schema, {name: namespace.get(name) for name in sorted(wanted)})


def from_notebook(path: Path, text: str | None = None) -> Parameters:
    """Parameters that a notebook states for itself: the literals in its cell tagged ``parameters``.

    ``text``: the notebook's content, where it is not that of the file. Raises FileNotFoundError for a missing
    notebook, ValueError for one without such a cell or with computed values.
    """
    values = literals(path, text)
    return parse(schema_for(values), values)


def literals(path: Path, text: str | None = None) -> dict[str, Any]:
    """Name and value of every assignment in the notebook's ``parameters`` cell, without running it.

    ``text`` as of ``from_notebook``.
    """
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("exp*.ipynb"))) or "none"
        raise FileNotFoundError(f"{path}: no such notebook; notebooks there: {known}")
    for cell in json.loads(path.read_text() if text is None else text)["cells"]:
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
