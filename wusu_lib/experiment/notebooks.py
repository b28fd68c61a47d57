"""Notebooks as files: the parameters that they state, of the running one or of another.

A notebook's ``parameters`` cell becomes a schema (``parameters``): ``from_namespace`` reads the running
notebook with what papermill injected, ``from_notebook`` another one without running it.
"""

import ast
import difflib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from wusu_lib import provenance
from wusu_lib.experiment import direct, per_pixel, search, segmentation, staged, tuning, two_stage
from wusu_lib.experiment.parameters import BudgetParameters, DataParameters, Kind, parse
from wusu_lib.files import replacing
from wusu_lib.runs.store import read_record

# The kinds of run, the most special first: what tells one of them tells none of those before it.
KINDS = (
    two_stage.KIND,
    direct.KIND,
    search.KIND,
    tuning.KIND,
    staged.KIND,
    segmentation.KIND,
    per_pixel.KIND,
)


def kind_of(stated: DataParameters) -> Kind:
    """The kind of the runs that parameters describe."""
    return next(kind for kind in KINDS if kind.schema is type(stated))


def schema_for(names: Iterable[str]) -> type[DataParameters]:
    """Schema of an experiment that declares these names; the floor's where none of them tells a kind."""
    declared = set(names)
    return next((kind.schema for kind in KINDS if kind.told_by & declared), per_pixel.KIND.schema)


# Where parameters are read from: a running notebook's cells, another notebook's file.
#
# A kernel keeps the text of the cells that it ran (``In``), not their tags, and its variables are
# everybody's: a loop may leave something else in ``name``. So the cells are read, not the variables. The
# parameters cell is the first one that sets ``name``, or a later one that sets most of what that one sets:
# the same cell run again. It alone tells the kind of experiment. Behind it papermill's injected cell sets
# parameters, and so does a cell of one's own that gives one a literal value (``decoder = "unet"``), but no
# loop and no unpacking.

INJECTED = "# Parameters"  # first line of the cell that papermill puts behind the parameters cell
LIKE = 0.8  # similarity from which on a name is taken for a slip in another one
_OF_ANY_KIND = frozenset(name for kind in KINDS for name in kind.schema.model_fields)


@dataclass(frozen=True)
class _Cells:
    """What the executed cells set, by name: the parameters cell, papermill's injected one, one's own."""

    parameters: dict[str, ast.expr]
    injected: dict[str, ast.expr]
    own: dict[str, ast.expr]


def from_namespace(namespace: Mapping[str, Any], schema: type[BaseModel] | None = None) -> Any:
    """Parameters of the running notebook, from its ``globals()``; a plain dictionary is checked key by key.

    ``schema``: by default that of the kind of experiment which the names tell. Cells of one's own may set
    parameters and any other name, but none that is nearly a parameter's. Raises ValueError for every fault,
    and where no parameters cell was run.
    """
    if "In" not in namespace:
        return parse(schema or schema_for(namespace), namespace)
    cells = _executed([str(cell) for cell in namespace["In"]])
    schema = schema or schema_for(cells.parameters)
    stated = {
        name: _value_of(node, namespace.get(name))
        for name, node in {**cells.parameters, **cells.injected}.items()
    }
    own = _own(cells.own, namespace, list(schema.model_fields), _OF_ANY_KIND)
    try:
        return parse(schema, {**stated, **own})
    except ValueError as error:
        raise ValueError(f"{error}\n{_remedy(own)}" if own else str(error)) from error


def _executed(cells: list[str]) -> _Cells:
    """What the cells set, in the order in which they were run. Raises ValueError where none sets ``name``."""
    found = [(cell, _assigned(cell)) for cell in cells]
    first = next((names for _, names in found if "name" in names), None)
    if first is None:
        raise ValueError(
            'no cell that sets parameters was run; run the cell tagged "parameters" first, the one that sets '
            "name"
        )
    alike = [
        place
        for place, (_, names) in enumerate(found)
        if "name" in names and 2 * len(names.keys() & first.keys()) > len(first)
    ]
    injected, own = dict[str, ast.expr](), dict[str, ast.expr]()
    for cell, names in found[alike[-1] + 1 :]:
        if cell.lstrip().startswith(INJECTED):
            injected.update(names)
            own = {name: node for name, node in own.items() if name not in names}  # the last one run counts
        else:
            own.update(names)
    return _Cells(found[alike[-1]][1], injected, own)


def _own(
    nodes: Mapping[str, ast.expr], namespace: Mapping[str, Any], known: list[str], foreign: frozenset[str]
) -> dict[str, Any]:
    """The values that cells of one's own give to parameters, of another kind too, and to what is nearly one.

    ``known``: the parameters of this kind of experiment; ``foreign``: those of any.

    Raises ValueError for a parameter that they compute. An object that no parameter could be, such as a run
    in ``run``, is a variable like any other.
    """
    found = {}
    for name, node in nodes.items():
        try:
            value = ast.literal_eval(node)
        except ValueError as error:
            value = namespace.get(name)
            if name in known and isinstance(value, str | int | float | list | tuple):
                raise ValueError(
                    f"{name} = {ast.unparse(node)} in a cell of your own is computed; a parameter must be a "
                    f"literal. {_remedy([name])}"
                ) from error
        else:
            if name in foreign or difflib.get_close_matches(name, known, n=1, cutoff=LIKE):
                found[name] = value
    return found


def _remedy(names: Iterable[str]) -> str:
    return (
        f"A cell of your own sets {_listed(sorted(names))}. Correct it, or give a variable that is meant for "
        "something else another name; then run the notebook from its parameters cell on."
    )


def _value_of(node: ast.expr, held: Any) -> Any:
    """A literal's value; of a computed one, as papermill's float("nan"), what the notebook holds."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return held


def from_notebook(path: Path, text: str | None = None) -> DataParameters:
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
    for cell in json.loads(path.read_text(encoding="utf-8") if text is None else text)["cells"]:
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


def _assigned(source: str) -> dict[str, ast.expr]:
    """Names that a cell assigns at its top level, with the values; none for a cell that is no Python."""
    try:
        return dict(_assignments(source))
    except SyntaxError:
        return {}


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


# What an experiment is by definition, and how a run that differs from it is called.
#
# An experiment is what was committed: the parameters cell of its notebook in git's HEAD. A parameter that
# is tried in JupyterLab and saved changes the working copy, not the experiment, so nothing that compares
# with the experiment changes. A notebook that git does not hold is defined by its file.
#
# Two kinds of parameters may differ from the definition. ``CONDITIONS`` are those that an experiment hands
# on to its baseline: data, split, treatment of unlabelled ground, scale, budget. Both sides then differ
# alike, and it is the same experiment under other conditions. Every other parameter is what the experiment
# is about: where one of them differs, the run is a variant.

CONDITIONS = frozenset(BudgetParameters.model_fields)
# Conditions that cannot change a figure.
_UNTOLD = DataParameters.without_effect


@dataclass(frozen=True)
class Definition:
    """Parameters of an experiment as defined. ``committed``: they are those of git's HEAD, not of the file.
    ``edited``: in words, one a parameter, how the file differs from them ("decoder unet, committed deeplab").
    """

    parameters: DataParameters
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
            stated = from_notebook(path, text)
        except ValueError:
            return Definition(from_notebook(path), committed=False)
        return Definition(stated, committed=True, edited=_edited(path, stated))
    return Definition(from_notebook(path), committed=False)


@cache
def _committed(path: Path) -> str | None:
    """Content of a file in git's HEAD; None without git, outside a checkout and for a file unknown to it."""
    return _git(path, "show", f"HEAD:./{path.name}")


def last_commit(path: Path) -> str | None:
    """Hash of the last commit that changed a file; None where ``_committed`` is."""
    return (_git(path, "log", "-1", "--format=%H", "--", path.name) or "").strip() or None


def _git(path: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(path.parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=True).stdout.decode()
    except (OSError, subprocess.SubprocessError):
        return None


def _edited(path: Path, defined: DataParameters) -> tuple[str, ...]:
    """How the file's parameters differ from those defined; the values count, not the text."""
    try:
        stated = from_notebook(path)
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


# A new experiment as a copy of an old one: ``make experiment N=18 FROM=05``.
#
# The copy has its own name, number and place in the table of contents. Its question, its hypothesis and its
# prediction are still those of the old one: they are the author's to rewrite.

USAGE = "make experiment N=18 FROM=05"


def copy_experiment(new: str, old: str, root: Path | None = None) -> Path:
    """Write the notebook of experiment ``new`` from that of ``old``, add it to ``_toc.yml``; its path.

    ``new`` and ``old``: numbers or names, 18 or exp18. ``root``: by default the repository. The page joins
    the part of the old one, behind its last experiment. Raises FileExistsError for a number that is taken,
    FileNotFoundError for a source that is not there, ValueError for what is no number and for a source that
    is no page; nothing is written then.
    """
    name, source = _name("N", new), _name("FROM", old)
    root = root or provenance.repository()
    path, original = (root / "notebooks" / f"{stem}.ipynb" for stem in (name, source))
    known = ", ".join(sorted(p.stem for p in path.parent.glob("exp*.ipynb")))
    if os.path.lexists(path):  # a link that leads nowhere is somebody's too
        raise FileExistsError(f"N={new}: {name} is there already; experiments: {known}")
    if not original.is_file():
        raise FileNotFoundError(f"FROM={old}: there is no {source} to copy; experiments: {known}")
    contents = root / "_toc.yml"
    listed = _with_page(contents.read_text(encoding="utf-8"), name, source)
    copy = _renamed(original.read_text(encoding="utf-8"), name, source)
    for file, text in ((path, copy), (contents, listed)):
        with replacing(file) as draft:
            draft.write_text(text, encoding="utf-8")
    return path


def _name(what: str, given: str) -> str:
    """exp05 for 5, 05 or exp05."""
    number = re.fullmatch(r"(?:exp)?(\d{1,2})", given.strip())
    if number is None:
        raise ValueError(f"{what}: got {given!r}; expected a number of at most two digits, as in {USAGE}")
    return f"exp{int(number[1]):02d}"


def _renamed(text: str, name: str, source: str) -> str:
    """A notebook's text with the new name in its parameters, its title and its examples of commands."""
    notebook = json.loads(text)
    title = notebook["cells"][0]
    title["source"] = re.sub(r"^# Experiment \d+", f"# Experiment {int(name[3:])}", _source(title))
    for cell in notebook["cells"]:
        cell["source"] = _source(cell).replace(f"{source}.ipynb", f"{name}.ipynb")
        if "parameters" in cell["metadata"].get("tags", []):
            cell["source"] = cell["source"].replace(f'name: str = "{source}"', f'name: str = "{name}"')
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _source(cell: dict) -> str:
    return "".join(cell["source"])


def _with_page(contents: str, name: str, source: str) -> str:
    """The table of contents, line by line as it was, with a page more in the part of ``source``."""
    lines = contents.splitlines()
    page = re.compile(r"(\s*- file: book/log/)exp\d+\s*")
    places = [i for i, line in enumerate(lines) if line.strip() == f"- file: book/log/{source}"]
    if not places:
        raise ValueError(f"_toc.yml has no line for book/log/{source}; add the page there, then copy it")
    last = places[0]
    while last + 1 < len(lines) and page.fullmatch(lines[last + 1]):
        last += 1
    lines.insert(last + 1, lines[places[0]].replace(source, name))
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """The command: two numbers. What cannot be done is said in one sentence, with exit status 1."""
    if len(arguments) != 2 or not all(arguments):
        sys.stderr.write(f"Give the new number and the experiment to copy: {USAGE}\n")
        return 1
    try:
        path = copy_experiment(arguments[0], arguments[1])
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(
        f"{path} is written and listed in _toc.yml. "
        "Rewrite its question, hypothesis and prediction, then run it.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
