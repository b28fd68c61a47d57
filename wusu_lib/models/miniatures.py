"""Miniatures of the backbones, in TerraTorch's backbone registry. Imports TerraTorch.

A miniature is the family's own class, a hundred to a thousand times smaller, with the same interface: patch
size (14 px does not divide the image here either), prefix tokens, bands, four taps at the quarter points, the
same kind of positions. They have no pre-trained weights.
"""

from collections.abc import Sequence

from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from wusu_lib.models.clay import ClayTokens
from wusu_lib.models.cnn import Stages
from wusu_lib.models.terratorch_parts import TERRATORCH_BACKBONE_REGISTRY, HLSBands, PrithviViT
from wusu_lib.models.vision import PatchMaps, patch_maps

PRETRAINING_SIZE = 224  # px, as Prithvi's
SIZE = {"depth": 4, "num_heads": 2, "embed_dim": 96}
NARROW = (32, 64, 128, 256)  # channels of the narrow ResNet's stages
# The published transformers start each block's contribution at 1e-5. A miniature trains for some epochs only
# and would remain a linear map of single patches.
LAYER_SCALE = 1.0


def _unfused(blocks: nn.Module) -> None:
    """For sequences this short the fused attention kernel is slower on a CPU (bf16)."""
    for module in blocks.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]


def _prithvi(bands: Sequence[str], patch: int) -> PrithviViT:
    vit = PrithviViT(
        img_size=PRETRAINING_SIZE,
        patch_size=(1, patch, patch),
        num_frames=1,
        in_chans=len(bands),
        **SIZE,
    )
    _unfused(vit.blocks)
    vit.model_bands = [HLSBands(band) for band in bands]
    return vit


def _patch_maps(name: str, bands: Sequence[str]) -> PatchMaps:
    maps = patch_maps(name, bands, init_values=LAYER_SCALE, **SIZE)
    _unfused(maps)
    return maps


@TERRATORCH_BACKBONE_REGISTRY.register
def prithvi_300m_miniature(bands: Sequence[str], pretrained: bool = False) -> PrithviViT:
    """Stands in for Prithvi-EO-2.0 300M: 4 blocks of width 96, patch 16."""
    return _prithvi(bands, patch=16)


@TERRATORCH_BACKBONE_REGISTRY.register
def prithvi_600m_miniature(bands: Sequence[str], pretrained: bool = False) -> PrithviViT:
    """Stands in for Prithvi-EO-2.0 600M: 4 blocks of width 96, patch 14."""
    return _prithvi(bands, patch=14)


@TERRATORCH_BACKBONE_REGISTRY.register
def dinov2_miniature(bands: Sequence[str], pretrained: bool = False) -> PatchMaps:
    """Stands in for DINOv2: 4 blocks of width 96, patch 14, a learnt table of 37 x 37 positions."""
    return _patch_maps("vit_small_patch14_dinov2", bands)


@TERRATORCH_BACKBONE_REGISTRY.register
def dinov3_miniature(bands: Sequence[str], pretrained: bool = False) -> PatchMaps:
    """Stands in for DINOv3: 4 blocks of width 96, patch 16, a CLS and 4 register tokens, rotary positions."""
    return _patch_maps("vit_large_patch16_dinov3", bands)


@TERRATORCH_BACKBONE_REGISTRY.register
def clay_miniature(bands: Sequence[str], pretrained: bool = False) -> ClayTokens:
    """Stands in for Clay: 4 blocks of width 96, patch 8, filters generated from wavelengths."""
    return ClayTokens(bands, dim=96, depth=4, heads=2)


@TERRATORCH_BACKBONE_REGISTRY.register
def resnet_miniature(bands: Sequence[str], pretrained: bool = False) -> Stages:
    """Stands in for ResNet-50: one basic block a stage, 32 to 256 channels."""
    network = ResNet(
        BasicBlock,  # type: ignore[arg-type]  # timm's annotation asks for an instance
        layers=(1, 1, 1, 1),
        channels=NARROW,
        in_chans=len(bands),
        num_classes=0,
        global_pool="",
    )
    return Stages(network, NARROW)
