"""ResNet (arXiv 1512.03385), the baseline that is no foundation model: entry, encoders. Cheap to import."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wusu_lib.models.spec import IMAGENET, RGB_NIR, RGB_NIR_ORDER, BackboneSpec, Encoder, with_nir

if TYPE_CHECKING:
    from torch import Tensor, nn

NARROW = (32, 64, 128, 256)  # channels of the miniature's stages


def stages(network: "nn.Module", images: "Tensor") -> "list[Tensor]":
    """Images [B, bands, H, W] -> maps [B, C, H / s, W / s] of the stages, s = 4, 8, 16, 32.

    ``network`` has the parts of torchvision's ResNet by their names there.
    """
    from torch.nn import functional as F

    part = network.get_submodule
    x = part("maxpool")(F.relu(part("bn1")(part("conv1")(images))))  # [B, C, H / 4, W / 4]
    maps = []
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        x = part(stage)(x)
        maps.append(x)
    return maps


def published(bands: Sequence[str]) -> "nn.Module":
    """smp's ResNet-50: stages of 256, 512, 1024 and 2048 channels."""
    from segmentation_models_pytorch.encoders import get_encoder

    from wusu_lib.models.weights import TappedEncoder

    encoder = get_encoder("resnet50", in_channels=len(bands), depth=5, weights=None)
    return TappedEncoder(encoder, stages, encoder.out_channels[2:])


def miniature(bands: Sequence[str]) -> "nn.Module":
    """timm's ResNet with one basic block a stage, 32 to 256 channels."""
    from timm.models.resnet import BasicBlock, ResNet

    from wusu_lib.models.weights import TappedEncoder

    network = ResNet(
        BasicBlock,  # type: ignore[arg-type]  # timm's annotation asks for an instance
        layers=(1, 1, 1, 1),
        channels=NARROW,
        in_chans=len(bands),
        num_classes=0,
        global_pool="",
    )
    return TappedEncoder(network, stages, NARROW)


BACKBONES = {
    "resnet50": BackboneSpec(
        title="ResNet-50",
        output="pyramid",
        bands=RGB_NIR,
        order=RGB_NIR_ORDER,
        prefix_tokens=0,
        mean=with_nir(IMAGENET[0]),
        std=with_nir(IMAGENET[1]),
        hub=("smp-hub/resnet50.imagenet", "model.safetensors"),
        full=Encoder(published, 32, 2048, 4, (0, 1, 2, 3), skip=0),
        demo=Encoder(miniature, 32, 256, 4, (0, 1, 2, 3), skip=0),
        miniature="resnet",
        filters="conv1.weight",
        left_out=("fc.",),
        packages=("segmentation-models-pytorch", "timm"),
    ),
}
