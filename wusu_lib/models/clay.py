"""Clay, v1 base and v1.5 large: entries, encoders, what their checkpoints hold. Cheap to import.

Patch 8, a CLS token, any bands by their wavelengths; of the sensors that it was trained on NAIP is nearest
(1 m, 8 bit). TerraTorch's builder of v1 looks wavelengths up by band name (an unknown name is given 0.0
without a word) and has one fixed, square grid; its v1.5 gives the last block only. Both versions have the
same encoder, at different sizes: what is read here is TerraTorch's, with wavelengths of its own and any grid.
Positions are sine and cosine of patch number times the ground sampling distance.
"""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from wusu_lib.models.spec import BackboneSpec, Encoder

if TYPE_CHECKING:
    from torch import Tensor, nn

# Centres of GF-2's bands, micrometres.
WAVELENGTHS = {"BLUE": 0.485, "GREEN": 0.555, "RED": 0.66, "NIR": 0.83}
MEAN = (98.15 / 255, 115.41 / 255, 110.16 / 255, 139.04 / 255)  # NAIP's, B, G, R, NIR
STD = (35.43 / 255, 39.82 / 255, 47.23 / 255, 49.86 / 255)
GSD = 1.0  # metres a pixel
PATCH = 8
METADATA = 8  # of a token's numbers: sine and cosine of week, hour, latitude, longitude; 0 where not known
FILTER_SCALE = 0.02  # of the generated filters, Clay's own


def tokens(encoder: Any, images: "Tensor", waves: Sequence[float]) -> "list[Tensor]":
    """Images [B, bands, H, W] -> of every block tokens [B, 1 + h*w, dim], h = H / 8; the last normalised.

    ``encoder`` is TerraTorch's ``EmbeddingEncoder``, ``waves`` each band's wavelength in micrometres. Time
    and place are not given to the model (zeros, as in a part of its pre-training).
    """
    import torch

    rows, columns = images.shape[-2] // PATCH, images.shape[-1] // PATCH
    placed = positions(rows, columns, encoder.dim).to(images.device)
    patches = embed(encoder, images, waves) + placed
    prefix = encoder.cls_token.expand(len(images), -1, -1)
    found: list[Tensor] = encoder.transformer(torch.cat((prefix, patches), dim=1))
    return found


def embed(encoder: Any, images: "Tensor", waves: Sequence[float]) -> "Tensor":
    """Patches as tokens [B, h*w, dim], by filters that are generated from the bands' wavelengths.

    As Clay's own ``DynamicEmbedding``, but for the convolution (see ``embeddings``).
    """
    import torch

    from wusu_lib.models.arithmetic import linear_patches
    from wusu_lib.models.terratorch_parts import posemb_sincos_1d

    generator = encoder.patch_embedding
    bands = torch.tensor(waves, device=images.device)
    encoded = generator.fclayer(posemb_sincos_1d(bands, generator.wave_dim))
    weight, bias = generator.weight_generator(encoded)  # [bands, dim * patch * patch], [dim]
    filters = weight.unflatten(1, (encoder.dim, PATCH, PATCH)).transpose(0, 1)  # [dim, bands, patch, patch]
    return linear_patches(images, filters * FILTER_SCALE, bias).flatten(2).transpose(1, 2)


def positions(rows: int, columns: int, dim: int) -> "Tensor":
    """Position encoding [rows * columns, dim], row by row, with zeros for time and place."""
    from torch.nn import functional as F

    from wusu_lib.models.terratorch_parts import posemb_sincos_2d_with_gsd

    encoded: Tensor = posemb_sincos_2d_with_gsd(h=rows, w=columns, dim=dim - METADATA, gsd=GSD)
    return F.pad(encoded, (0, METADATA))


def wavelengths(bands: Sequence[str]) -> list[float]:
    """Centre wavelength of each band in micrometres; ValueError naming the known bands for another name."""
    unknown = [band for band in bands if band not in WAVELENGTHS]
    if unknown:
        raise ValueError(f"bands: got {unknown}; wavelengths are known of {', '.join(WAVELENGTHS)}")
    return [WAVELENGTHS[band] for band in bands]


def encoder(bands: Sequence[str], dim: int, depth: int, heads: int) -> "nn.Module":
    """Clay's encoder of that size, at full scale (heads of width 64) as small as the miniature's."""
    from wusu_lib.models.terratorch_parts import EmbeddingEncoder
    from wusu_lib.models.weights import TappedEncoder

    waves = wavelengths(bands)
    with warnings.catch_warnings():
        # torch's remark that a layer of the filter generator could be faster if it read nested tensors
        warnings.filterwarnings("ignore", "enable_nested_tensor is True")
        inner = EmbeddingEncoder(
            img_size=PATCH,  # not used: the grid follows from the image
            patch_size=PATCH,
            dim=dim,
            depth=depth,
            heads=heads,
            dim_head=dim // heads,
            mlp_ratio=4.0,
        )
    return TappedEncoder(inner, partial(tokens, waves=waves), [dim] * depth)


def _size(dim: int, depth: int, heads: int, taps: tuple[int, int, int, int], skip: int) -> Encoder:
    return Encoder(encoder, PATCH, dim, depth, taps, skip, {"dim": dim, "depth": depth, "heads": heads})


def _entry(title: str, hub: tuple[str, str], full: Encoder) -> BackboneSpec:
    return BackboneSpec(
        title=title,
        output="tokens",
        bands=tuple(WAVELENGTHS),
        order=(0, 1, 2, 3),
        prefix_tokens=1,
        mean=MEAN,
        std=STD,
        hub=hub,
        full=full,
        demo=_size(96, 4, 2, taps=(0, 1, 2, 3), skip=0),
        miniature="clay",
        left_out=("decoder", "mask_token"),
    )


BACKBONES = {
    "clay": _entry(
        "Clay v1 base",
        hub=("made-with-clay/Clay-legacy", "v1/clay-v1-base.ckpt"),
        full=_size(768, 12, 12, taps=(2, 5, 8, 11), skip=2),
    ),
    "clay_v15": _entry(
        "Clay v1.5 large",
        hub=("made-with-clay/Clay", "v1.5/clay-v1.5.ckpt"),
        full=_size(1024, 24, 16, taps=(5, 11, 17, 23), skip=5),
    ),
}
