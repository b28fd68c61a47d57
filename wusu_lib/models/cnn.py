"""The baseline that is no foundation model: a ResNet's four stages, in TerraTorch's backbone registry."""

from collections.abc import Sequence

from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn
from torch.nn import functional as F

from wusu_lib.models.terratorch_parts import TERRATORCH_BACKBONE_REGISTRY


class Stages(nn.Module):
    """Images [B, bands, H, W] -> maps [B, C, H / s, W / s] of the stages, s = 4, 8, 16, 32.

    ``network`` has the parts of torchvision's ResNet by their names there.
    """

    def __init__(self, network: nn.Module, channels: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.out_channels = list(channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        part = self.network.get_submodule
        x = part("maxpool")(F.relu(part("bn1")(part("conv1")(images))))  # [B, C, H / 4, W / 4]
        maps = []
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            x = part(stage)(x)
            maps.append(x)
        return maps


@TERRATORCH_BACKBONE_REGISTRY.register
def resnet50_stages(bands: Sequence[str], pretrained: bool = False) -> Stages:
    """smp's ResNet-50: stages of 256, 512, 1024 and 2048 channels."""
    encoder = get_encoder("resnet50", in_channels=len(bands), depth=5, weights=None)
    return Stages(encoder, encoder.out_channels[2:])
