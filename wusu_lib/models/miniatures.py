"""Miniatures of the backbones, in TerraTorch's backbone registry. Imports TerraTorch.

A miniature is TerraTorch's own class of that family, a thousand times smaller, with the same interface: patch
size (14 px does not divide the image here either), CLS token, bands by name, four taps at the quarter points,
position tables of the same grid that are interpolated. They have no pre-trained weights.
"""

from collections.abc import Sequence

from terratorch.datasets import HLSBands
from terratorch.models.backbones.prithvi_mae import PrithviViT
from terratorch.registry import TERRATORCH_BACKBONE_REGISTRY

PRETRAINING_SIZE = 224  # px, as Prithvi's


def _prithvi(bands: Sequence[str], patch: int, dim: int, depth: int, heads: int) -> PrithviViT:
    vit = PrithviViT(
        img_size=PRETRAINING_SIZE,
        patch_size=(1, patch, patch),
        num_frames=1,
        in_chans=len(bands),
        embed_dim=dim,
        depth=depth,
        num_heads=heads,
    )
    for block in vit.blocks:
        block.attn.fused_attn = False  # for sequences this short the fused kernel is slower on a CPU (bf16)
    vit.model_bands = [HLSBands(band) for band in bands]
    return vit


@TERRATORCH_BACKBONE_REGISTRY.register
def prithvi_300m_miniature(bands: Sequence[str], pretrained: bool = False) -> PrithviViT:
    """Stands in for Prithvi-EO-2.0 300M: 4 blocks of width 96, patch 16."""
    _refuse_pretrained(pretrained)
    return _prithvi(bands, patch=16, dim=96, depth=4, heads=2)


@TERRATORCH_BACKBONE_REGISTRY.register
def prithvi_600m_miniature(bands: Sequence[str], pretrained: bool = False) -> PrithviViT:
    """Stands in for Prithvi-EO-2.0 600M: 4 blocks of width 96, patch 14."""
    _refuse_pretrained(pretrained)
    return _prithvi(bands, patch=14, dim=96, depth=4, heads=2)


def _refuse_pretrained(pretrained: bool) -> None:
    if pretrained:
        raise ValueError(
            "miniature backbones have no pretrained weights; use weights='random' or a local file"
        )
