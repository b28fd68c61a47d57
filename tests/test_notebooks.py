"""The notebooks as files: structure, interface, and the promises that their text makes."""

import ast
import builtins
import importlib
import json
import re
import subprocess
from pathlib import Path

import nbformat
import pytest
import yaml
from papermill import inspect_notebook

from wusu_lib.experiment import notebooks, parameters
from wusu_lib.measures.verdict import Prediction
from wusu_lib.pages import page

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted((ROOT / "notebooks").glob("exp*.ipynb"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MEANT = json.loads((ROOT / "tests" / "data" / "parameters.json").read_text())
OVERLAYS = sorted((ROOT / "params").glob("*.yaml"))


def read(path):
    return nbformat.read(path, as_version=4)


def code(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def segmentation(path):
    return "prediction" in notebooks.from_notebook(path).model_dump()


each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
each_experiment = pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)


@each
def test_is_valid_and_committed_without_outputs(path):
    notebook = json.loads(path.read_text())
    nbformat.validate(notebook)
    for cell in code(path):
        assert cell.outputs == []
        assert cell.execution_count is None


@each
def test_calls_and_shows_but_defines_nothing(path):
    for cell in code(path):
        tree = ast.parse(cell.source)
        longest = 25 if "parameters" in cell.metadata.get("tags", []) else 19
        assert len(cell.source.splitlines()) <= longest
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not [node for node in ast.walk(tree) if isinstance(node, kinds)]


@each
def test_has_one_title_at_its_start(path):
    cells = read(path).cells
    titles = [
        i for i, c in enumerate(cells) if c.cell_type == "markdown" and re.search(r"^# ", c.source, re.M)
    ]
    assert titles == [0]


@each_experiment
def test_is_short_and_reads_as_prose(path):
    cells = read(path).cells
    assert 12 <= len(cells) <= (24 if path.stem <= "exp08" and path.stem != "exp00" else 30)
    said = [cell for cell in code(path) if re.match(r"(\w+\.)?\w+_sentence\(", cell.source)]
    assert all(cell.metadata["tags"] == ["remove-input"] for cell in said)
    assert len(cells) - len(code(path)) + len(said) >= len(code(path)) - len(said)


@each_experiment
def test_shows_the_code_that_it_is_about(path):
    """Each name is found in the library, and what is shown is code."""
    called = [
        node
        for cell in code(path)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "page.source"
    ]
    (call,) = called
    for name in call.args:
        assert ast.parse(page.excerpt(ast.literal_eval(name)))


@each_experiment
def test_no_other_cell_assigns_a_parameter(path):
    """A name of the schema that a later cell assigns would count when the notebook is run again."""
    names = set(type(notebooks.from_notebook(path)).model_fields)
    later = [cell for cell in code(path) if "parameters" not in cell.metadata.get("tags", [])]
    assigned = {
        node.id
        for cell in later
        for statement in ast.parse(cell.source).body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert assigned & names == set()


@each
def test_no_caption_hides_in_a_cells_metadata(path):
    assert [cell.metadata for cell in code(path) if set(cell.metadata) - {"tags"}] == []


@each_experiment
def test_states_a_prediction_over_an_experiment_that_exists(path):
    stated = notebooks.from_notebook(path)
    assert stated.name == path.stem
    if segmentation(path):
        assert (ROOT / "notebooks" / f"{Prediction.parse(stated.prediction).baseline}.ipynb").is_file()


@each_experiment
def test_lists_each_parameter_with_type_and_help(path):
    inferred = inspect_notebook(str(path))
    assert set(inferred) <= set(type(notebooks.from_notebook(path)).model_fields)
    assert len(inferred) <= 14
    if "decoder" in inferred:
        assert len(inferred) >= 10
    for parameter in inferred.values():
        assert parameter["inferred_type_name"] in {"str", "int", "float", "list"}, parameter
        assert len(parameter["help"]) > 3, parameter


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda p: p.stem)
@each_experiment
def test_each_overlay_fits_each_notebook_that_it_applies_to(path, overlay):
    if not segmentation(path):
        pytest.skip(f"{path.stem} trains no model, so overlays of training values do not apply")
    if overlay.stem == "grid" and path.stem != "exp10":
        pytest.skip(f"{path.stem} searches no grid")
    stated = notebooks.from_notebook(path)
    values = yaml.safe_load(overlay.read_text())
    if values.get("scale") == "full":
        values["data_root"] = str(ROOT)
    merged = parameters.parse(type(stated), {**stated.model_dump(), **values})
    assert {key: getattr(merged, key) for key in values} == values


@pytest.mark.parametrize("name", sorted(MEANT))
def test_parameters_are_those_that_were_meant(name):
    """Every value, stated or not, alone and under full.yaml, as when each notebook stated all of them."""
    stated = notebooks.from_notebook(ROOT / "notebooks" / f"{name}.ipynb")
    assert stated.model_dump() == MEANT[name]["alone"]
    full = yaml.safe_load((ROOT / "params" / "full.yaml").read_text())
    values = {**full, "data_root": "/data/OpenWUSU512"}
    used = {key: value for key, value in values.items() if key in type(stated).model_fields}
    merged = parameters.parse(type(stated), {**stated.model_dump(), **used})
    assert merged.model_dump() == MEANT[name]["full"]


def test_make_study_gives_each_experiment_what_it_knows():
    """The overlay as it is; of the floor, whose notebook knows no training, what is about data and seeds."""
    plan = subprocess.run(
        ["make", "-n", "study", "READY=", "BIN=bin"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    given = dict(re.findall(r"papermill notebooks/(exp\d+)\.ipynb .*? -f (\S+)", plan))
    overlay = (ROOT / "params" / "study.yaml").read_text()
    kept = re.search(r"grep -E '(\S+)' params/study.yaml > (\S+)", plan)
    contents = {
        "params/study.yaml": overlay,
        kept[2]: "\n".join(line for line in overlay.splitlines() if re.search(kept[1], line)),
    }
    assert set(given) == {path.stem for path in EXPERIMENTS}
    for path in EXPERIMENTS:
        stated, values = notebooks.from_notebook(path), yaml.safe_load(contents[given[path.stem]])
        merged = parameters.parse(type(stated), {**stated.model_dump(), **values})
        assert (merged.city, len(merged.seeds)) == ("large", 5)


@each_experiment
def test_the_demo_overlay_restates_the_defaults(path):
    if not segmentation(path):
        pytest.skip(f"{path.stem} trains no model")
    stated = notebooks.from_notebook(path).model_dump()
    for key, value in yaml.safe_load((ROOT / "params" / "demo.yaml").read_text()).items():
        assert stated[key] == value, key


def test_each_notebook_is_a_page_of_the_book():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    pages = {chapter["file"] for part in contents["parts"] for chapter in part["chapters"]}
    assert {f"book/log/{path.stem}" for path in NOTEBOOKS} <= pages


@each
def test_every_name_of_the_library_is_there(path):
    """What a cell imports, what it asks of a module that is imported, and every name that it reads."""
    tree = ast.parse("\n".join(cell.source for cell in code(path) if not cell.source.startswith("%")))
    modules, known = {}, {"display", *dir(builtins)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("wusu_lib"):
            for alias in node.names:
                try:
                    modules[alias.asname or alias.name] = importlib.import_module(
                        f"{node.module}.{alias.name}"
                    )
                except ModuleNotFoundError:
                    assert hasattr(importlib.import_module(node.module), alias.name), (
                        node.module,
                        alias.name,
                    )
        if isinstance(node, ast.Import | ast.ImportFrom):
            known |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.add(node.id)
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    asked = [
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
    ]
    assert read - known == set()
    assert [(name, attr) for name, attr in asked if not hasattr(modules[name], attr)] == []
