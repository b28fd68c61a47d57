"""What the notebooks of the log show alike, each part by one call: captioned figures, tables, sentences."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from IPython.display import Markdown, display

from wusu_lib import examples, figures, sentences, tables
from wusu_lib.experiment import Experiment
from wusu_lib.pages.source import excerpt
from wusu_lib.runs import Run


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
        return examples.validation(self.exp.table)

    @property
    def _labels(self) -> dict[str, Any]:
        """The label space in which this experiment and its baseline are judged."""
        labels = self.exp.labels
        return {"background": labels.background, "classes": labels.classes}

    def parameters(self) -> None:
        """Every parameter with its value, the baseline's, and its meaning."""
        display(tables.parameters(self.exp))

    def data(self) -> None:
        """What the data are, and some validation patches."""
        display(
            sentences.data(self.exp),
            figures.patch_examples(self.exp.table, self.shown),
            sentences.examples(self.exp.table, self.shown),
        )

    def model(self) -> None:
        """The parts of the model with their sizes."""
        display(figures.parts(self.exp.parts()))

    def source(self, *names: str) -> None:
        """The code behind dotted names (``excerpt``), highlighted."""
        display(*[Markdown(f"From `{name}`:\n\n```python\n{excerpt(name)}\n```") for name in names])

    def training(self) -> None:
        """The curves of this experiment and its baseline, which are trained now where they are not stored."""
        runs, baseline = self.runs, self.baseline
        display(figures.training_curves(runs, baseline), sentences.curves(runs, baseline))

    def results(self) -> None:
        """The study's ten columns, the classes one by one, what is taken for what, and some maps."""
        runs, baseline, labels = self.runs, self.baseline, self._labels
        display(
            tables.ten_columns(runs, baseline, **labels),
            sentences.ten_columns(runs, baseline, **labels),
            figures.class_iou(runs, baseline, **labels),
            sentences.class_iou(runs, baseline, **labels),
            figures.confusion_matrix(runs, **labels),
            sentences.confusion(runs, **labels),
            figures.predictions(runs[0], self.exp.table, self.shown, baseline=baseline[0]),
            sentences.predictions(runs[0], self.shown, baseline[0]),
        )

    def verdict(self, others: Sequence[Run] = ()) -> None:
        """The difference to the baseline, the verdict on the prediction, and the stored runs behind them.

        ``others``: runs of this page beside the experiment's own.
        """
        difference, verdict = self.exp.judge(self.runs, self.baseline)
        display(
            figures.effect(difference, self.exp.comparison),
            sentences.verdict(verdict),
            tables.provenance([*self.runs, *others], self.baseline),
        )
