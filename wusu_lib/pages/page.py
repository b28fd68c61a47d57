"""What the notebooks of the log show alike, each part by one call: captioned figures, tables, sentences.

And the code that a page is about, read from its file: shown on the page, never copied into it.
"""

import ast
import textwrap
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from IPython.display import Markdown, display

from wusu_lib.experiment.experiment import Experiment
from wusu_lib.pages import data, differences, maps, published, results, style, training
from wusu_lib.runs.store import Run


def excerpt(name: str) -> str:
    """Source text of what a dotted name means, for instance ``wusu_lib.measures.classes.merge``, without
    importing it.

    A function, a class, a method of it, a constant, or an entry of a dictionary
    (``wusu_lib.models.decoders.DECODERS.deeplab``). Raises ValueError where the library has no such thing.
    """
    file, rest = _module(name)
    text = file.read_text(encoding="utf-8")
    node: ast.AST = ast.parse(text)
    for part in rest:
        inside = {_name(child): child for child in _children(node)}
        if part not in inside:
            known = ", ".join(sorted(filter(None, inside)))
            raise ValueError(f"{name}: {file.name} has no {part!r} there; it has {known}")
        node = inside[part]
    lines = text.splitlines()
    if isinstance(node, _Entry):  # its value alone, whose first line stands behind the key
        indent = len(lines[node.value.lineno - 1]) - len(lines[node.value.lineno - 1].lstrip())
        return textwrap.dedent(" " * indent + str(ast.get_source_segment(text, node.value)))
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])  # type: ignore[attr-defined]
    return textwrap.dedent("\n".join(lines[first - 1 : node.end_lineno]))  # type: ignore[attr-defined]


def _module(name: str) -> tuple[Path, list[str]]:
    """File of the longest beginning of a dotted name that is a module, and what follows it."""
    package, *parts = name.split(".")
    found = find_spec(package)
    if package != "wusu_lib" or found is None or found.origin is None:
        raise ValueError(f"{name}: expected the dotted name of something in wusu_lib")
    folder = Path(found.origin).parent
    for number, part in enumerate(parts):
        file = folder / f"{part}.py"
        if file.is_file() and parts[number + 1 :]:
            return file, parts[number + 1 :]
        folder = folder / part
    raise ValueError(f"{name}: wusu_lib has no such module, or nothing in it was named")


class _Entry(ast.AST):
    """A key of a dictionary with its value."""

    def __init__(self, key: str, value: ast.expr) -> None:
        self.key, self.value = key, value


def _children(node: ast.AST) -> list[ast.AST]:
    value = getattr(node, "value", None)
    if isinstance(value, ast.Dict):
        pairs = zip(value.keys, value.values, strict=True)
        return [_Entry(str(key.value), v) for key, v in pairs if isinstance(key, ast.Constant)]
    return list(getattr(node, "body", []))


def _name(node: ast.AST) -> str:
    """What a statement names: the function, the class, the variable; empty for any other."""
    if isinstance(node, _Entry):
        return node.key
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    return getattr(node, "name", "")


class Page:
    """The page of an experiment. Each call shows its part of the page and gives nothing back.

    What a page shows of its own is called in its notebook, on ``exp``, ``runs`` and ``baseline``.
    """

    def __init__(self, exp: Experiment) -> None:
        self.exp = exp

    @cached_property
    def runs(self) -> list[Run]:
        """One run a seed, read or made."""
        return self.exp.runs()

    @cached_property
    def baseline(self) -> list[Run]:
        """Runs of the experiment that the prediction names, read or made."""
        return self.exp.baseline()

    @cached_property
    def shown(self) -> list[str]:
        """The validation patches that the figures show: the same in every experiment."""
        return maps.validation_examples(self.exp.table)

    def parameters(self) -> None:
        """Every parameter with its value, the baseline's, and its meaning; what such a design can find."""
        asked = self.exp.comparison is not None
        display(style.parameters_table(self.exp), *([differences.design_sentence(self.exp)] if asked else []))

    def data(self) -> None:
        """What the data are, and some validation patches."""
        display(
            data.data_sentence(self.exp),
            maps.patch_examples_figure(self.exp.table, self.shown),
            maps.examples_sentence(self.exp.table, self.shown),
        )

    def model(self) -> None:
        """The parts of the model with their sizes."""
        display(training.parts_figure(self.exp.parts()))

    def source(self, *names: str) -> None:
        """The code behind dotted names (``excerpt``), highlighted."""
        display(*[Markdown(f"From `{name}`:\n\n```python\n{excerpt(name)}\n```") for name in names])

    def training(self) -> None:
        """The curves of this experiment and its baseline, which are trained now where they are not stored."""
        runs, baseline = self.runs, self.baseline
        display(training.training_curves_figure(runs, baseline), training.curves_sentence(runs, baseline))

    def results(self) -> None:
        """The study's ten columns, the classes one by one, what is taken for what, and some maps."""
        runs, baseline = self.runs, self.baseline
        display(
            results.ten_columns_table(runs, baseline),
            results.ten_columns_sentence(runs, baseline),
            results.class_iou_figure(runs, baseline),
            results.class_iou_sentence(runs, baseline),
            results.confusion_matrix_figure(runs),
            results.confusion_sentence(runs),
            maps.predictions_figure(runs[0], self.exp.table, self.shown, baseline=baseline[0]),
            maps.predictions_sentence(runs[0], self.shown, baseline[0]),
        )

    def verdict(self, others: Sequence[Run] = ()) -> None:
        """The difference to the baseline, the verdict on the prediction, and the stored runs behind them.

        ``others``: runs of this page beside the experiment's own.
        """
        difference, verdict = self.exp.judge(self.runs, self.baseline)
        display(
            differences.effect_figure(difference, self.exp.comparison),
            differences.verdict_sentence(verdict),
            *published.at_length(self.exp),
            style.provenance_table([*self.runs, *others], self.baseline),
        )
