"""Builds an encoder through TerraTorch's backbone registry and fills it. Imports TerraTorch."""

from torch import nn

from wusu_lib.models import clay, cnn, miniatures, vision  # noqa: F401 (register their encoders)
from wusu_lib.models.backbones import Bands, Scale
from wusu_lib.models.catalogue import find
from wusu_lib.models.embeddings import embed_linearly
from wusu_lib.models.loading import load_checkpoint
from wusu_lib.models.terratorch_parts import BACKBONE_REGISTRY
from wusu_lib.models.weights import check_weights, checkpoint_path, hub_file


def build_encoder(backbone: str, scale: Scale, weights: str, bands: Bands = "all") -> nn.Module:
    """The encoder of a backbone with its weights; random ones are drawn from torch's global generator.

    Its forward takes images [B, bands, H, W] (those of ``BackboneSpec.reads``, in that order) and gives what
    ``BackboneSpec.output`` says. Raises ValueError and FileNotFoundError as ``check_weights`` does, and
    ValueError where a checkpoint does not match.
    """
    check_weights(weights, backbone, scale)
    spec = find(backbone)
    file = hub_file(*spec.hub) if weights == "pretrained" else None  # asked first: it fails at once
    encoder = spec.encoder(scale)
    names = list(spec.reads(bands)[0])
    built = BACKBONE_REGISTRY.build(encoder.registry, bands=names, pretrained=False, **encoder.arguments)
    embed_linearly(built)
    if spec.family == "prithvi":
        # TerraTorch puts a closure over this very object in its place, which a deep copy or a pickle would go
        # on calling or fail on.
        built.forward = built.forward_features
    if weights not in ("pretrained", "random"):
        file = checkpoint_path(weights, backbone)
    if file is not None:
        load_checkpoint(built, spec, bands, file)
    return built
