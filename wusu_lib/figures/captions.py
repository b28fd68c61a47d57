"""What stands under a figure: its caption, its alternative text, and the name that its label is made from.

Each function that draws a figure states them where it ends. The book numbers its figures; a figure's label is
the page's name and its own: ``exp05-classes``.
"""

from collections.abc import Sequence
from typing import Any

SPLITS_IN_WORDS = {"train": "training", "val": "validation", "test": "test"}


def captioned(figure: Any, label: str, caption: str, alternative: str) -> Any:
    """The figure, told what stands under it.

    ``label``: one word or words joined by hyphens, used once a page. ``caption``: sentences that can stand
    alone. ``alternative``: what is seen, for a reader who does not see it. A second call replaces all three.
    """
    figure.label, figure.caption, figure.alternative = label, caption, alternative
    return figure


def compared(baseline_runs: Sequence[Any]) -> str:
    """Whose figures are drawn, in words for a caption."""
    return "for this experiment and its baseline" if len(baseline_runs) else "for this experiment"
