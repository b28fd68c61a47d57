"""The layout of the library: rooms on floors, each floor imports downwards only, few files, no cycle."""

import ast
from pathlib import Path

import pytest
from command import ROOT

PACKAGE = ROOT / "wusu_lib"
# From low to high. A module imports from floors below its own and from its own room.
FLOORS = (
    "legend",
    "transitions",
    "provenance",
    "files",
    "imagery",
    "synthetic",
    "data",
    "measures",
    "models",
    "training",
    "runs",
    "change",
    "experiment",
    "scenes",
    "pages",
)
# Without the mini city, and without the faces of the rooms, which hold a docstring only. It was 70 before the
# experiments of phases 2 and 3, which bring a kind of run and the figures of their pages, a file each, and
# before what connects to Ray was shared by two searches and the maps of scenes; then came what finds objects.
MOST_FILES = 81
MOST_ROOMS = 12  # folders with code
# (importing module, imported module): why it may stand all the same.
KNOWN_UPWARDS: dict[tuple[str, str], str] = {}


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Every module by its dotted name below the package; a room's face has the room's name."""
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """Modules of the library that a file imports, inside functions too; not those for types only."""
    found = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            # ``from room import module`` means the module, ``from module import name`` what defines the name
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        waiting.extend(ast.iter_child_nodes(node))
    names = {name.removeprefix("wusu_lib").lstrip(".") for name in found if name.split(".")[0] == "wusu_lib"}
    inside = names & known - {""}
    return {name for name in inside if not any(other.startswith(f"{name}.") for other in inside)}


def graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    paths = modules(package)
    return {name: imports(path, set(paths)) for name, path in paths.items()}


def floor(module: str) -> int:
    return FLOORS.index(module.split(".")[0])


def upwards(edges: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Imports from a higher floor."""
    return {(a, b) for a, targets in edges.items() if a for b in targets if floor(b) > floor(a)}


def cycles(edges: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules of which each imports, by way of others, every other."""
    reached = {name: set(targets) for name, targets in edges.items()}
    for through in edges:
        for name in edges:
            if through in reached[name]:
                reached[name] |= reached[through]
    found = []
    for name in sorted(edges):
        around = {other for other in reached[name] if name in reached[other]}
        if around and around not in found:
            found.append(around)
    return found


def test_every_module_has_a_floor():
    assert {name.split(".")[0] for name in modules() if name} == set(FLOORS)


def test_imports_lead_downwards():
    assert upwards(graph()) == set(KNOWN_UPWARDS)


def test_there_is_no_cycle():
    assert cycles(graph()) == []


def test_the_mini_city_stands_alone():
    edges = graph()
    city = {name for name in edges if name.split(".")[0] == "synthetic"}
    outside = set().union(*(edges[name] for name in city)) - city
    assert outside == {"legend"}
    doors = {b for a, targets in edges.items() if a not in city for b in targets & city}
    assert doors == {"synthetic"}


def test_files_and_rooms_are_few():
    paths = {name: path for name, path in modules().items() if name.split(".")[0] != "synthetic"}
    faces = {name for name, path in paths.items() if path.name == "__init__.py"}
    for name in faces:
        (docstring,) = ast.parse(paths[name].read_text()).body
        assert isinstance(docstring, ast.Expr), f"{name}: the face of a room holds its docstring only"
    files = set(paths) - faces
    print(len(files), "files,", len(faces), "rooms")  # noqa: T201 (read with -s)
    assert len(files) <= MOST_FILES
    assert len(faces) <= MOST_ROOMS


@pytest.fixture
def made(tmp_path):
    """A package of two rooms in which the lower imports the higher, which imports it."""
    texts = {
        "__init__": "",
        "legend": "if TYPE_CHECKING:\n    from wusu_lib.pages import page\n",
        "data/tree": "def f():\n    from wusu_lib.pages.page import g\n    return g\n",
        "pages/page": "from wusu_lib import legend\nfrom wusu_lib.data import tree\ng = tree, legend\n",
    }
    for name, text in texts.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return graph(tmp_path)


def test_an_import_inside_a_function_counts(made):
    assert made["data.tree"] == {"pages.page"}
    assert upwards(made) == {("data.tree", "pages.page")}
    assert cycles(made) == [{"data.tree", "pages.page"}]


def test_an_import_for_types_does_not_count(made):
    assert made["legend"] == set()
    assert made["pages.page"] == {"legend", "data.tree"}
