"""The backbones by name, from the file of each family. Cheap to import."""

from wusu_lib.models import clay, dino, prithvi, resnet
from wusu_lib.models.spec import BackboneSpec

# A new family is a file with a table like theirs, and a name in this line.
BACKBONES: dict[str, BackboneSpec] = prithvi.BACKBONES | dino.BACKBONES | clay.BACKBONES | resnet.BACKBONES


def find(backbone: str) -> BackboneSpec:
    """The entry of a backbone; ValueError naming the known ones if there is none."""
    if backbone not in BACKBONES:
        raise ValueError(f"backbone: got {backbone!r}; known: {', '.join(BACKBONES)}")
    return BACKBONES[backbone]


def expected_statistics(backbone: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean [4] and standard deviation [4] that the published weights expect, 0-1 scale, bands B, G, R, NIR.

    Prithvi: of HLS reflectance (0 to 1), taken over as if counts / 255 were reflectance. DINOv2, DINOv3,
    ResNet: NIR's are the means of those of R, G, B. Clay: NAIP's. Raises ValueError for an unknown name.
    """
    spec = find(backbone)
    return spec.mean, spec.std
