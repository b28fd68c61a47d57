"""Small scenes on disk and models without training, for tests of mapping."""

import time
import warnings
from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from torch import nn

from wusu_lib.experiment.segmentation import Predictor

UTM = "EPSG:32650"
MEAN, STD = (0.4, 0.4, 0.4, 0.4), (0.2, 0.2, 0.2, 0.2)


def write_scene(path, array, *, crs=UTM, origin=(500_000.0, 3_000_000.0), pixel=1.0, **options) -> Path:
    """Write [bands, H, W] as a tiled GeoTIFF with square pixels; crs=None: without georeference."""
    count, height, width = array.shape
    place = (
        {} if crs is None else {"crs": crs, "transform": Affine(pixel, 0, origin[0], 0, -pixel, origin[1])}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", count=count, height=height, width=width, dtype=array.dtype,
            **place, **options,
        ) as file:  # fmt: skip
            file.write(array)
    return Path(path)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An image uint8 [4, height, width] of smooth random ground, 1 to 255."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 235, (4, -(-height // 8) + 1, -(-width // 8) + 1))
    blocks = np.kron(coarse, np.ones((1, 8, 8)))[:, :height, :width]
    return np.clip(blocks + rng.normal(0, 15, blocks.shape), 1, 255).astype(np.uint8)


class Local(nn.Module):
    """Two 3 x 3 convolutions: what a pixel gets depends on the 2 pixels around it and on nothing else."""

    reach = 2

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, outputs, 3, padding=1)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 4 * self.layers(images)


class Global(nn.Module):
    """Attention among patches of 8 px with positions: every pixel depends on all of its window."""

    def __init__(self, outputs: int, window: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(4, 32, 8, stride=8)
        self.positions = nn.Parameter(torch.randn(1, 32, window // 8, window // 8))
        self.block = nn.TransformerEncoderLayer(32, 4, 64, dropout=0, batch_first=True)
        self.head = nn.Conv2d(32, outputs, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(images) + self.positions
        shape = tokens.shape
        mixed = self.block(tokens.flatten(2).mT).mT.reshape(shape)  # [B, C, h, w] -> [B, h*w, C] and back
        logits = 2 * self.head(mixed)
        return nn.functional.interpolate(logits, scale_factor=8, mode="bilinear")


class Slow(Global):
    """A model that takes its time, so that something can happen in the middle of the work."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(0.1)
        return super().forward(images)


def predictor(kind=Local, window: int = 64, seed: int = 0, **more) -> Predictor:
    """A predictor with random weights. ``more``: labels, precision, the model's arguments."""
    torch.manual_seed(seed)
    rest = {k: more.pop(k) for k in list(more) if k in ("labels", "precision", "name")}
    empty = Predictor(nn.Identity(), MEAN, STD, window=window, device="cpu", **rest)
    arguments = {"window": window, **more} if issubclass(kind, Global) else more
    empty.model = kind(len(empty.class_indices), **arguments).eval()
    return empty


def read(path) -> np.ndarray:
    """First band [H, W] of a raster."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return file.read(1)
