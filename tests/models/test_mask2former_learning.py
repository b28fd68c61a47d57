"""Mask2Former learns four patches of the mini city by heart."""

import torch

from wusu_lib.data import tree
from wusu_lib.data.loading import PatchDataset
from wusu_lib.models import build

PATCHES = (0, 70, 140, 210)  # two areas, three dates, eleven classes but one
STEPS = 300


def batch(city):
    table = tree.scan(city)
    dataset = PatchDataset(table[table["split"] == "train"], [0.3] * 4, [0.15] * 4)
    samples = [dataset[i] for i in PATCHES]
    return [torch.stack([sample[key] for sample in samples]) for key in ("image", "mask")]


def pixel_accuracy(model, images, masks):
    with torch.no_grad():
        predicted = model.eval()(images).argmax(dim=1)
    model.train()
    labelled = masks != 255
    return (predicted == masks)[labelled].float().mean().item()


def test_four_patches_are_learnt_by_heart(city):
    images, masks = batch(city)
    assert 0.3 < (masks != 255).float().mean() < 1
    model = build.build("dinov3_sat_large", "mask2former", image_size=128).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    reached = pixel_accuracy(model, images, masks)
    assert reached < 0.5
    for step in range(1, STEPS + 1):
        loss = model.training_loss(images, masks)
        optimizer.zero_grad()
        (loss.objective / loss.pixels).backward()
        optimizer.step()
        if step % 25 == 0 and (reached := pixel_accuracy(model, images, masks)) > 0.95:
            break
    assert reached > 0.95
