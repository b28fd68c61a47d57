"""DINOv2 and DINOv3: timm's transformers in TerraTorch's backbone registry. Imports timm.

TerraTorch can build timm's models itself, but what it gives calls the forward of another object (a deep copy
would go on calling the original) and lacks the final normalisation. So timm's own model is wrapped here.
"""

from collections.abc import Sequence
from typing import Any, cast

import timm
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from wusu_lib.models.terratorch_parts import TERRATORCH_BACKBONE_REGISTRY

FULL_NAMES = {
    "dinov2_small": "vit_small_patch14_dinov2.lvd142m",
    "dinov3_sat_large": "vit_large_patch16_dinov3.sat493m",
    "dinov3_sat_7b": "vit_7b_patch16_dinov3.sat493m",
}


class PatchMaps(nn.Module):
    """Images [B, bands, H, W] -> of every block a map [B, dim, H / patch, W / patch], without prefix tokens.

    Every map has passed the transformer's final normalisation, as in the published linear heads that read
    several blocks; the last is what timm's own ``forward_features`` gives for the patches. A learnt position
    table is interpolated to the grid at hand (bicubic, with antialiasing), and used as it is on its own grid.
    """

    def __init__(self, vit: VisionTransformer | Eva) -> None:
        super().__init__()
        self.vit = vit
        self.out_channels = [vit.embed_dim] * len(vit.blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.vit.forward_intermediates(images, norm=True, intermediates_only=True)
        return cast(list[Tensor], maps)  # as timm gives it with these arguments


def patch_maps(name: str, bands: Sequence[str], **arguments: Any) -> PatchMaps:
    """timm's transformer of that name for so many bands, at any image size, without a classifier."""
    vit = timm.create_model(
        name, pretrained=False, num_classes=0, in_chans=len(bands), dynamic_img_size=True, **arguments
    )
    return PatchMaps(cast(VisionTransformer | Eva, vit))


@TERRATORCH_BACKBONE_REGISTRY.register
def dinov2_small(bands: Sequence[str], pretrained: bool = False) -> PatchMaps:
    """DINOv2 ViT-S/14: 12 blocks of width 384, positions learnt on a grid of 37 x 37 patches (518 px)."""
    return patch_maps(FULL_NAMES["dinov2_small"], bands)


@TERRATORCH_BACKBONE_REGISTRY.register
def dinov3_sat_large(bands: Sequence[str], pretrained: bool = False) -> PatchMaps:
    """DINOv3 ViT-L/16 of the satellite weights: 24 blocks of width 1024, rotary positions."""
    return patch_maps(FULL_NAMES["dinov3_sat_large"], bands)


@TERRATORCH_BACKBONE_REGISTRY.register
def dinov3_sat_7b(bands: Sequence[str], pretrained: bool = False) -> PatchMaps:
    """DINOv3 7B/16 of the satellite weights: 40 blocks of width 4096, rotary positions."""
    return patch_maps(FULL_NAMES["dinov3_sat_7b"], bands)
