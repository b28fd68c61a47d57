"""Prithvi-EO-2.0 (arXiv 2412.02732): entries, encoders, what its checkpoints hold. Cheap to import.

300M has 24 blocks of width 1024 and patch 16, 600M has 32 blocks of width 1280 and patch 14; both a CLS token
and bands given by name. Their statistics are reflectance x 10^4 of HLS; on the 0-1 scale of an 8-bit image
they are nominal only, since WUSU holds counts, not reflectance. The fixed sine-cosine tables of positions are
interpolated to the grid at hand.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wusu_lib.models.spec import MINIATURE, BackboneSpec, Encoder

if TYPE_CHECKING:
    from torch import nn

# Any other name for NIR silently gets a random filter.
BANDS = ("BLUE", "GREEN", "RED", "NIR_NARROW")
STORED = (*BANDS, "SWIR_1", "SWIR_2")  # bands of the published checkpoints
MEAN = (0.1087, 0.1342, 0.1433, 0.2734)
STD = (0.2248, 0.2179, 0.2178, 0.1850)
PRETRAINING_SIZE = 224  # px


def published(bands: Sequence[str], name: str) -> "nn.Module":
    """TerraTorch's own encoder of that name."""
    from wusu_lib.models.terratorch_parts import BACKBONE_REGISTRY

    vit: nn.Module = BACKBONE_REGISTRY.build(name, bands=list(bands), pretrained=False, num_frames=1)
    # TerraTorch puts a closure over this very object in its place, which a deep copy or a pickle would go on
    # calling or fail on.
    vit.forward = vit.forward_features  # type: ignore[assignment]
    return vit


def miniature(bands: Sequence[str], patch: int, **size: int) -> "nn.Module":
    """TerraTorch's class in another size (``MINIATURE``)."""
    from wusu_lib.models.terratorch_parts import HLSBands, PrithviViT
    from wusu_lib.models.weights import unfused

    vit = PrithviViT(
        img_size=PRETRAINING_SIZE,
        patch_size=(1, patch, patch),
        num_frames=1,
        in_chans=len(bands),
        **size,
    )
    unfused(vit.blocks)
    vit.model_bands = [HLSBands(band) for band in bands]
    vit.forward = vit.forward_features
    return vit


def _entry(
    title: str, size: str, patch: int, dim: int, depth: int, taps: tuple[int, int, int, int]
) -> BackboneSpec:
    """The entry of one size, "300M" or "600M"."""
    name = f"prithvi_eo_v2_{size.removesuffix('M')}"
    return BackboneSpec(
        title=title,
        output="tokens",
        bands=BANDS,
        order=(0, 1, 2, 3),
        prefix_tokens=1,
        mean=MEAN,
        std=STD,
        hub=(f"ibm-nasa-geospatial/Prithvi-EO-2.0-{size}", f"Prithvi_EO_V2_{size}.pt"),
        full=Encoder(published, patch, dim, depth, taps, skip=taps[0], arguments={"name": name}),
        demo=Encoder(miniature, patch, 96, 4, (0, 1, 2, 3), skip=0, arguments={"patch": patch, **MINIATURE}),
        miniature=f"prithvi_{size.lower()}",
        filters="patch_embed.proj.weight",
        stored_bands=STORED,
        fixed="pos_embed",
        left_out=("decoder", "mask_token"),
        packages=("torchgeo",),  # TerraTorch's Prithvi takes parts of it
    )


BACKBONES = {
    "prithvi_300m": _entry("Prithvi-EO-2.0 300M", "300M", 16, 1024, 24, taps=(5, 11, 17, 23)),
    "prithvi_600m": _entry("Prithvi-EO-2.0 600M", "600M", 14, 1280, 32, taps=(7, 15, 23, 31)),
}
