"""The backbones by name: what each wants (bands, patch, prefix tokens), which blocks are tapped. Cheap.

A backbone is one entry of ``BACKBONES``. Its two scales hold the TerraTorch registry name and the arguments
that build the encoder: "full" is the published model, "demo" a miniature of the same family (see
``miniatures``).

Figures: Prithvi-EO-2.0 (arXiv 2412.02732): 300M has 24 blocks of width 1024 and patch 16, 600M has 32 blocks
of width 1280 and patch 14; both a CLS token and bands given by name. Their statistics are reflectance x 10^4
of HLS; on the 0-1 scale of an 8-bit image they are nominal only, since WUSU holds counts, not reflectance.

Position embeddings of Prithvi are fixed sine-cosine tables of its pre-training grid (14 x 14 or 16 x 16
patches of a 224 px image), interpolated to the grid at hand. The alternative, fresh tables for each image
size (``img_size=512``), would show a pre-trained encoder positions beyond those it was trained on and tie a
stored model to one image size. So the image size is never passed on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Scale = Literal["demo", "full"]
SCALES: tuple[str, ...] = get_args(Scale)
DATA_BANDS = ("BLUE", "GREEN", "RED", "NIR")  # order of the bands in memory, everywhere


@dataclass(frozen=True)
class Encoder:
    """One size of a backbone.

    ``registry`` is its name in TerraTorch's backbone registry, ``arguments`` go to that builder. ``patch`` is
    the side of a patch in px, ``dim`` the width of a token, ``taps`` the four blocks (from 0) at the quarter
    points that decoders read.
    """

    registry: str
    patch: int
    dim: int
    taps: tuple[int, int, int, int]
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BackboneSpec:
    """A family of encoders that share an interface.

    ``bands`` are the names handed to the builder, in the order that the encoder wants; ``order`` picks them
    from ``DATA_BANDS``. ``prefix_tokens`` stand before the patch tokens. ``mean`` and ``std`` are what the
    published weights expect of an input on the 0-1 scale, in the order of ``DATA_BANDS``.
    """

    title: str
    bands: tuple[str, ...]
    order: tuple[int, ...]
    prefix_tokens: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    full: Encoder
    demo: Encoder

    def encoder(self, scale: Scale) -> Encoder:
        """The encoder of one scale."""
        return self.full if scale == "full" else self.demo


_PRITHVI_BANDS = (
    "BLUE",
    "GREEN",
    "RED",
    "NIR_NARROW",
)  # any other name for NIR silently gets a random filter
_PRITHVI_MEAN = (0.1087, 0.1342, 0.1433, 0.2734)
_PRITHVI_STD = (0.2248, 0.2179, 0.2178, 0.1850)


def _prithvi(title: str, full: Encoder, demo: Encoder) -> BackboneSpec:
    return BackboneSpec(
        title=title,
        bands=_PRITHVI_BANDS,
        order=(0, 1, 2, 3),
        prefix_tokens=1,
        mean=_PRITHVI_MEAN,
        std=_PRITHVI_STD,
        full=full,
        demo=demo,
    )


BACKBONES: dict[str, BackboneSpec] = {
    "prithvi_300m": _prithvi(
        "Prithvi-EO-2.0 300M",
        full=Encoder(
            "prithvi_eo_v2_300", patch=16, dim=1024, taps=(5, 11, 17, 23), arguments={"num_frames": 1}
        ),
        demo=Encoder("prithvi_300m_miniature", patch=16, dim=96, taps=(0, 1, 2, 3)),
    ),
    "prithvi_600m": _prithvi(
        "Prithvi-EO-2.0 600M",
        full=Encoder(
            "prithvi_eo_v2_600", patch=14, dim=1280, taps=(7, 15, 23, 31), arguments={"num_frames": 1}
        ),
        demo=Encoder("prithvi_600m_miniature", patch=14, dim=96, taps=(0, 1, 2, 3)),
    ),
}


def expected_statistics(backbone: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean [4] and standard deviation [4] that the published weights expect, 0-1 scale, bands B, G, R, NIR.

    Prithvi: of HLS reflectance (0 to 1), taken over as if counts / 255 were reflectance. Raises ValueError
    for an unknown name.
    """
    spec = find(backbone)
    return spec.mean, spec.std


def find(backbone: str) -> BackboneSpec:
    """The entry of a backbone; ValueError naming the known ones if there is none."""
    if backbone not in BACKBONES:
        raise ValueError(f"backbone: got {backbone!r}; known: {', '.join(BACKBONES)}")
    return BACKBONES[backbone]


def check_scale(scale: str) -> None:
    """Raise ValueError unless ``scale`` is "demo" or "full"."""
    if scale not in SCALES:
        raise ValueError(f"scale: got {scale!r}; allowed: {', '.join(SCALES)}")
