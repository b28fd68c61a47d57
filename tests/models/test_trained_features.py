"""Trained beats random: a frozen DINOv2 with trained weights against the same network with random ones.

The readout is a logistic regression from the maps of four blocks to the classes, patch by patch of 14 px,
with the classes weighted equally; it is fitted on training patches and judged by mIoU on others, over the
classes that occur in training. Each network gets the strength of the penalty that suits it best on those: an
advantage to both, and to the random one more.

On the mini city the margin is wide. On the eight real training patches it is small, about 0.03, though it is
ten times what random networks differ among themselves: woodland and low vegetation make up 99.8 % of their
pixels and are told apart by colour, which random features pass on as well. What trained features add is in
what remains. Without equal weights no network finds the third class and the two are level.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wusu_lib.data import splits, tree
from wusu_lib.data.loading import PatchDataset
from wusu_lib.legend import IGNORE
from wusu_lib.models import catalogue

SHARED = Path(__file__).parents[3] / "shared"
FILE = SHARED / "weights" / "dinov2_vits14.safetensors"
BACKBONE = "dinov2_small"
PATCH, CLASSES = 14, 11
BLOCKS = catalogue.BACKBONES[BACKBONE].full.taps
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@pytest.fixture(scope="module", params=["city", "naip"])
def split(request):
    """Name of the data, training and test samples: images at the checkpoint's normalisation."""
    if not FILE.is_file():
        pytest.skip(f"the trained checkpoint is not there: {FILE}")
    if request.param == "city":
        table = splits.assign(tree.scan(request.getfixturevalue("city")), "blocks")
        table = table[table["date"] == 18]
        rows = [table[table["split"] == split].iloc[::3] for split in ("train", "test")]
    else:
        if not (SHARED / "data" / "naip_wv").is_dir():
            pytest.skip(f"the real patches are not there: {SHARED / 'data' / 'naip_wv'}")
        table = tree.scan(SHARED / "data" / "naip_wv")
        table = table[table["mask"].notna()]
        rows = [table[table["folder"] == "train"], table[table["folder"] == "test"]]
    mean, std = catalogue.expected_statistics(BACKBONE)
    return request.param, *(PatchDataset(r, mean, std) for r in rows)


@torch.no_grad()
def features(encoder, samples):
    """Maps [N, 4 * dim, h, w] of the images, made a multiple of 14 px, and their masks [N, H, W]."""
    _, order = catalogue.BACKBONES[BACKBONE].reads("all")
    maps, masks = [], []
    for i in range(len(samples)):
        image = samples[i]["image"][None, list(order)]
        size = image.shape[-1] // PATCH * PATCH
        image = F.interpolate(image, size=(size, size), mode="bilinear", align_corners=False)
        with torch.autocast("cpu", torch.bfloat16):
            blocks = encoder(image)
        maps.append(torch.cat([blocks[i][0].float() for i in BLOCKS]))
        masks.append(samples[i]["mask"])
    return torch.stack(maps), torch.stack(masks)


def shares(masks, cells):
    """Share of each class in each cell of a grid, [N, classes, cells, cells]."""
    counted = F.one_hot(masks.where(masks != IGNORE, CLASSES), CLASSES + 1)[..., :CLASSES]
    return F.adaptive_avg_pool2d(counted.permute(0, 3, 1, 2).float(), cells)


def readout(maps, share, penalty):
    """Weights [features, classes] and bias of the logistic regression, by L-BFGS from zero."""
    x = maps.permute(0, 2, 3, 1).flatten(0, 2)  # [cells, features]
    y = share.permute(0, 2, 3, 1).flatten(0, 2)  # [cells, classes]
    present = y.sum(0) > 0
    weight = torch.where(present, 1 / y.sum(0).clamp(min=1e-9), 0) / present.sum()
    w = torch.zeros(x.shape[1], CLASSES, requires_grad=True)
    b = torch.zeros(CLASSES, requires_grad=True)
    optimizer = torch.optim.LBFGS([w, b], max_iter=40, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        scores = torch.where(present, x @ w + b, -1e4).log_softmax(1)
        value = -(y * weight * scores).sum() + penalty * w.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return w.detach(), torch.where(present, b.detach(), -1e4)


def class_iou(maps, masks, w, b):
    """IoU of each class from all pixels together; NaN where it occurs neither in the truth nor in the map."""
    scores = torch.einsum("nfhw,fk->nkhw", maps, w) + b[:, None, None]
    scores = F.interpolate(scores, size=masks.shape[-2:], mode="bilinear", align_corners=False)
    counted = masks != IGNORE
    pairs = masks[counted] * CLASSES + scores.argmax(1)[counted]
    matrix = torch.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES).double()
    right = matrix.diag()
    return right / (matrix.sum(0) + matrix.sum(1) - right)


def best_miou(weights, train, test):
    """mIoU on ``test`` over the classes of ``train``, with the penalty that gives the highest."""
    from wusu_lib.models.build import build_encoder

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = build_encoder(BACKBONE, "full", weights, "all").eval()
    (x, masks), (x_test, masks_test) = features(encoder, train), features(encoder, test)
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True) + 1e-6
    x, x_test = (x - mean) / std, (x_test - mean) / std
    share = shares(masks, x.shape[-1])
    present = (share.sum((0, 2, 3)) > 0).numpy()
    found = [class_iou(x_test, masks_test, *readout(x, share, penalty)) for penalty in PENALTIES]
    return max(np.nanmean(iou.numpy()[present]) for iou in found)


def test_trained_features_beat_random_ones(split):
    data, train, test = split
    trained, random = best_miou(str(FILE), train, test), best_miou("random", train, test)
    margin = {"city": 0.1, "naip": 0.02}[data]
    assert trained - random > margin, (trained, random)
