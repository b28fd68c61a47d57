"""How far a training or a scene is: lines and bars for a reader, TensorBoard's curves for a browser."""

import logging
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

# One line of text that tells how far a training is: updated in place in a notebook, logged elsewhere.

training_log = logging.getLogger("wusu_lib.training")
SECONDS_BETWEEN = 1.0


class Line:
    """The line. An executed notebook keeps its last text as one output; elsewhere it is logged."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._handle = _display_handle(f"{label}: starting")
        self._next = 0.0

    def update(self, text: str, now: bool = False) -> None:
        """Show ``text`` behind the label, at most once a second unless ``now``."""
        if not now and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN
        message = f"{self.label}: {text}"
        if self._handle is not None:
            self._handle.update({"text/plain": message}, raw=True)
        elif now:
            training_log.info(message)


def _display_handle(text: str) -> Any:
    """IPython's handle of a new output with this text; None where no notebook is listening."""
    ipython = sys.modules.get("IPython")  # a kernel has it loaded: no reason to load it elsewhere
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display({"text/plain": text}, raw=True, display_id=True)


# TensorBoard event files of a training: what history.csv and steps.csv hold, to be watched live.


class Events:
    """Writes one epoch at a time; after an interruption TensorBoard drops what comes to be written twice."""

    def __init__(self, folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step or None)

    def add(self, row: dict[str, float], steps: list[dict[str, float]]) -> None:
        """Add an epoch's row and its steps; everything is drawn over the optimiser's steps."""
        for step in steps:
            for name in ("train/loss", "gradient_norm"):
                self._writer.add_scalar(f"step/{name}", step[name], int(step["step"]))
        last = int(steps[-1]["step"])
        for name in row.keys() - {"epoch"}:
            self._writer.add_scalar(name, row[name], last)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


# How far a scene is: a bar in a terminal, one line in a notebook, a log entry at the end elsewhere.

scene_log = logging.getLogger(__name__)
WIDTH = 30  # characters of the bar
SECONDS_BETWEEN_BARS = 0.5


class Progress:
    """Counts windows. An executed notebook keeps the last line only."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.done = label, total, done
        self._begun, self._already, self._next = time.monotonic(), done, 0.0
        self._terminal = sys.stderr.isatty()
        self._line = None
        if "ipykernel" in sys.modules:
            self._line = Line(label)

    def __enter__(self) -> "Progress":
        self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show(now=True)
        scene_log.info("%s: %d of %d windows", self.label, self.done, self.total)
        if self._terminal:
            sys.stderr.write("\n")

    def advance(self, windows: int) -> None:
        """So many more windows are done."""
        self.done += windows
        self._show()

    def _show(self, now: bool = False) -> None:
        if not now and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN_BARS
        text = f"{self.done} of {self.total} windows{self._left()}"
        if self._line is not None:
            self._line.update(text, now)
        if not self._terminal:
            return
        full = WIDTH * self.done // max(1, self.total)
        sys.stderr.write(f"\r{self.label}: [{'#' * full}{'.' * (WIDTH - full)}] {text}   ")
        sys.stderr.flush()

    def _left(self) -> str:
        """What is left, at the pace so far."""
        fresh = self.done - self._already
        if not fresh or self.done >= self.total:
            return ""
        seconds = (time.monotonic() - self._begun) / fresh * (self.total - self.done)
        return f", {lasting(seconds)} left"


def lasting(seconds: float) -> str:
    """So long in one unit, as near as an estimate is: 99 s, 95 min, 47 h, 12 days."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"
