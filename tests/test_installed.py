"""Installed the ordinary way, apart from the notebooks: what reads them finds them, or says what to set."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from command import ROOT

FOUND = """
import json
from wusu_lib import provenance
from wusu_lib.experiment import experiment
from wusu_lib.pages import overview
from wusu_lib.runs import store
print(json.dumps({
    "package": str(provenance.PACKAGE),
    "repository": str(provenance.repository()),
    "runs": str(store.root()),
    "decoder": experiment.definition("exp05").parameters.decoder,
    "committed": experiment.definition("exp05").committed,
    "phase": overview.phases()["exp05"],
    "commit": provenance.git()["commit"],
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which pip installed the library. Building writes beside the source: a copy."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "wusu_lib", source / "wusu_lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(source)], check=True
    )
    return target


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A repository of two notebooks, in git."""
    root = tmp_path_factory.mktemp("here") / "log of experiments"
    (root / "notebooks").mkdir(parents=True)
    for name in ("exp04", "exp05"):
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", root / "notebooks")
    shutil.copy(ROOT / "_toc.yml", root)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "--message", "one"]):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    return root


def run(code, installed, cwd, **variables):
    """A process that imports the installed library."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WUSU_")}
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(installed), **variables},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("place", [".", "notebooks", "deep/er"])
def test_the_notebooks_are_found_from_the_repository_and_below(installed, checkout, place):
    (checkout / place).mkdir(parents=True, exist_ok=True)
    done = run(FOUND, installed, checkout / place)
    assert done.returncode == 0, done.stderr
    assert_found(json.loads(done.stdout), installed, checkout)


def test_the_notebooks_are_found_where_wusu_root_says(installed, checkout, tmp_path):
    home = {"HOME": str(checkout.parent)}
    for named in (str(checkout), os.path.relpath(checkout, tmp_path), "~/log of experiments"):
        done = run(FOUND, installed, tmp_path, WUSU_ROOT=named, **home)
        assert done.returncode == 0, done.stderr
        assert_found(json.loads(done.stdout), installed, checkout)


def assert_found(found, installed, checkout):
    commit = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert found == {
        "package": str(installed / "wusu_lib"),
        "repository": found["repository"],
        "runs": f"{found['repository']}/runs",
        "decoder": "deeplab",
        "committed": True,
        "phase": "Phase 2: architecture",
        "commit": commit.stdout.strip(),
    }
    assert os.path.samefile(found["repository"], checkout)


def test_elsewhere_it_is_said_what_to_set(installed, tmp_path):
    done = run(FOUND, installed, tmp_path)
    assert done.returncode != 0
    assert (
        f"wusu_lib is installed apart from the notebooks, and {tmp_path} is not among them; " in done.stderr
    )
    assert "set WUSU_ROOT to the folder that holds notebooks/, or start there" in done.stderr
    done = run(FOUND, installed, tmp_path, WUSU_ROOT=str(tmp_path))
    assert f"WUSU_ROOT: got '{tmp_path}'; expected the folder that holds notebooks/" in done.stderr


WITHOUT = """
from wusu_lib import files, provenance
from wusu_lib.data import tree
from wusu_lib.runs import store
from wusu_lib.scenes.viewer import page
print(store.root(), provenance.git(), files.located("a.pt"), store.find(), provenance.find_repository())
try:
    tree.data_root("nowhere")
except FileNotFoundError as error:
    print(error)
"""


def test_what_needs_no_notebook_works_elsewhere(installed, tmp_path):
    done = run(WITHOUT, installed, tmp_path, WUSU_RUNS="~/runs", HOME="/somewhere")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "/somewhere/runs {'commit': None, 'dirty': None} a.pt [] None"
    assert f"there is no folder {tmp_path}/nowhere; expected" in second


def test_what_lies_beside_the_code_is_installed_too(installed):
    beside = {path.relative_to(ROOT) for path in (ROOT / "wusu_lib").rglob("*") if path.is_file()}
    wanted = {path for path in beside if "__pycache__" not in path.parts}
    assert {path for path in wanted if not (installed / path).is_file()} == set()
