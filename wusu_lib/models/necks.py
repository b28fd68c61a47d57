"""Necks that TerraTorch lacks, in its neck registry. Imports TerraTorch: loaded only where a model is built.

A neck takes and gives a list of maps [B, C, H, W]; ``process_channel_list`` gives the channels of its output.
"""

from typing import Literal

from torch import Tensor, nn

from wusu_lib.models.terratorch_parts import TERRATORCH_NECK_REGISTRY, LearnedInterpolateToPyramidal, Neck


@TERRATORCH_NECK_REGISTRY.register
class TokensToMaps(Neck):
    """Token sequences [B, prefix + h*w, C] to maps [B, C, h, w], without the prefix tokens.

    TerraTorch's ReshapeTokensToImage guesses a square grid whenever the number of tokens is a square (a 4 x
    16 grid becomes 8 x 8, scrambled) and knows one prefix token only. Here the grid follows from the image's
    size. The maps lie in memory as written: as a view of the tokens they would have the channels last, and
    cuDNN refuses the atrous depthwise convolutions of DeepLabV3+ on such maps in bfloat16.
    """

    def __init__(self, channel_list: list[int], patch: int, prefix_tokens: int) -> None:
        super().__init__(channel_list)
        self.patch = patch
        self.prefix_tokens = prefix_tokens

    def forward(self, features: list[Tensor], image_size: tuple[int, int]) -> list[Tensor]:
        grid = (image_size[0] // self.patch, image_size[1] // self.patch)
        maps = [x[:, self.prefix_tokens :].transpose(1, 2).unflatten(2, grid) for x in features]
        return [each.contiguous() for each in maps]

    def process_channel_list(self, channel_list: list[int]) -> list[int]:
        return channel_list


@TERRATORCH_NECK_REGISTRY.register
class ProjectChannels(Neck):
    """A 1 x 1 convolution for each map, to the given channels."""

    def __init__(self, channel_list: list[int], channels: list[int]) -> None:
        super().__init__(channel_list)
        self.channels = channels
        self.projections = nn.ModuleList(
            nn.Conv2d(have, want, kernel_size=1) for have, want in zip(channel_list, channels, strict=True)
        )

    def forward(self, features: list[Tensor], **_: object) -> list[Tensor]:
        return [project(x) for project, x in zip(self.projections, features, strict=True)]

    def process_channel_list(self, channel_list: list[int]) -> list[int]:
        return list(self.channels)


def _bilinear(factor: int) -> nn.Upsample:
    return nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False)


@TERRATORCH_NECK_REGISTRY.register
class SkipAndContext(Neck):
    """Two maps to the five that smp's DeepLabV3Plus expects: [skip, skip, skip, context, context].

    The decoder reads the third map as its skip, at four times the resolution of the last, which its atrous
    pyramid reads. It projects the skip to 48 channels itself. ``enlarge`` says how the two come to differ
    fourfold:

    - "learn": the skip by the first branch of TerraTorch's LearnedInterpolateToPyramidal (two transposed
      convolutions), which unlike interpolation can tell apart what lies inside one patch. Its other branches
      would never be read.
    - "resize": the skip by bilinear interpolation.
    - "context": the maps come with eight times between them (strides 4 and 32): the context is doubled.
    """

    def __init__(self, channel_list: list[int], enlarge: Literal["learn", "resize", "context"]) -> None:
        super().__init__(channel_list)
        skip, self.context_channels = channel_list
        learnt = enlarge == "learn"
        self.skip_channels = skip // 4 if learnt else skip
        self.skip_path: nn.Module = nn.Identity()
        self.context_path: nn.Module = nn.Identity()
        if enlarge == "context":
            self.context_path = _bilinear(2)
        else:
            self.skip_path = LearnedInterpolateToPyramidal([skip] * 4).fpn1 if learnt else _bilinear(4)

    def forward(self, features: list[Tensor], **_: object) -> list[Tensor]:
        skip, context = self.skip_path(features[0]), self.context_path(features[1])
        return [skip, skip, skip, context, context]

    def process_channel_list(self, channel_list: list[int]) -> list[int]:
        return [self.skip_channels] * 3 + [self.context_channels] * 2


@TERRATORCH_NECK_REGISTRY.register
class LeadWithSize(Neck):
    """Puts a map of zeros [B, 1, 4h, 4w] before the maps, the first of which is [B, C, h, w].

    smp's Segformer decoder makes all maps a quarter of the first one's size and reads nothing else of it.
    The zeros take no memory.
    """

    def forward(self, features: list[Tensor], **_: object) -> list[Tensor]:
        batch, _channels, height, width = features[0].shape
        size = features[0].new_zeros(1).expand(batch, 1, 4 * height, 4 * width)
        return [size, *features]

    def process_channel_list(self, channel_list: list[int]) -> list[int]:
        return [1, *channel_list]


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch normalisation that accepts one value a channel: it then uses the running statistics.

    The image-level branch of an atrous pyramid normalises maps of 1 x 1 px; ordinary batch normalisation
    refuses to train on a batch of one image there, which is what the last, incomplete batch of an epoch can
    be.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.numel() > input.shape[1]:
            return super().forward(input)
        return nn.functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


def accept_single_images(decoder: nn.Module) -> None:
    """Put ``PooledBatchNorm`` in place of batch normalisation behind every average pooling of a decoder."""
    for module in decoder.modules():
        pooled = isinstance(module, nn.Sequential) and any(
            isinstance(m, nn.AdaptiveAvgPool2d) for m in module
        )
        for parent in list(module.modules()) if pooled else []:
            for name, child in parent.named_children():
                if type(child) is nn.BatchNorm2d:
                    replacement = PooledBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
                    setattr(parent, name, replacement)
