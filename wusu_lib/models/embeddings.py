"""Patch embeddings as what they are: a reshape and one linear layer. Imports torch.

A convolution whose kernel is its stride reads each pixel once, so it is the linear layer of the flattened
patches. Written as a convolution it is at the mercy of the convolution's kernels: on processors with AMX,
PyTorch 2.14.1 (oneDNN 3.12) computes it wrongly in bfloat16 with 4 or 6 channels and patches of 16 or 32 px,
without a word (``book/protocol.md`` tells the smallest case).
"""

import math

from torch import Tensor, nn
from torch.nn import functional as F


def linear_patches(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of images [B, C, *sizes] with filters [D, C, *kernel] at a stride of one kernel.

    Gives [B, D, *grid], grid = sizes // kernel; what is left over at the end of a side is not read, as by a
    convolution. ``bias`` is [D].
    """
    kernel = weight.shape[2:]
    grid = [size // side for size, side in zip(images.shape[2:], kernel, strict=True)]
    for axis, (n, side) in enumerate(zip(grid, kernel, strict=True), start=2):
        images = images.narrow(axis, 0, n * side)
    sides = [n for pair in zip(grid, kernel, strict=True) for n in pair]  # cells, side, cells, side, ...
    patches = images.reshape(*images.shape[:2], *sides)
    cells = range(2, patches.ndim, 2)
    patches = patches.permute(0, *cells, 1, *(axis + 1 for axis in cells))  # [B, *grid, C, *kernel]
    rows = patches.flatten(start_dim=1 + len(grid))  # [B, *grid, C * prod(kernel)]
    return F.linear(rows, weight.flatten(start_dim=1), bias).movedim(-1, 1)


class _LinearPatches:
    """A convolution's parameters and names, computed by ``linear_patches``. Argument names are torch's."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return linear_patches(input, weight, bias)


class PatchConv2d(_LinearPatches, nn.Conv2d):
    """A ``Conv2d`` whose kernel is its stride."""


class PatchConv3d(_LinearPatches, nn.Conv3d):
    """A ``Conv3d`` whose kernel is its stride."""


_PATCHWISE: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: PatchConv2d, nn.Conv3d: PatchConv3d}


def embed_linearly(encoder: nn.Module) -> nn.Module:
    """Make every convolution of ``encoder`` that is a patch embedding a linear layer; returns ``encoder``.

    Parameters, their names and the state dict stay as they are: only the class changes, so that encoders
    built by other libraries, with references of their own to the layer, keep it.
    """
    for module in encoder.modules():
        if type(module) in _PATCHWISE and _is_patchwise(module):  # type: ignore[arg-type]
            module.__class__ = _PATCHWISE[type(module)]
    return encoder


def _is_patchwise(convolution: nn.Conv2d | nn.Conv3d) -> bool:
    """Whether it reads each pixel once: stride = kernel, more than one pixel, no padding or dilation."""
    kernel = convolution.kernel_size
    plain = not any(convolution.padding) and set(convolution.dilation) == {1} and convolution.groups == 1
    return plain and kernel == convolution.stride and math.prod(kernel) > 1
