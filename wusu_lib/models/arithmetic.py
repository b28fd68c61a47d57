"""What arithmetic a model is computed with, and whether it can be trusted on this machine. Imports torch.

bfloat16 keeps 8 bits of a number, so that a layer's output is off by some thousandths. A kernel that is
wrong is off by as much as it gives. The two are told apart by computing the same images in both
precisions. A kernel that is known to be wrong is not used: patch embeddings are linear layers.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wusu_lib import provenance

# Largest relative difference between bfloat16 and float32 that is put down to rounding. Every backbone's taps
# and logits stay under 0.02 (tests); the wrong convolution of ``embeddings`` made 0.5 and more of them.
ROUNDING = 0.1
REMEDY = (
    'use precision="32", or set the environment variable ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 before Python '
    "starts (AVX2 for a processor without AVX-512)"
)


@contextmanager
def float32_kept() -> Iterator[None]:
    """Put torch's precision of float32 products back as it was, whatever happens to it in the block."""
    before = torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        if torch.get_float32_matmul_precision() != before:
            torch.set_float32_matmul_precision(before)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute float32 as float32 in the block: no bfloat16 or TF32 products and convolutions in its name."""
    convolutions = torch.backends.cudnn.allow_tf32
    with float32_kept():
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = convolutions


def device() -> str:
    """Where models are computed: "cuda", or "cpu" without a GPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def precision_of(stated: str, where: str | None = None) -> str:
    """What ``precision`` comes to on a device (none given: ``device``): "bf16" where that is stated and there
    are instructions for it, else "32".
    """
    able = (where or device()) == "cuda" or provenance.computes_bfloat16()
    return "bf16" if stated == "bf16" and able else "32"


def autocast(stated: str, where: str | None = None) -> torch.autocast:
    """The context in which a model of a stated ``precision`` is computed; arguments of ``precision_of``."""
    enabled = precision_of(stated, where) == "bf16"
    return torch.autocast(where or device(), torch.bfloat16, enabled=enabled)


def used(stated: str) -> dict[str, str]:
    """What torch computes with here: the device, its own instruction set on a CPU, precision of float32, and
    what a stated ``precision`` comes to.
    """
    return {
        "precision": precision_of(stated),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch_instruction_set": torch.backends.cpu.get_cpu_capability(),
        "float32_products": torch.get_float32_matmul_precision(),
    }


def rounding_differences(model: nn.Module, images: Tensor) -> dict[str, float]:
    """How far bfloat16 autocast is from float32, for each of the encoder's taps and for the logits.

    ``model`` has an ``encoder``; its mode is left as it was. ``images`` is what it reads: normalised images
    [B, 4, H, W], or pairs [B, 2, 4, H, W] of a siamese network. Differences are relative, as of
    ``relative_difference``. Names are "tap 1", "tap 2", ... for what the encoder gives, and "output".
    """
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad(), exact_float32():
            exact = _outputs(model, images)
            with torch.autocast(images.device.type, torch.bfloat16):
                rounded = _outputs(model, images)
    finally:
        for module, mode in training.items():
            module.training = mode
    return {name: relative_difference(rounded[name], exact[name]) for name in exact}


def relative_difference(value: Tensor, exact: Tensor) -> float:
    """|value - exact| / |exact| (Euclidean norms over all entries, in float64); NaN where they hold NaN."""
    value, exact = value.double(), exact.double()
    return ((value - exact).norm() / exact.norm().clamp_min(torch.finfo(torch.float64).tiny)).item()


def refuse_wrong_rounding(model: nn.Module, images: Tensor) -> None:
    """Raise ValueError where the model in bfloat16 differs from float32 by more than rounding explains.

    The error names the first tap that does, the size of the difference, and what to do. Arguments as
    ``rounding_differences``.
    """
    found = rounding_differences(model, images)
    wrong = {name: off for name, off in found.items() if not off <= ROUNDING}  # NaN is wrong too
    if wrong:
        name, off = next(iter(wrong.items()))
        told = f"{off:.2f} of its size" if math.isfinite(off) else "by values that are not finite"
        raise ValueError(
            f'precision: "bf16" cannot be used with this model on this machine: {name} differs from float32 '
            f"by {told}, and rounding explains at most {ROUNDING}; {REMEDY}"
        )


def _outputs(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What the encoder gives, map by map, and what the model gives."""
    found: dict[str, Tensor] = {}

    def keep(_module: nn.Module, _inputs: object, taps: Tensor | Sequence[Tensor]) -> None:
        found.update(_named("tap", taps))

    hook = model.encoder.register_forward_hook(keep)  # type: ignore[union-attr, operator]
    try:
        outputs = _named("output", model(images))
    finally:
        hook.remove()
    return found | outputs


def _named(name: str, values: Tensor | Sequence[Tensor | None]) -> dict[str, Tensor]:
    """ "name" for one tensor, "name 1", "name 2", ... for several."""
    if isinstance(values, Tensor):
        return {name: values.float()}
    return {f"{name} {i}": value.float() for i, value in enumerate(values, start=1) if value is not None}


# Patch embeddings as what they are: a reshape and one linear layer. Imports torch.
#
# A convolution whose kernel is its stride reads each pixel once, so it is the linear layer of the flattened
# patches. Written as a convolution it is at the mercy of the convolution's kernels: on processors with AMX,
# PyTorch 2.14.1 (oneDNN 3.12) computes it wrongly in bfloat16 with 4 or 6 channels and patches of 16 or 32
# px, without a word (``book/protocol.md`` tells the smallest case).


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
