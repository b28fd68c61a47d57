"""A network of a few weights, and pairs of dates from a small tree, for tests that must be quick."""

from pathlib import Path

import pandas as pd
import torch
from small_tree import write_tree
from torch import nn

from wusu_lib.change import codebook
from wusu_lib.change.analysis import pairs
from wusu_lib.data import splits
from wusu_lib.data.loading import PairDataModule, PairDataset
from wusu_lib.data.tree import scan, scan_changes
from wusu_lib.experiment.direct import DirectParameters
from wusu_lib.models.segmentation import SegmentationModel, SiameseModel

MEAN, STD = [0.3] * 4, [0.2] * 4
WIDTH = 8


class Neck(nn.Sequential):
    """Passes on what the encoder gives, as the one map of a list."""

    def forward(self, maps, image_size):
        return [maps]


class Decoder(nn.Module):
    """A convolution with what makes resuming hard: dropout and batch statistics."""

    out_channels = WIDTH

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(8, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.Dropout(0.2), nn.ReLU()
        )

    def forward(self, maps):
        return self.layers(maps[0])


def base(outputs=11, seed=0):
    """A segmentation model without TerraTorch: a grid of 2 px, images padded to a multiple of 4 px."""
    torch.manual_seed(seed)
    encoder = nn.Sequential(nn.Conv2d(4, 8, 4, stride=2, padding=1), nn.ReLU())
    decoder, head = Decoder(), nn.Conv2d(WIDTH, outputs, 1)
    return SegmentationModel(encoder, Neck(), decoder, head, band_order=range(4), size_multiple=4)


def network(method="scd", fusion="difference", outputs=11, seed=0):
    """A siamese network around ``base``, in eval mode."""
    return SiameseModel(base(outputs, seed), method, fusion, seed).eval()


def tables(root: Path, **options) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Patch table (split: study) and change masks of a small tree written to ``root``."""
    tree = write_tree(root, **{"rows": 2, "columns": 2} | options)
    return splits.assign(scan(tree), "study"), scan_changes(tree)


def book(table, changes, kind="scd"):
    return codebook.learn(codebook.cross_tabulate(table, changes, kind), kind)


def dataset(table, changes, kind="scd", **options):
    return PairDataset(pairs(table, changes), MEAN, STD, book(table, changes, kind), **options)


def module(table, changes, kind="scd", **options):
    given = {"batch_size": 3, "seed": 1} | options
    return PairDataModule(pairs(table, changes), MEAN, STD, book(table, changes, kind), **given)


def settings(**changes) -> DirectParameters:
    values = {
        "name": "exp16",
        "prediction": "val Fscd from-to rises by at least 0.02 over exp15",
        "backbone": "prithvi_300m",
        "decoder": "fpn",
        "method": "scd",
        "learning_rate": 0.01,
        "encoder_learning_rate": 0.003,
        "epochs": 3,
        "patience": 3,
        "batch_size": 2,
        "accumulate": 2,
        "precision": "32",
    }
    return DirectParameters(**(values | changes))
