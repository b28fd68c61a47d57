"""The code that a page is about, read from its file: shown on the page, never copied into it."""

import ast
import textwrap
from importlib.util import find_spec
from pathlib import Path


def excerpt(name: str) -> str:
    """Source text of what a dotted name means, for instance ``wusu_lib.metrics.merge``, without importing it.

    A function, a class, a method of it, a constant, or an entry of a dictionary
    (``wusu_lib.models.decoders.DECODERS.deeplab``). Raises ValueError where the library has no such thing.
    """
    file, rest = _module(name)
    text = file.read_text()
    node: ast.AST = ast.parse(text)
    for part in rest:
        inside = {_name(child): child for child in _children(node)}
        if part not in inside:
            known = ", ".join(sorted(filter(None, inside)))
            raise ValueError(f"{name}: {file.name} has no {part!r} there; it has {known}")
        node = inside[part]
    lines = text.splitlines()
    if isinstance(node, _Entry):  # its value alone, whose first line stands behind the key
        indent = len(lines[node.value.lineno - 1]) - len(lines[node.value.lineno - 1].lstrip())
        return textwrap.dedent(" " * indent + str(ast.get_source_segment(text, node.value)))
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])  # type: ignore[attr-defined]
    return textwrap.dedent("\n".join(lines[first - 1 : node.end_lineno]))  # type: ignore[attr-defined]


def _module(name: str) -> tuple[Path, list[str]]:
    """File of the longest beginning of a dotted name that is a module, and what follows it."""
    package, *parts = name.split(".")
    found = find_spec(package)
    if package != "wusu_lib" or found is None or found.origin is None:
        raise ValueError(f"{name}: expected the dotted name of something in wusu_lib")
    folder = Path(found.origin).parent
    for number, part in enumerate(parts):
        file = folder / f"{part}.py"
        if file.is_file() and parts[number + 1 :]:
            return file, parts[number + 1 :]
        folder = folder / part
    raise ValueError(f"{name}: wusu_lib has no such module, or nothing in it was named")


class _Entry(ast.AST):
    """A key of a dictionary with its value."""

    def __init__(self, key: str, value: ast.expr) -> None:
        self.key, self.value = key, value


def _children(node: ast.AST) -> list[ast.AST]:
    value = getattr(node, "value", None)
    if isinstance(value, ast.Dict):
        pairs = zip(value.keys, value.values, strict=True)
        return [_Entry(str(key.value), v) for key, v in pairs if isinstance(key, ast.Constant)]
    return list(getattr(node, "body", []))


def _name(node: ast.AST) -> str:
    """What a statement names: the function, the class, the variable; empty for any other."""
    if isinstance(node, _Entry):
        return node.key
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    return getattr(node, "name", "")
