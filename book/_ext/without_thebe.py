"""Leaves thebe out of the pages: it needs a network, and Jupyter Book declares it twice."""

from typing import Any


def drop(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Take thebe's scripts off a page's list."""
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in f"{script.filename} {script.attributes.get('body', '')}".lower()
    ]


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", drop, priority=900)
    return {"parallel_read_safe": True}
