"""Where a figure comes from: the code, its version control state, the packages, the machine, the files."""

import ast
import hashlib
import importlib.metadata
import os
import platform
import re
import resource
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
COLOUR = re.compile("#[0-9a-fA-F]{6}")
# The packages that a model of any kind is computed with; their versions are recorded.
PACKAGES = (
    "torch",
    "lightning",
    "terratorch",
    "timm",
    "segmentation-models-pytorch",
    "transformers",
    "peft",
    "torchgeo",
    "scikit-learn",
    "scipy",
    "numpy",
    "pandas",
    "rasterio",
    "safetensors",
)

CPUINFO = Path("/proc/cpuinfo")
# Instruction sets that oneDNN tells apart, with the flag by which Linux names each, largest first.
INSTRUCTION_SETS = (
    ("AVX512_CORE_AMX", "amx_bf16"),
    ("AVX512_CORE_BF16", "avx512_bf16"),
    ("AVX512_CORE_VNNI", "avx512_vnni"),
    ("AVX512_CORE", "avx512bw"),
    ("AVX2", "avx2"),
    ("SSE41", "sse4_1"),
)


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Installed version of each of ``packages``, read without importing one; "absent" if not installed."""
    return {name: _version(name) for name in sorted(packages)}


@cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def repository() -> Path:
    """The folder of the log: its notebooks, its values in ``params/``, and its runs.

    It is what the environment's WUSU_ROOT names, else where this package lies, else the working directory or
    the nearest folder above it. Such a folder holds ``notebooks/exp*.ipynb``. Raises FileNotFoundError saying
    what to set where there is none, and for a WUSU_ROOT that has no notebooks.
    """
    found = find_repository()
    if found is None:
        raise FileNotFoundError(
            "No folder with notebooks/exp*.ipynb was found: wusu_lib is installed apart from the notebooks, "
            f"and {Path.cwd()} is not among them; set WUSU_ROOT to the folder that holds notebooks/, or "
            "start there"
        )
    return found


def find_repository() -> Path | None:
    """As ``repository``; None where there is none. Raises FileNotFoundError for a WUSU_ROOT that is none."""
    named = os.environ.get("WUSU_ROOT")
    if named:
        root = Path(named).expanduser().absolute()
        if not (root / "notebooks").is_dir():
            raise FileNotFoundError(f"WUSU_ROOT: got {named!r}; expected the folder that holds notebooks/")
        return root
    here = Path.cwd()
    return next(
        (folder for folder in (PACKAGE.parent, here, *here.parents) if _holds_notebooks(folder)), None
    )


def _holds_notebooks(folder: Path) -> bool:
    return any((folder / "notebooks").glob("exp*.ipynb"))


def git() -> dict[str, Any]:
    """The repository's ``commit`` (hash; None without one), ``dirty`` where its files differ from it."""
    commit = _git("rev-parse", "HEAD")
    return {"commit": commit, "dirty": None if commit is None else bool(_git("status", "--porcelain"))}


def _git(*arguments: str) -> str | None:
    folder = find_repository()
    if folder is None:
        return None
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or no repository: a run is still a run
        return None
    return done.stdout.strip()


def machine() -> dict[str, Any]:
    """The machine: system, processor, usable cores, Python; whoever uses a device adds it."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _cpuinfo("model name") or platform.processor(),
        "arithmetic": arithmetic(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
    }


def arithmetic() -> dict[str, str]:
    """What decides how a sum is rounded here, without asking torch.

    ``instruction_set``: the processor's largest that oneDNN has kernels for, by oneDNN's name for it (another
    kind of processor: its architecture). ``onednn_limit`` and ``aten_limit``: what the environment's
    ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY allow of it, in capitals; empty without a limit. ``gpu``: the
    first one that may be used, empty without. ``demo_threads``: how many a training at demo scale uses.
    """
    flags = set(_cpuinfo("flags").split())
    return {
        "instruction_set": next(
            (name for name, flag in INSTRUCTION_SETS if flag in flags), platform.machine()
        ),
        "onednn_limit": os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper(),
        "aten_limit": os.environ.get("ATEN_CPU_CAPABILITY", "").upper(),
        "gpu": _gpu(),
        "demo_threads": str(demo_threads()),
    }


def computes_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16 that oneDNN may use.

    Where it has none, sums in bfloat16 are emulated: a training takes tens of times as long as in float32.
    """
    here, names = arithmetic(), [name for name, _ in INSTRUCTION_SETS]
    able = names[: names.index("AVX512_CORE_BF16") + 1]
    return here["instruction_set"] in able and (here["onednn_limit"] or able[0]) in able


def demo_threads() -> int:
    """Threads of a training at demo scale: 1, so that figures do not depend on the number of cores.

    The environment's WUSU_DEMO_THREADS gives another number, to see what it changes. Raises ValueError for
    what is no positive whole number.
    """
    told = os.environ.get("WUSU_DEMO_THREADS", "1")
    if not told.isdecimal() or int(told) < 1:
        raise ValueError(f"WUSU_DEMO_THREADS: got {told!r}; expected a whole number from 1, or nothing (1)")
    return int(told)


def _gpu() -> str:
    """Model of the first Nvidia GPU by what its driver tells; empty if there is none or it is hidden."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return ""
    told = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = told[0].read_text(encoding="utf-8", errors="replace").splitlines() if told else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("Model")), "")


def _cpuinfo(name: str) -> str:
    """A line of Linux's description of the first core; empty where there is none."""
    lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines() if CPUINFO.exists() else []
    return next(
        (value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == name),
        "",
    )


def peak_memory() -> int:
    """Highest resident memory of this process so far, in bytes (whatever ran in it before counts too)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Give a list that fills with the distinct warnings raised in the block; they are shown all the same."""
    seen: list[str] = []
    show = warnings.showwarning

    def keep(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
        text = f"{category.__name__}: {message}"
        if text not in seen:
            seen.append(text)
        show(message, category, *rest, **named)

    warnings.showwarning = keep
    try:
        yield seen
    finally:
        warnings.showwarning = show


def content_hash(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def text_hash(text: str) -> str:
    """First 16 hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code(modules: Iterable[str]) -> dict[str, str]:
    """16 hex digits of the code of each of ``modules``, of these files alone, by the name that was given.

    "wusu_lib.data.loading" is the whole file, "wusu_lib.measures.classes:confusion" those of its definitions
    that compute ``confusion`` (several names between commas): what else stands in the file does not count.
    Comments, docstrings, types of arguments, formatting and colours ("#rrggbb") never do. Raises ValueError
    for a module or a definition that is not there.
    """
    return {name: text_hash(_code(name)) for name in sorted(set(modules))}


def _code(name: str) -> str:
    module, _, wanted = name.partition(":")
    parsed = _parsed(module_file(module))
    return parsed.dump if not wanted else "\n".join(_reached(parsed, wanted.split(","), name))


def _reached(parsed: "_Parsed", wanted: Iterable[str], name: str) -> list[str]:
    """What stands at the top level of a file under the wanted names and under all that these use."""
    waiting, found = set(wanted), set[str]()
    unknown = sorted(waiting - set(parsed.definitions))
    if unknown:
        raise ValueError(f"{name}: the file defines no {', '.join(unknown)}")
    while waiting:
        found |= waiting
        waiting = {used for one in waiting for used in parsed.definitions[one].uses} - found
    return [f"{one} {parsed.definitions[one].dump}" for one in sorted(found)]


def definitions(module: str) -> set[str]:
    """The names that the top level of a module of this library gives a meaning to, imports included."""
    return set(_parsed(module_file(module)).definitions)


def module_file(module: str) -> Path:
    """The file of a module of this library; ValueError where there is none."""
    base = PACKAGE.joinpath(*module.split(".")[1:])
    file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    if not file.is_file():
        raise ValueError(f"{module}: no such module in {PACKAGE}")
    return file


@dataclass(frozen=True)
class _Definition:
    """What stands under a name at the top level of a file, and which of the file's other names it uses."""

    dump: str
    uses: frozenset[str]


@dataclass(frozen=True)
class _Parsed:
    """A file's code without docstrings and colours: whole, and by name."""

    dump: str
    definitions: dict[str, _Definition]


def _parsed(file: Path) -> _Parsed:
    """The code of a file, parsed once a process unless it changes."""
    state = file.stat()
    return _parse(file, state.st_mtime_ns, state.st_size)


@cache
def _parse(file: Path, _changed: int, _size: int) -> _Parsed:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    _drop_what_computes_nothing(tree)
    return _Parsed(ast.dump(tree), _definitions(tree))


def _definitions(tree: ast.Module) -> dict[str, _Definition]:
    """Every name that the top level of a module gives a meaning to."""
    dumps: dict[str, str] = {}
    used: dict[str, set[str]] = {}
    for statement in tree.body:
        names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        for name, dump in _given(statement):
            dumps[name] = f"{dumps.get(name, '')}{dump}"
            used.setdefault(name, set()).update(names)
    return {name: _Definition(dump, frozenset(used[name] & set(dumps))) for name, dump in dumps.items()}


def _given(statement: ast.stmt) -> list[tuple[str, str]]:
    """Names that a statement gives a meaning to, each with the code that does; an import's one by one."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        source = f"{'.' * statement.level}{statement.module}" if isinstance(statement, ast.ImportFrom) else ""
        return [
            (alias.asname or alias.name.split(".")[0], f"{source} {alias.name}") for alias in statement.names
        ]
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [(statement.name, ast.dump(statement))]
    stored = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return [(name, ast.dump(statement)) for name in sorted(stored)]


def _drop_what_computes_nothing(tree: ast.Module) -> None:
    """Take docstrings and the types of arguments out of a tree, and make all colours the same."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and COLOUR.fullmatch(node.value):
            node.value = ""
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
