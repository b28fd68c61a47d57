"""The demo's city: written once into the user's cache folder and reused from then on."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import platformdirs
from filelock import FileLock

from wusu_lib import legend
from wusu_lib.synthetic import tree

ARGUMENTS: dict[str, object] = {"seed": 7, "patch_size": 128, "rows": 8, "cols": 6, "areas": ("HS", "JA")}


def _fingerprint() -> str:
    """16 hex of the arguments and of the code that turns them into files."""
    digest = hashlib.sha256(repr(sorted(ARGUMENTS.items())).encode())
    for path in [*sorted(Path(__file__).parent.glob("*.py")), Path(legend.__file__)]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def demo_city() -> Path:
    """Root of the demo's tree: two areas of 48 + 48 patches of 128 px at three dates; takes some seconds
    the first time.

    Kept under the folder in the environment variable WUSU_CACHE, else the user's cache folder, by a
    fingerprint of the arguments and the generator's code. Two processes that ask at the same time write it
    once; an interrupted writing leaves nothing that could be taken for a city.
    """
    cache = Path(os.environ.get("WUSU_CACHE") or platformdirs.user_cache_dir("wusu-lib"))
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / f"mini_city_{_fingerprint()}"
    if root.is_dir():
        return root
    with FileLock(f"{root}.lock"):
        if not root.is_dir():
            scratch = Path(tempfile.mkdtemp(prefix="mini_city_", suffix=".partial", dir=cache))
            try:
                tree.write(scratch, **ARGUMENTS)  # type: ignore[arg-type]
                scratch.rename(root)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
    return root
