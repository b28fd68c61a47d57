"""Clay, v1 base and v1.5 large, in TerraTorch's backbone registry: bands by wavelength. Imports TerraTorch.

TerraTorch's builder of v1 looks wavelengths up by band name (an unknown name is given 0.0 without a word) and
has one fixed, square grid; its v1.5 gives the last block only. Both versions have the same encoder, at
different sizes: what is built here is TerraTorch's, with wavelengths of its own and any grid.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from wusu_lib.models.embeddings import linear_patches
from wusu_lib.models.terratorch_parts import (
    TERRATORCH_BACKBONE_REGISTRY,
    EmbeddingEncoder,
    posemb_sincos_1d,
    posemb_sincos_2d_with_gsd,
)

WAVELENGTHS = {
    "BLUE": 0.485,
    "GREEN": 0.555,
    "RED": 0.66,
    "NIR": 0.83,
}  # centres of GF-2's bands, micrometres
GSD = 1.0  # metres a pixel
PATCH = 8
METADATA = 8  # of a token's numbers: sine and cosine of week, hour, latitude, longitude; 0 where not known
FILTER_SCALE = 0.02  # of the generated filters, Clay's own
HEAD = 64  # width of an attention head at full size


class ClayTokens(EmbeddingEncoder):
    """Images [B, bands, H, W] -> of every block tokens [B, 1 + h*w, dim], h = H / 8; the last normalised.

    Time and place are not given to the model (zeros, as in a part of its pre-training). Positions are sine
    and cosine of patch number times ``GSD``, whatever the grid.
    """

    waves: Tensor

    def __init__(self, bands: Sequence[str], dim: int, depth: int, heads: int) -> None:
        with warnings.catch_warnings():
            # torch's remark that a layer of the filter generator could be faster if it read nested tensors
            warnings.filterwarnings("ignore", "enable_nested_tensor is True")
            super().__init__(
                img_size=PATCH,  # not used: the grid follows from the image
                patch_size=PATCH,
                dim=dim,
                depth=depth,
                heads=heads,
                dim_head=dim // heads,
                mlp_ratio=4.0,
            )
        self.register_buffer("waves", torch.tensor(wavelengths(bands)), persistent=False)
        self.out_channels = [dim] * depth

    def forward(self, images: Tensor) -> list[Tensor]:
        patches = self._embed(images) + self._positions(images.shape[-2] // PATCH, images.shape[-1] // PATCH)
        prefix = self.cls_token.expand(len(images), -1, -1)
        return self.transformer(torch.cat((prefix, patches), dim=1))

    def _embed(self, images: Tensor) -> Tensor:
        """Patches as tokens [B, h*w, dim], by filters that are generated from the bands' wavelengths.

        As Clay's own ``DynamicEmbedding``, but for the convolution (see ``embeddings``).
        """
        generator = self.patch_embedding
        waves = generator.fclayer(posemb_sincos_1d(self.waves, generator.wave_dim))
        weight, bias = generator.weight_generator(waves)  # [bands, dim * patch * patch], [dim]
        filters = weight.unflatten(1, (self.dim, PATCH, PATCH)).transpose(0, 1)  # [dim, bands, patch, patch]
        return linear_patches(images, filters * FILTER_SCALE, bias).flatten(2).transpose(1, 2)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Position encoding [rows * columns, dim], row by row, with zeros for time and place."""
        encoded = posemb_sincos_2d_with_gsd(h=rows, w=columns, dim=self.dim - METADATA, gsd=GSD)
        return torch.nn.functional.pad(encoded.to(self.waves.device), (0, METADATA))


def wavelengths(bands: Sequence[str]) -> list[float]:
    """Centre wavelength of each band in micrometres; ValueError naming the known bands for another name."""
    unknown = [band for band in bands if band not in WAVELENGTHS]
    if unknown:
        raise ValueError(f"bands: got {unknown}; wavelengths are known of {', '.join(WAVELENGTHS)}")
    return [WAVELENGTHS[band] for band in bands]


@TERRATORCH_BACKBONE_REGISTRY.register
def clay_base(bands: Sequence[str], pretrained: bool = False) -> ClayTokens:
    """Clay v1 base: 12 blocks of width 768."""
    return ClayTokens(bands, dim=768, depth=12, heads=768 // HEAD)


@TERRATORCH_BACKBONE_REGISTRY.register
def clay_large(bands: Sequence[str], pretrained: bool = False) -> ClayTokens:
    """Clay v1.5 large: 24 blocks of width 1024."""
    return ClayTokens(bands, dim=1024, depth=24, heads=1024 // HEAD)
