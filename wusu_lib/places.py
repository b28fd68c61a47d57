"""Where data and weights that a parameter names are: from here, else from the repository."""

from pathlib import Path

from wusu_lib import provenance


def data_root(given_root: str) -> Path:
    """The data's folder: the mini city for an empty text, else a path from here, else from the repository.

    Raises FileNotFoundError naming where it was looked for.
    """
    if not given_root:
        from wusu_lib import synthetic

        return synthetic.demo_city()
    given = Path(given_root).expanduser()
    tried = [given.resolve(), (provenance.REPOSITORY / given).resolve()]
    for folder in tried:
        if folder.is_dir():
            return folder
    where = " nor ".join(dict.fromkeys(map(str, tried)))
    raise FileNotFoundError(
        f"data_root: got {given_root!r}, but there is no folder {where}; "
        "expected a folder in WUSU's layout (train/ and test/ with areas in them), or an empty text for the "
        "mini city"
    )


def located(weights: str) -> str:
    """The path from here, else from the repository: a notebook's folder need not be its caller's."""
    here, there = Path(weights).expanduser(), provenance.REPOSITORY / weights
    return str(there if there.exists() and not here.exists() else here)
