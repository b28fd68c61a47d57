"""A new experiment as a copy of an old one: ``make experiment N=17 FROM=05``.

The copy has its own name, number and place in the table of contents. Its question, its hypothesis and its
prediction are still those of the old one: they are the author's to rewrite.
"""

import json
import re
import sys
from pathlib import Path

from wusu_lib import provenance

USAGE = "make experiment N=17 FROM=05"


def copy_experiment(new: str, old: str, root: Path = provenance.REPOSITORY) -> Path:
    """Write the notebook of experiment ``new`` from that of ``old``, add it to ``_toc.yml``; its path.

    ``new`` and ``old``: numbers or names, 17 or exp17. The page joins the part of the old one, behind its
    last experiment. Raises FileExistsError for a number that is taken, FileNotFoundError for a source that is
    not there, ValueError for what is no number and for a source that is no page; nothing is written then.
    """
    name, source = _name("N", new), _name("FROM", old)
    path, original = (root / "notebooks" / f"{stem}.ipynb" for stem in (name, source))
    known = ", ".join(sorted(p.stem for p in path.parent.glob("exp*.ipynb")))
    if path.exists():
        raise FileExistsError(f"N={new}: {name} is there already; experiments: {known}")
    if not original.is_file():
        raise FileNotFoundError(f"FROM={old}: there is no {source} to copy; experiments: {known}")
    contents = root / "_toc.yml"
    listed = _with_page(contents.read_text(), name, source)
    path.write_text(_renamed(original.read_text(), name, source))
    contents.write_text(listed)
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
