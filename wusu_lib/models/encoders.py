"""Builds an encoder through TerraTorch's backbone registry and fills it. Imports TerraTorch."""

from collections.abc import Sequence
from pathlib import Path

import terratorch  # noqa: F401 (fills the registries)
from terratorch.datasets import HLSBands
from terratorch.models.backbones.prithvi_mae import PrithviViT
from terratorch.models.backbones.prithvi_vit import PRETRAINED_BANDS, pretrained_weights
from terratorch.models.backbones.select_patch_embed_weights import select_patch_embed_weights
from terratorch.registry import BACKBONE_REGISTRY
from torch import Tensor

from wusu_lib.models import miniatures  # noqa: F401 (registers the demo's encoders)
from wusu_lib.models.backbones import Scale, find
from wusu_lib.models.weights import check_weights, checkpoint_path, read_checkpoint, require_hub_file

LISTED = 5  # keys named in an error before the rest is counted
FIXED = "pos_embed"  # sine-cosine tables: computed, not learnt, so a checkpoint need not hold them
PATCH_FILTER = "patch_embed.proj.weight"  # [dim, bands, 1, patch, patch]


def build_encoder(backbone: str, scale: Scale, weights: str) -> PrithviViT:
    """The encoder of a backbone with its weights; random ones are drawn from torch's global generator.

    Its forward takes images [B, bands, H, W] and gives the output of every block, tokens [B, prefix + h*w,
    dim]. Raises ValueError and FileNotFoundError as ``check_weights`` does, and ValueError where a checkpoint
    does not match.
    """
    check_weights(weights, backbone, scale)
    spec = find(backbone)
    encoder = spec.encoder(scale)
    pretrained = weights == "pretrained"
    if pretrained:
        hub = pretrained_weights[encoder.registry]
        require_hub_file(hub["hf_hub_id"], hub["hf_hub_filename"])
    arguments = {"bands": list(spec.bands), "pretrained": pretrained, **encoder.arguments}
    vit = BACKBONE_REGISTRY.build(encoder.registry, **arguments)
    # TerraTorch puts a closure over this very object in its place, which a deep copy or a pickle would go on
    # calling or fail on.
    vit.forward = vit.forward_features
    if weights not in ("pretrained", "random"):
        load_checkpoint(vit, checkpoint_path(weights, backbone))
    return vit


def load_checkpoint(vit: PrithviViT, path: Path) -> None:
    """Fill a Prithvi encoder from a file: a Prithvi MAE, an encoder, or a model stored by this library.

    Decoder weights are left out; of a six-band patch filter the encoder's bands are taken by name, as
    TerraTorch does it. Raises ValueError naming missing, unexpected and differently shaped tensors unless all
    of the encoder is found.
    """
    state = encoder_tensors(read_checkpoint(path))
    stored_bands = _stored_bands(state.get(PATCH_FILTER), vit)
    target = vit.state_dict()
    problems = _mismatches(state, target, stored_bands)
    if problems:
        raise ValueError(f"weights: {path} does not match the encoder: " + "; ".join(problems))
    state = {**state, FIXED: target[FIXED]}
    if stored_bands != vit.model_bands:
        state = select_patch_embed_weights(state, vit, stored_bands, vit.model_bands)
    vit.load_state_dict(state, strict=True)


def encoder_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's part of a checkpoint, with the encoder's own keys.

    Where keys start with "encoder." these are the encoder; otherwise everything that is not part of an MAE's
    decoder is.
    """
    prefix = "encoder."
    if any(key.startswith(prefix) for key in state):
        return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return {k: v for k, v in state.items() if not k.startswith("decoder") and k != "mask_token"}


def _stored_bands(patch_filter: Tensor | None, vit: PrithviViT) -> list[HLSBands]:
    """Bands that a stored patch filter holds, told by their number: Prithvi's six or the encoder's own."""
    if patch_filter is not None and patch_filter.ndim > 1 and patch_filter.shape[1] == len(PRETRAINED_BANDS):
        return PRETRAINED_BANDS
    return vit.model_bands


def _mismatches(state: dict[str, Tensor], target: dict[str, Tensor], stored_bands: Sequence) -> list[str]:
    """Sentences on what keeps ``state`` from being loaded into ``target``; empty if it fits."""
    expected = {key: list(value.shape) for key, value in target.items() if key != FIXED}
    expected[PATCH_FILTER][1] = len(stored_bands)
    found = {key: list(value.shape) for key, value in state.items() if key != FIXED}
    shapes = [
        f"{key} {found[key]} instead of {expected[key]}"
        for key in expected
        if key in found and found[key] != expected[key]
    ]
    problems = {
        "missing": [key for key in expected if key not in found],
        "unexpected": [key for key in found if key not in expected],
        "wrong shape": shapes,
    }
    return [f"{len(items)} {name}: {_shorten(items)}" for name, items in problems.items() if items]


def _shorten(items: list[str]) -> str:
    listed = ", ".join(items[:LISTED])
    return listed if len(items) <= LISTED else f"{listed} and {len(items) - LISTED} more"
