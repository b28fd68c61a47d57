"""The commands that a reader types, run as they are, for the tests of notebooks and book."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def papermill(notebook, output, cwd, runs, **parameters):
    """Run papermill's own command; the finished process, its two streams captured.

    With no ``output`` the executed notebook goes to standard output, as in a pipe.
    """
    given = [word for name, value in parameters.items() for word in ("-p", name, str(value))]
    return subprocess.run(
        [BIN / "papermill", notebook, *([output] if output else []), "--no-progress-bar", *given],
        cwd=cwd,
        env={**os.environ, "WUSU_RUNS": str(runs)},
        capture_output=True,
        text=True,
    )


def loaded(imports, of):
    """Which of the modules ``of`` a fresh process has loaded after a notebook's first imports, sorted."""
    code = f"import sys\n{imports}\nprint(*sorted({set(of)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def within(folder, *command):
    """Run a command with the copy's own library."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
