"""A tree of a few small patches and a model of a few weights, for tests of training that must be quick."""

import warnings
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.errors import NotGeoreferencedWarning
from torch import nn

from wusu_lib import legend
from wusu_lib.data import tree
from wusu_lib.data.loading import WusuDataModule
from wusu_lib.experiment.segmentation import SegmentationParameters, fit
from wusu_lib.models.losses import TrainingLoss, pixel_loss

SIDE = 16
USED = (0, 1, 4, 5)  # class indices in the tree: unlabelled and three classes


def write_tree(root: Path, train: int = 10, val: int = 4, test: int = 4) -> Path:
    """A tree of one area and date; the class of a pixel can be told from its colour but for the noise."""
    rng = np.random.default_rng(3)
    for split, n in (("train", train), ("val", val), ("test", test)):
        for number in range(n):
            index = np.kron(rng.choice(USED, size=(4, 4)), np.ones((4, 4), dtype=int)).astype(np.uint8)
            colour = np.stack([40 + 15 * index, 200 - 12 * index, 90 + 5 * index, 30 + 20 * index])
            image = np.clip(colour + rng.normal(0, 8, colour.shape), 0, 255).astype(np.uint8)
            folder = root / split / "HS"
            write_raster(folder / "imgs" / f"HS15_{number}.tif", image)
            write_raster(folder / "class" / f"HS15_{number}.tif", legend.code_from_index(index)[None])
    return root


def write_raster(path: Path, bands: np.ndarray) -> None:
    """Write uint8 [C, H, W] as a GeoTIFF without georeference."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": "uint8"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # WUSU's files have no georeference either
        with rasterio.open(path, "w", **profile) as file:
            file.write(bands)


class TinyModel(nn.Module):
    """A convolution and a head, with what makes resuming hard: dropout and batch statistics."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        filters = nn.Conv2d(4, 8, 3, padding=1)
        self.encoder = nn.Sequential(filters, nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Conv2d(8, outputs, 1)
        self.frozen = False

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(images))

    def training_loss(self, images: torch.Tensor, mask: torch.Tensor) -> TrainingLoss:
        return TrainingLoss(*pixel_loss(self(images), mask))

    def freeze_encoder(self) -> None:
        self.frozen = True
        self.encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> "TinyModel":
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self


def build(seed: int = 0, outputs: int = 11) -> TinyModel:
    torch.manual_seed(seed)
    return TinyModel(outputs)


def settings(**changes) -> SegmentationParameters:
    """Parameters for the tiny tree: a few epochs, an uneven number of batches a step."""
    values = {
        "name": "exp05",
        "prediction": "val mIoU rises by at least 0.01 over exp04",
        "backbone": "prithvi_300m",
        "decoder": "fpn",
        "learning_rate": 0.01,
        "encoder_learning_rate": 0.003,
        "epochs": 4,
        "schedule": "plateau",
        "patience": 3,
        "batch_size": 2,
        "accumulate": 2,
        "precision": "32",
    }
    return SegmentationParameters(**(values | changes))


def data(root: Path, parameters: SegmentationParameters, seed: int = 0) -> WusuDataModule:
    table = tree.scan(root)
    return WusuDataModule(
        table,
        mean=[0.4] * 4,
        std=[0.2] * 4,
        labels=parameters.labels,
        batch_size=parameters.batch_size,
        workers=parameters.workers,
        seed=seed,
        in_memory=True,
    )


def train(folder, tree, seed=0, make=None, **changes):
    """Train a tiny model, or what ``make`` gives, on the tree of ``write_tree``."""
    folder.mkdir(exist_ok=True)
    parameters = settings(**changes)
    outputs = 11 if parameters.background == "ignore" else 12
    return fit(
        folder,
        make() if make else build(seed, outputs),
        data(tree, parameters, seed),
        parameters,
        seed,
    )
