"""A figure that shows itself with what stands under it, in JupyterLab and in the book."""

import io
from base64 import b64encode

from matplotlib.figure import Figure

FIGURE, CAPTION = "figure", "caption"  # keys of the outputs' metadata; book/_ext/captions.py reads them


class Drawing(Figure):
    """A figure that leaves two outputs in a notebook: its picture, and its caption in words.

    So JupyterLab shows both. The picture's metadata holds label, caption and alternative text, of which the
    book makes one numbered figure.
    """

    label: str = ""
    caption: str = ""
    alternative: str = ""

    def _ipython_display_(self) -> None:
        """Called by IPython where a cell ends with the figure, and by ``display``."""
        from IPython.display import Markdown, display

        from wusu_lib.figures.theme import style

        stored = io.BytesIO()
        with style():
            self.savefig(stored, format="png", bbox_inches="tight")
        picture = {"image/png": b64encode(stored.getvalue()).decode(), "text/plain": repr(self)}
        told = {"name": self.label, "caption": self.caption, "alt": self.alternative}
        display(picture, metadata={FIGURE: told}, raw=True)
        display(Markdown(f"*{self.caption}*"), metadata={CAPTION: self.label})
