"""A table of a model's parts with their sizes, for the notebooks."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import nn

from wusu_lib.models.segmentation import SegmentationModel
from wusu_lib.models.spec import DATA_BANDS
from wusu_lib.models.tapped import encoder_name

COLUMNS = ["part", "module", "parameters", "trainable", "output shape"]


def table(model: SegmentationModel, image_size: int) -> pd.DataFrame:
    """One row a part: module, parameters, those that are trained, shape of the output (without batch).

    The shapes are those of one square image of ``image_size`` px, run through the model in eval mode without
    gradients.
    """
    shapes = _output_shapes(model, image_size)
    left, right, top, bottom = model.padding(image_size, image_size)
    padded = f"{len(model.band_order)} x {image_size + top + bottom} x {image_size + left + right}"
    rows = [("input", f"bands in the encoder's order, padded from {image_size} px", 0, 0, padded)]
    parts = {"encoder": model.encoder, **{f"neck {i}": m for i, m in enumerate(model.neck)}}
    for name, module in {**parts, "decoder": model.decoder, "head": model.head}.items():
        rows.append((name, encoder_name(module), *_parameters(module), shapes[name]))
    rows.append(("total", type(model).__name__, *_parameters(model), shapes["total"]))
    return pd.DataFrame(rows, columns=COLUMNS)


def _parameters(module: nn.Module) -> tuple[int, int]:
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trainable in sizes if trainable)


def _output_shapes(model: SegmentationModel, image_size: int) -> dict[str, str]:
    """Shapes of what each part gives, recorded by hooks on one forward pass."""
    shapes: dict[str, str] = {}
    named = {"encoder": model.encoder, "decoder": model.decoder, "head": model.head, "total": model}
    named |= {f"neck {i}": m for i, m in enumerate(model.neck)}
    hooks = [module.register_forward_hook(_recorder(shapes, name)) for name, module in named.items()]
    modes = {module: module.training for module in model.modules()}
    parameter = next(model.parameters())
    try:
        model.eval()
        with torch.no_grad():
            model(torch.zeros(1, len(DATA_BANDS), image_size, image_size, device=parameter.device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return shapes


def _recorder(shapes: dict[str, str], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
        shapes[name] = _shape(output)

    return record


def _shape(output: Any) -> str:
    """The sizes of a map, as in 64 x 32 x 32; of a list one a map, equal neighbours counted."""
    if isinstance(output, torch.Tensor):
        return " x ".join(str(n) for n in output.shape[1:])
    shapes = [_shape(item) for item in output]
    runs: list[tuple[str, int]] = []
    for shape in shapes:
        if runs and runs[-1][0] == shape:
            runs[-1] = (shape, runs[-1][1] + 1)
        else:
            runs.append((shape, 1))
    return ", ".join(shape if count == 1 else f"{count} of {shape}" for shape, count in runs)
