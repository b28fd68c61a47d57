"""Other libraries' networks as encoders that give every block or stage. Imports torch."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

Reading = Callable[[nn.Module, Tensor], list[Tensor]]


class TappedEncoder(nn.Module):
    """Another library's network, ``inner``, with the family's way of reading it.

    ``read(inner, images)``: images [B, bands, H, W] -> what ``BackboneSpec.output`` says, of every block or
    stage; a function of a module, so that a copy or a pickle reads its own weights. ``channels``: of each.
    """

    def __init__(self, inner: nn.Module, read: Reading, channels: Sequence[int]) -> None:
        super().__init__()
        self.inner = inner
        self.read = read
        self.out_channels = list(channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.read(self.inner, images)


def unfused(blocks: nn.Module) -> None:
    """For sequences as short as the miniatures' the fused attention kernel is slower on a CPU (bf16)."""
    for module in blocks.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]


def encoder_name(encoder: nn.Module) -> str:
    """Class of an encoder, by the library that it comes from."""
    return type(encoder.inner if isinstance(encoder, TappedEncoder) else encoder).__name__
