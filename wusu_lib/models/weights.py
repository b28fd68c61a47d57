"""Where an encoder's weights come from, and how they get into it. Imports torch.

From the hub, a local file or folder, or a seeded random start. Keys, bands and shapes are matched, every
mismatch is named. LoRA adapters stand beside the weights that they adapt.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from wusu_lib import provenance
from wusu_lib.models.spec import ALTERNATIVES, BackboneSpec, Bands, Scale, miniature_file, recorded_miniature

if TYPE_CHECKING:
    from wusu_lib.models.segmentation import SegmentationModel


HUB_TIMEOUT = 5.0  # seconds to wait for the hub's first answer


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


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint by key; nothing but tensors is ever unpickled.

    Raises ValueError if the file cannot be read, holds no tensors, or one that is sparse, without values, not
    under a name, or not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        # torch's own advice here, to read the file without this guard, would run what is in it
        reason = "it holds other objects than tensors" if isinstance(error, UnpicklingError) else error
        raise ValueError(f"weights: {path} cannot be read as a checkpoint of tensors: {reason}") from error
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
    for key, tensor in tensors.items():
        if not isinstance(key, str) or tensor.layout != torch.strided or tensor.is_meta:
            raise ValueError(
                f"weights: {path} does not match the encoder: {key!r} ({tensor.layout}, {tensor.device}) is "
                "no plain tensor under a name"
            )
        if not torch.isfinite(tensor).all():
            raise ValueError(f"weights: {path}: {key} holds values that are not finite; give another file")
    return as_trained(tensors)


# The miniatures' own pre-trained weights: small files that stand in the repository.

LARGEST = 2_000_000  # bytes of a file
LARGE = 2**14  # numbers of a tensor that is stored as bytes where the file would be larger
ROW_SCALE = ".row_scale"


def published_file(spec: BackboneSpec, scale: Scale) -> Path:
    """The file of the pre-trained weights: from the hub at full scale, the library's own at demo scale.

    Raises FileNotFoundError if it cannot be had, and ValueError if a miniature's has another content than its
    record says.
    """
    if scale == "full":
        return hub_file(*spec.hub, spec.revision)
    record, path = recorded_miniature(spec.miniature), miniature_file(spec.miniature)
    if not path.is_file():
        raise FileNotFoundError(f"weights='pretrained': {path} is missing; `make pretraining` makes it")
    found = provenance.content_hash(path)
    if found != record["hash"]:
        raise ValueError(
            f"weights='pretrained': {path} has the content hash {found}, but its record says "
            f"{record['hash']}; take both from one version of the repository, or run `make pretraining`"
        )
    return path


def as_stored(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as a miniature's file holds them: floats as float16.

    Where that would make more than ``LARGEST`` bytes, large tensors are int8 with one float16 scale a row:
    each number is then right to a hundredth of its row's largest, in rows whose largest is 0.01 or more.
    """
    halves = {key: v.half() if v.is_floating_point() else v.clone() for key, v in state.items()}
    if sum(v.numel() * v.element_size() for v in halves.values()) < LARGEST:
        return halves
    stored = {}
    for key, value in halves.items():
        if value.is_floating_point() and value.dim() > 1 and value.numel() >= LARGE:
            rows = tuple(range(1, value.dim()))
            scale = (value.float().abs().amax(dim=rows, keepdim=True) / 127).clamp(min=1e-7).half()
            stored[key] = (value.float() / scale.float()).round().clamp(-127, 127).to(torch.int8)
            stored[key + ROW_SCALE] = scale
        else:
            stored[key] = value
    return stored


def as_trained(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stored tensors with those of ``as_stored`` that are int8 as floats again; others as they are."""
    return {
        key: value.float() * tensors[key + ROW_SCALE].float() if key + ROW_SCALE in tensors else value
        for key, value in tensors.items()
        if not (key.endswith(ROW_SCALE) and key.removesuffix(ROW_SCALE) in tensors)
    }


# Other libraries' networks as encoders that give every block or stage. Imports torch.

Reading = Callable[[nn.Module, Tensor], list[Tensor]]


class TappedEncoder(nn.Module):
    """Another library's network, ``inner``, with the family's way of reading it.

    ``read(inner, images)``: images [B, bands, H, W] -> what ``BackboneSpec.output`` says, of every block or
    stage; a function of a module, so that a copy or a pickle reads its own weights. ``channels``: of each.
    """

    def __init__(self, inner: nn.Module, read: Reading, channels: Sequence[int]) -> None:
        super().__init__()
        self.inner = inner
        self.read = read
        self.out_channels = list(channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.read(self.inner, images)


def unfused(blocks: nn.Module) -> None:
    """For sequences as short as the miniatures' the fused attention kernel is slower on a CPU (bf16)."""
    for module in blocks.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]


def encoder_name(encoder: nn.Module) -> str:
    """Class of an encoder, by the library that it comes from."""
    return type(encoder.inner if isinstance(encoder, TappedEncoder) else encoder).__name__


# Fills an encoder from a checkpoint: keys, bands and shapes are matched, every mismatch is named.

LISTED = 5  # keys named in an error before the rest is counted
PREFIXES = ("model.encoder.", "encoder.")  # of the encoder's keys in whole models (Clay's, and others')


def load_checkpoint(encoder: nn.Module, spec: BackboneSpec, bands: Bands, path: Path) -> None:
    """Fill an encoder from a file: a published checkpoint of its family, or a model stored by this library.

    Bands are matched by name (``match_bands``). Raises ValueError naming missing, unexpected and differently
    shaped tensors unless all of the encoder is found and nothing else.
    """
    target = encoder.state_dict()
    inner = "inner." if isinstance(encoder, TappedEncoder) else ""
    state = encoder_tensors(read_checkpoint(path), spec.left_out, inner)
    filters = inner + spec.filters if spec.filters else None
    if filters in state:
        state[filters] = match_bands(state[filters], spec, bands)
    if spec.fixed is not None:
        state[inner + spec.fixed] = target[inner + spec.fixed]
    problems = mismatches(state, target)
    if problems:
        raise ValueError(f"weights: {path} does not match the encoder: " + "; ".join(problems))
    encoder.load_state_dict(state, strict=True)


def encoder_tensors(state: dict[str, Tensor], left_out: tuple[str, ...], inner: str) -> dict[str, Tensor]:
    """The encoder's part of a checkpoint, with the encoder's own keys and LoRA merged into its layers.

    Where keys start with one of ``PREFIXES`` these are the encoder; otherwise everything is that does not
    start with one of ``left_out``. ``inner``: where the encoder holds the network that was published.
    """
    for prefix in PREFIXES:
        if any(key.startswith(prefix) for key in state):
            state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            break
    else:
        state = {key: value for key, value in state.items() if not key.startswith(left_out)}
    if inner and not any(key.startswith(inner) for key in state):
        state = {inner + key: value for key, value in state.items()}
    return merge_adapters(state)


def merge_adapters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the LoRA products of a stored model to the layers that they adapt: W + B A (scaling 1)."""
    merged = {}
    for key, value in state.items():
        if ".lora_" in key:
            continue
        if ".base_layer." in key and key.endswith("weight"):
            layer = key.removesuffix(".base_layer.weight")
            a, b = (state.get(f"{layer}.lora_{part}.default.weight") for part in "AB")
            if a is None or b is None:
                merged[key] = value  # under a name that the check of keys reports
                continue
            value = value + b @ a
        merged[key.replace(".base_layer.", ".")] = value
    return merged


def match_bands(filters: Tensor, spec: BackboneSpec, bands: Bands) -> Tensor:
    """Stored first filters [dim, stored bands, ...] as those of the bands that the encoder reads.

    What is stored is told by its number: 3 are the backbone's colours, 4 its bands, else those of its own
    files (``BackboneSpec.stored_bands``). A filter for NIR that the checkpoint lacks is the mean of those of
    red, green and blue. Any other number of bands is handed back as it is, for the check of shapes to name.
    """
    stored = _stored_bands(filters.shape[1], spec) if filters.ndim > 1 else None
    wanted = spec.reads(bands)[0]
    if stored is None or stored == wanted:
        return filters
    chosen = [filters[:, stored.index(band)] if band in stored else filters.mean(dim=1) for band in wanted]
    return torch.stack(chosen, dim=1)


def _stored_bands(number: int, spec: BackboneSpec) -> tuple[str, ...] | None:
    known: list[Sequence[str]] = [spec.reads("rgb")[0], spec.bands, spec.stored_bands]
    return next((tuple(names) for names in known if len(names) == number), None)


def mismatches(state: dict[str, Tensor], target: dict[str, Tensor]) -> list[str]:
    """Sentences on what keeps ``state`` from being loaded into ``target``; empty if it fits."""
    shapes = [
        f"{key} {list(state[key].shape)} instead of {list(target[key].shape)}"
        for key in target
        if key in state and state[key].shape != target[key].shape
    ]
    types = [
        f"{key} {state[key].dtype} instead of {target[key].dtype}"
        for key in target
        if key in state and target[key].is_floating_point() and not state[key].is_floating_point()
    ]
    problems = {
        "missing": [key for key in target if key not in state],
        "unexpected": [key for key in state if key not in target],
        "wrong shape": shapes,
        "not floating point": types,
    }
    return [f"{len(items)} {name}: {_shorten(items)}" for name, items in problems.items() if items]


def _shorten(items: list[str]) -> str:
    listed = ", ".join(items[:LISTED])
    return listed if len(items) <= LISTED else f"{listed} and {len(items) - LISTED} more"


# Low-rank adaptation (LoRA, arXiv 2106.09685) of a transformer encoder through peft. Imports peft when used.
#
# Every attention layer's query-key-value and output projection W gets a product B A of rank r beside it; only
# A and B are trained. The product is added with scaling 1 (peft's alpha / r with alpha = r), so that W + B A
# is all there is to a merged layer. B starts at 0: the adapted model starts as the one that it adapts.

# As peft reads it, over the whole name of a module: qkv and proj of Prithvi, DINOv2 and DINOv3, to_qkv and
# to_out of Clay. Patch embeddings have a proj too, but no attention before it.
ATTENTION = r".*\.attn\.(qkv|proj)|.*\.layers\.\d+\.0\.(to_qkv|to_out)"


def add_lora(model: "SegmentationModel", rank: int = 16, seed: int = 0) -> "SegmentationModel":
    """Give the model's encoder adapters of ``rank`` and freeze the rest of it; the same model is returned.

    The encoder stays in eval mode through training, as a frozen one; neck, decoder and head are trained
    besides. Adapters are drawn from a generator of ``seed``; torch's global state is left as it was. Raises
    ValueError for a rank below 1, for an encoder without attention layers (a ResNet), and for one that has
    adapters already.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if rank < 1:
        raise ValueError(f"rank: got {rank}; expected at least 1, for instance 16")
    names = [name for name, _ in model.encoder.named_modules()]
    if any(".lora_" in name for name in names):
        raise ValueError("the encoder has LoRA adapters already; build the model anew")
    if not any(re.fullmatch(ATTENTION, name) for name in names):
        raise ValueError(
            f"LoRA adapts attention layers and {encoder_name(model.encoder)} has none; use "
            'adaptation="full", "differential" or "frozen"'
        )
    model.freeze_encoder()
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=ATTENTION, lora_dropout=0.0, bias="none")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model.encoder)
    model.train(model.training)
    return model
