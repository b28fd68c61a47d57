"""Where an encoder's weights come from: the hub, a local file or folder, or a seeded random start.

The checks on names and paths are cheap; torch and TerraTorch are imported where weights are read.
"""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from wusu_lib import provenance
from wusu_lib.models.spec import Scale

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt")
ALTERNATIVES = (
    "weights='random', or the path of a checkpoint file or of a folder that holds <backbone>"
    + "|".join(SUFFIXES)
)
HUB_TIMEOUT = 5.0  # seconds to wait for the hub's first answer


def check_weights(weights: str, backbone: str, scale: Scale) -> None:
    """Raise ValueError or FileNotFoundError if ``weights`` cannot be meant; reads no file."""
    if weights == "random":
        return
    if weights == "pretrained":
        if scale == "demo":
            raise ValueError(
                f"weights='pretrained': no pretrained miniature of {backbone} exists; use {ALTERNATIVES}"
            )
        return
    checkpoint_path(weights, backbone)


def checkpoint_path(weights: str, backbone: str) -> Path:
    """The checkpoint file that ``weights`` (a file, or a folder) stands for.

    Raises FileNotFoundError if there is none, ValueError for an unknown kind of file.
    """
    path = Path(weights).expanduser()
    if path.is_dir():
        candidates = [path / f"{backbone}{suffix}" for suffix in SUFFIXES]
        found = [c for c in candidates if c.is_file()]
        if not found:
            raise FileNotFoundError(f"weights: {path} holds none of {', '.join(c.name for c in candidates)}")
        return found[0]
    if not path.is_file():
        raise FileNotFoundError(
            f"weights: no file or folder {weights!r}; allowed: 'pretrained', {ALTERNATIVES}"
        )
    if path.suffix not in SUFFIXES:
        raise ValueError(f"weights: {path.name} is none of {', '.join(SUFFIXES)}")
    return path


def hub_file(repository: str, filename: str, revision: str = "main") -> Path:
    """A published checkpoint, downloaded once; FileNotFoundError as ``require_hub_file`` raises it."""
    from huggingface_hub import hf_hub_download

    require_hub_file(repository, filename, revision)
    return Path(hf_hub_download(repository, filename, revision=revision))


def hub_origin(repository: str, filename: str, revision: str) -> dict[str, str | None]:
    """Where a published checkpoint that has been read comes from: its address, the hub's commit, its hash.

    The commit is None, and the hash too, where the cache no longer holds the file.
    """
    from huggingface_hub import try_to_load_from_cache

    address: dict[str, str | None] = {"repository": repository, "file": filename, "revision": revision}
    cached = try_to_load_from_cache(repository, filename, revision=revision)
    if not isinstance(cached, str):
        return address | {"commit": None, "hash": None}
    path = Path(cached)  # .../snapshots/<commit>/<file>, where the file may stand in folders
    commit = path.parts[len(path.parts) - 1 - len(Path(filename).parts)]
    return address | {"commit": commit, "hash": provenance.content_hash(path)}


def require_hub_file(repository: str, filename: str, revision: str = "main") -> None:
    """Raise FileNotFoundError within seconds if a hub file is neither cached nor to be had.

    Asked first because the hub's client itself retries for minutes behind a network that drops packets.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HTTPError  # that of whichever HTTP client the hub's library uses

    if isinstance(try_to_load_from_cache(repository, filename, revision=revision), str):
        return
    try:
        get_hf_file_metadata(hf_hub_url(repository, filename, revision=revision), timeout=HUB_TIMEOUT)
    except (HTTPError, OSError) as error:
        raise FileNotFoundError(
            f"weights='pretrained': {repository}/{filename} ({revision}) is not in the local cache and "
            f"the hub does not give it ({type(error).__name__}); use {ALTERNATIVES}"
        ) from error


def read_checkpoint(path: Path) -> dict[str, "Tensor"]:
    """All tensors of a checkpoint by key; nothing but tensors is ever unpickled.

    Raises ValueError if the file cannot be read or holds no tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(f"weights: {path} cannot be read as a checkpoint of tensors: {error}") from error
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    tensors = (
        {key: value for key, value in state.items() if torch.is_tensor(value)}
        if isinstance(state, Mapping)
        else {}
    )
    if not tensors:
        raise ValueError(f"weights: {path} holds no tensors by key")
    return tensors
