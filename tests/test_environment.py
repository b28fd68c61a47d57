"""The three descriptions of the environment say the same: pyproject.toml,
constraints.txt, environment.yml.
"""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = [r for extra in PROJECT["optional-dependencies"].values() for r in extra]
REQUIREMENTS = [Requirement(r) for r in PROJECT["dependencies"] + OPTIONAL]
PINS = {
    canonicalize_name(name): Version(version)
    for name, version in re.findall(r"^([^#\s=]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda r: r.name)
def test_each_dependency_is_pinned_within_its_range(requirement):
    pin = PINS.get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name} is missing in constraints.txt: run `make lock`"
    assert requirement.specifier.contains(pin)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda r: r.name)
def test_the_installed_version_is_the_pinned_one(requirement):
    installed = Version(metadata.version(requirement.name))
    assert installed.public == PINS[canonicalize_name(requirement.name)].public


def test_each_dependency_says_why_it_is_there():
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    listed = [line for line in lines if re.match(r'\s+"[A-Za-z].*[<>=]', line)]
    assert len(listed) == len(REQUIREMENTS)
    for line in listed:
        assert re.search(r'",\s+# \w+', line), f"no reason given: {line.strip()}"


def test_conda_gives_the_same_environment():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    python = next(d for d in conda["dependencies"] if isinstance(d, str) and d.startswith("python="))
    assert python == "python=3.12"
    assert PROJECT["requires-python"] == ">=3.12"
    pip = next(d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    assert pip == ["-c constraints.txt", "-e .[test]"]
