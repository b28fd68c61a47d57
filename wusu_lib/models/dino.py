"""DINOv2 and DINOv3: entries, encoders, what their checkpoints hold. Cheap to import.

DINOv3 (arXiv 2508.10104), weights of 493 million satellite images: patch 16, a CLS and four register tokens,
R,G,B; rotary positions, computed from coordinates that span -1 to 1 over whatever grid there is. DINOv2
(arXiv 2304.07193), small: patch 14, a CLS token, R,G,B; a table of 37 x 37 learnt positions (518 px),
interpolated to the grid at hand (bicubic, with antialiasing), and used as it is on its own grid.

TerraTorch can build timm's models itself, but what it gives calls the forward of another object (a deep copy
would go on calling the original) and lacks the final normalisation. So timm's own model is read here.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from wusu_lib.models.spec import IMAGENET, MINIATURE, RGB_NIR, RGB_NIR_ORDER, BackboneSpec, Encoder, with_nir

if TYPE_CHECKING:
    from torch import Tensor, nn

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]
SATELLITE: Statistics = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))  # R, G, B: mean, standard deviation
# The published transformers start each block's contribution at 1e-5. A miniature trains for some epochs only
# and would remain a linear map of single patches.
LAYER_SCALE = 1.0


def patch_maps(vit: "nn.Module", images: "Tensor") -> "list[Tensor]":
    """Images [B, bands, H, W] -> of every block a map [B, dim, H / patch, W / patch], without prefix tokens.

    Every map has passed the transformer's final normalisation, as in the published linear heads that read
    several blocks; the last is what timm's own ``forward_features`` gives for the patches.
    """
    maps = vit.forward_intermediates(images, norm=True, intermediates_only=True)  # type: ignore[operator]
    return cast("list[Tensor]", maps)  # as timm gives it with these arguments


def published(bands: Sequence[str], name: str, **arguments: Any) -> "nn.Module":
    """timm's transformer of that name for so many bands, at any image size, without a classifier."""
    import timm

    from wusu_lib.models.weights import TappedEncoder

    vit: Any = timm.create_model(
        name, pretrained=False, num_classes=0, in_chans=len(bands), dynamic_img_size=True, **arguments
    )
    return TappedEncoder(vit, patch_maps, [vit.embed_dim] * len(vit.blocks))


def miniature(bands: Sequence[str], name: str, **size: int) -> "nn.Module":
    """timm's transformer of that name in another size (``MINIATURE``)."""
    from wusu_lib.models.weights import unfused

    maps = published(bands, name, init_values=LAYER_SCALE, **size)
    unfused(maps)
    return maps


def _size(patch: int, dim: int, depth: int, taps: tuple[int, int, int, int], skip: int, name: str) -> Encoder:
    return Encoder(published, patch, dim, depth, taps, skip, {"name": name})


def _small(patch: int, name: str) -> Encoder:
    return Encoder(miniature, patch, 96, 4, (0, 1, 2, 3), skip=1, arguments={"name": name, **MINIATURE})


def _entry(title: str, weights: str, statistics: Statistics, **more: Any) -> BackboneSpec:
    """An entry whose weights are timm's of that name; ``statistics``: R, G, B: mean, standard deviation."""
    return BackboneSpec(
        title=title,
        output="maps",
        bands=RGB_NIR,
        order=RGB_NIR_ORDER,
        mean=with_nir(statistics[0]),
        std=with_nir(statistics[1]),
        hub=(f"timm/{weights}", "model.safetensors"),
        filters="patch_embed.proj.weight",
        left_out=("mask_token", "head."),
        packages=("timm",),
        **more,
    )


def _dinov3(title: str, weights: str, full: Encoder) -> BackboneSpec:
    return _entry(
        title,
        weights,
        SATELLITE,
        prefix_tokens=5,
        full=full,
        demo=_small(16, "vit_large_patch16_dinov3"),
        miniature="dinov3",
        skip_resized=True,  # as the study has it in experiment 6
    )


LARGE, HUGE = "vit_large_patch16_dinov3.sat493m", "vit_7b_patch16_dinov3.sat493m"
SMALL = "vit_small_patch14_dinov2.lvd142m"
BACKBONES = {
    "dinov3_sat_large": _dinov3(
        "DINOv3 ViT-L, satellite", LARGE, _size(16, 1024, 24, (5, 11, 17, 23), skip=9, name=LARGE)
    ),
    "dinov3_sat_7b": _dinov3(
        "DINOv3 7B, satellite", HUGE, _size(16, 4096, 40, (9, 19, 29, 39), skip=16, name=HUGE)
    ),
    "dinov2_small": _entry(
        "DINOv2 ViT-S",
        SMALL,
        IMAGENET,
        prefix_tokens=1,
        full=_size(14, 384, 12, (2, 5, 8, 11), skip=4, name=SMALL),
        demo=_small(14, "vit_small_patch14_dinov2"),
        miniature="dinov2",
    ),
}
