"""Fills an encoder from a checkpoint: keys, bands and shapes are matched, every mismatch is named."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from wusu_lib.models.spec import BackboneSpec, Bands
from wusu_lib.models.tapped import TappedEncoder
from wusu_lib.models.weights import read_checkpoint

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
            a, b = state[f"{layer}.lora_A.default.weight"], state[f"{layer}.lora_B.default.weight"]
            value = value + b @ a
        merged[key.replace(".base_layer.", ".")] = value
    return merged


def match_bands(filters: Tensor, spec: BackboneSpec, bands: Bands) -> Tensor:
    """Stored first filters [dim, stored bands, ...] as those of the bands that the encoder reads.

    What is stored is told by its number: 3 are the backbone's colours, 4 its bands, else those of its own
    files (``BackboneSpec.stored_bands``). A filter for NIR that the checkpoint lacks is the mean of those of
    red, green and blue. Any other number of bands is handed back as it is, for the check of shapes to name.
    """
    stored = _stored_bands(filters.shape[1], spec)
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
    problems = {
        "missing": [key for key in target if key not in state],
        "unexpected": [key for key in state if key not in target],
        "wrong shape": shapes,
    }
    return [f"{len(items)} {name}: {_shorten(items)}" for name, items in problems.items() if items]


def _shorten(items: list[str]) -> str:
    listed = ", ".join(items[:LISTED])
    return listed if len(items) <= LISTED else f"{listed} and {len(items) - LISTED} more"
