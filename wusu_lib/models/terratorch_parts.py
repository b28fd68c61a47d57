"""All that is taken from TerraTorch, imported in one place; the other modules import it from here.

Importing TerraTorch changes torch for the whole process: its Clay 1.5 sets the precision of float32 products
to "medium", after which processors with bfloat16 units, and GPUs, no longer compute them in float32. So the
import stands in a block that puts the precision back. And no maker of a library is called: lightly (below
TerraTorch) asks its own for the latest version at each import, others count their users.
"""

import os

from wusu_lib.models.arithmetic import float32_kept

for _name in (
    "LIGHTLY_DID_VERSION_CHECK",
    "HF_HUB_DISABLE_TELEMETRY",
    "NO_ALBUMENTATIONS_UPDATE",
    "DO_NOT_TRACK",
):
    os.environ.setdefault(_name, "True" if _name.startswith("LIGHTLY") else "1")

with float32_kept():
    import terratorch  # noqa: F401 (fills the registries)
    from terratorch.datasets import HLSBands
    from terratorch.models.backbones.clay_v1.modules import EmbeddingEncoder
    from terratorch.models.backbones.clay_v1.utils import posemb_sincos_1d, posemb_sincos_2d_with_gsd
    from terratorch.models.backbones.prithvi_mae import PrithviViT
    from terratorch.models.necks import LearnedInterpolateToPyramidal, Neck
    from terratorch.registry import (
        BACKBONE_REGISTRY,
        DECODER_REGISTRY,
        MODEL_FACTORY_REGISTRY,
        TERRATORCH_BACKBONE_REGISTRY,
        TERRATORCH_NECK_REGISTRY,
    )
    from terratorch.registry.registry import Registry

__all__ = [
    "BACKBONE_REGISTRY",
    "DECODER_REGISTRY",
    "MODEL_FACTORY_REGISTRY",
    "TERRATORCH_BACKBONE_REGISTRY",
    "TERRATORCH_NECK_REGISTRY",
    "EmbeddingEncoder",
    "HLSBands",
    "LearnedInterpolateToPyramidal",
    "Neck",
    "PrithviViT",
    "Registry",
    "posemb_sincos_1d",
    "posemb_sincos_2d_with_gsd",
]
