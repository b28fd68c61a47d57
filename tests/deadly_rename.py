"""A process that is killed at one of its renames, for tests of what an interruption leaves behind."""

import os
import signal
from pathlib import Path


def die_at(number: int) -> None:
    """Kill this process at its ``number``-th rename, at an odd one with half of the file written."""
    rename, count = os.replace, iter(range(10_000))

    def deadly(source, target):
        if next(count) == number:
            if number % 2 and Path(source).is_file():
                os.truncate(source, Path(source).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    os.replace = deadly
