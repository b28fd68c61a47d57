"""How far a scene is: a bar in a terminal, one line in a notebook, a log entry at the end elsewhere."""

import logging
import sys
import time
from types import TracebackType

log = logging.getLogger(__name__)
WIDTH = 30  # characters of the bar
SECONDS_BETWEEN = 0.5


class Progress:
    """Counts windows. An executed notebook keeps the last line only."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.done = label, total, done
        self._begun, self._already, self._next = time.monotonic(), done, 0.0
        self._terminal = sys.stderr.isatty()
        self._line = None
        if "ipykernel" in sys.modules:
            from wusu_lib.training.progress import Line

            self._line = Line(label)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show(now=True)
        log.info("%s: %d of %d windows", self.label, self.done, self.total)
        if self._terminal:
            sys.stderr.write("\n")

    def advance(self, windows: int) -> None:
        """So many more windows are done."""
        self.done += windows
        self._show()

    def _show(self, now: bool = False) -> None:
        if not now and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN
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
        return f", {seconds:.0f} s left" if seconds < 100 else f", {seconds / 60:.0f} min left"
