"""The convolutions and matrix products of models, recorded without computing, and computed one by one.

Run as a program it checks the catalogue's models and prints what is wrong as JSON:

    python tests/models/products.py demo|full

so that a test can run it with another instruction set: torch reads the environment once, when it starts.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from wusu_lib.models import build, catalogue, decoders
from wusu_lib.models.arithmetic import relative_difference

SIZES = {"demo": (4, 128), "full": (1, 512)}  # images a batch, px a side
# What bfloat16 explains: inputs are the same, the output is rounded to 8 bits, the sums are of float32.
BOUNDS = {torch.bfloat16: 0.008, torch.float32: 1e-5}
aten = torch.ops.aten
PRODUCTS = (aten.convolution, aten.mm, aten.addmm, aten.bmm, aten.baddbmm)


@dataclass(frozen=True)
class Layout:
    """Shape and strides of a tensor."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def drawn(self, generator: torch.Generator) -> Tensor:
        """Random numbers of that shape, laid out like that; a tensor that is expanded is not."""
        dense = torch.randn(self.shape, generator=generator)
        if 0 in self.stride:
            return dense
        return torch.empty_strided(self.shape, self.stride).copy_(dense)


@dataclass(frozen=True)
class Product:
    """One call: the operation, its tensors' layouts in place of the tensors, its other arguments."""

    name: str
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        shown = [list(a.shape) if isinstance(a, Layout) else a for a in self.arguments]
        return f"{self.name}{shown}"


def _described(argument: Any) -> Any:
    return Layout(tuple(argument.shape), argument.stride()) if isinstance(argument, Tensor) else argument


class Recorder(TorchDispatchMode):
    """Notes every product that is called in its block, once each."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[Product, None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in PRODUCTS:
            plain = tree_map(
                lambda a: Layout(tuple(a.shape), a.stride()) if isinstance(a, Tensor) else a, args
            )
            plain = tuple(tuple(a) if isinstance(a, list) else a for a in plain)
            self.found[Product(func.overloadpacket.__name__, plain)] = None
        return func(*args, **(kwargs or {}))


def of_model(backbone: str, decoder: str, scale: str, device: str = "meta") -> list[Product]:
    """The products of a forward pass; on the meta device nothing is computed."""
    batch, side = SIZES[scale]
    with torch.device(device):
        model = build.build(backbone, decoder, scale=scale, image_size=side)
        with Recorder() as recorder, torch.no_grad():
            model(torch.empty(batch, 4, side, side))
    return list(recorder.found)


def of_catalogue(scale: str) -> list[Product]:
    """The products of every backbone and of every decoder, once each.

    Mask2Former makes tensors of its own on the processor and cannot run on the meta device, so it stands
    behind a backbone that is quickly computed.
    """
    runs = [(backbone, "fpn", "meta") for backbone in catalogue.BACKBONES]
    runs += [("prithvi_600m", decoder, "meta") for decoder in decoders.DECODERS if decoder != "mask2former"]
    runs += [("resnet50", "deeplab", "meta"), ("resnet50", "mask2former", "cpu")]
    return list(dict.fromkeys(product for run in runs for product in of_model(run[0], run[1], scale, run[2])))


def errors(product: Product, dtype: torch.dtype) -> dict[str, float]:
    """Relative difference from float64 of the output and of each tensor's gradient, for one random input.

    The numbers are rounded to ``dtype`` before, so that only the computing differs.
    """
    generator = torch.Generator().manual_seed(0)
    drawn = [a.drawn(generator).to(dtype) if isinstance(a, Layout) else a for a in product.arguments]
    operation = getattr(aten, product.name)
    exact = _with_gradients(operation, drawn, torch.float64)
    found = _with_gradients(operation, drawn, dtype)
    return {name: relative_difference(found[name], exact[name]) for name in exact}


def _with_gradients(
    operation: Callable[..., Tensor], arguments: list[Any], dtype: torch.dtype
) -> dict[str, Tensor]:
    given = {i: a for i, a in enumerate(arguments) if isinstance(a, Tensor)}
    tensors = {i: a.to(dtype).detach().requires_grad_() for i, a in given.items()}
    output = operation(*(tensors.get(i, a) for i, a in enumerate(arguments)))
    upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    gradients = torch.autograd.grad(output, list(tensors.values()), upstream.to(dtype))
    named = {f"gradient of argument {i}": g for i, g in zip(tensors, gradients, strict=True)}
    return {"output": output.detach(), **named}


def wrong(products: list[Product]) -> list[str]:
    """A sentence on each product that differs from float64 by more than rounding explains."""
    return [
        f"{product} in {dtype}: {name} is {error:.3g} off"
        for product in products
        for dtype, bound in BOUNDS.items()
        for name, error in errors(product, dtype).items()
        if not error <= bound
    ]


if __name__ == "__main__":
    torch.set_num_threads(2)
    every = of_catalogue(sys.argv[1])
    sys.stdout.write(json.dumps({"products": len(every), "wrong": wrong(every)}))
