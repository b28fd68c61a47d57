"""One line of text that tells how far a training is: updated in place in a notebook, logged elsewhere."""

import logging
import sys
import time
from typing import Any

log = logging.getLogger("wusu_lib.training")
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
            log.info(message)


def _display_handle(text: str) -> Any:
    """IPython's handle of a new output with this text; None where no notebook is listening."""
    ipython = sys.modules.get("IPython")  # a kernel has it loaded: no reason to load it elsewhere
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display({"text/plain": text}, raw=True, display_id=True)
