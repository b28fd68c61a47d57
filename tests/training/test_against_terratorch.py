"""Our loop against TerraTorch's own task: the same weights of the same batches, and the time of an epoch."""

import copy
import shutil
import sys
import time

import lightning
import numpy as np
import pytest
import rasterio
import torch
from terratorch.datamodules import GenericNonGeoSegmentationDataModule
from terratorch.models.model import ModelOutput
from terratorch.tasks import SemanticSegmentationTask
from torch import nn
from torch.utils.data import DataLoader

from wusu_lib.data import loading, tree
from wusu_lib.data.loading import WusuDataModule
from wusu_lib.data.masks import read_index
from wusu_lib.experiment.segmentation import SegmentationParameters
from wusu_lib.legend import ELEVEN, IGNORE
from wusu_lib.models.build import build
from wusu_lib.training import loop
from wusu_lib.training.task import SegmentationTask

MEAN, STD = [0.3, 0.3, 0.3, 0.4], [0.15, 0.15, 0.15, 0.2]
RATE, DECAY, BATCH, STEPS = 1e-3, 1e-3, 8, 8


class Theirs(nn.Module):
    """Our model as TerraTorch's task wants it."""

    def __init__(self, model):
        super().__init__()
        self.inner = model

    def forward(self, x, **_):
        return ModelOutput(output=self.inner(x))


def settings(**changed):
    return SegmentationParameters(
        name="exp05",
        prediction="val mIoU rises by at least 0.01 over exp04",
        backbone="prithvi_600m",
        decoder="deeplab",
        adaptation="full",  # one learning rate, as TerraTorch's task has
        learning_rate=RATE,
        weight_decay=DECAY,
        **changed,
    )


def terratorch_task(model):
    return SemanticSegmentationTask(
        model_args={"num_classes": ELEVEN.outputs},
        model=Theirs(model),
        loss="ce",
        ignore_index=IGNORE,
        lr=RATE,
        optimizer="AdamW",
        optimizer_hparams={"weight_decay": DECAY, "fused": True},
        plot_on_val=False,
    )


def trainer(**more):
    return lightning.Trainer(
        accelerator="cpu",
        precision="bf16-mixed",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **more,
    )


@pytest.fixture(scope="module")
def table(city):
    found = tree.scan(city)
    return found.assign(split=np.where(found["split"] == "train", "train", "val")).iloc[::3]


@pytest.fixture(scope="module")
def model():
    return build("prithvi_600m", "deeplab", weights="pretrained", outputs=ELEVEN.outputs, image_size=128)


def data_of(table):
    return WusuDataModule(table, MEAN, STD, batch_size=BATCH, seed=3, in_memory=True)


def test_eight_steps_give_the_same_weights_to_the_last_bit(table, model):
    ours, theirs = copy.deepcopy(model), copy.deepcopy(model)
    batches = [batch for _, batch in zip(range(STEPS), data_of(table).train_dataloader(), strict=False)]
    plain = [{"image": batch["image"], "mask": batch["mask"]} for batch in batches]
    with loop.threads("demo"), loop.subdued():
        for task, fed in (
            (SegmentationTask(ours, settings()), batches),
            (terratorch_task(theirs), plain),
        ):
            lightning.seed_everything(5, verbose=False)  # dropout
            trainer(max_epochs=1).fit(task, DataLoader(fed, batch_size=None))
    before, mine, other = (m.state_dict() for m in (model, ours, theirs))
    assert [name for name in mine if not torch.equal(mine[name], other[name])] == []
    assert sum(not torch.equal(before[name], mine[name]) for name in mine) > 100


@pytest.fixture(scope="module")
def converted(table, tmp_path_factory):
    """The same files as TerraTorch's data module wants them: {split}/images, {split}/labels of train ids."""
    root = tmp_path_factory.mktemp("generic")
    for row in table.itertuples():
        images, labels = (root / row.split / name for name in ("images", "labels"))
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(exist_ok=True)
        shutil.copy(row.image, images / f"{row.patch.replace('/', '_')}.tif")
        ids = ELEVEN.train_id_from_index(read_index(row.mask))
        profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": len(ids), "width": ids.shape[1]}
        with rasterio.open(labels / f"{row.patch.replace('/', '_')}.tif", "w", **profile) as file:
            file.write(ids.astype(np.uint8), 1)
    return root


def generic(root):
    folders = {
        f"{split}_{kind}data_root": root / split / folder
        for split in ("train", "val", "test")
        for kind, folder in (("", "images"), ("label_", "labels"))
    }
    folders |= {name: root / "val" / path.name for name, path in folders.items() if name.startswith("test")}
    return GenericNonGeoSegmentationDataModule(
        batch_size=BATCH,
        num_workers=0,
        num_classes=ELEVEN.outputs,
        img_grep="*.tif",
        label_grep="*.tif",
        means=MEAN,
        stds=STD,
        constant_scale=1 / 255,
        no_data_replace=0,
        no_label_replace=IGNORE,
        **folders,
    )


@pytest.mark.filterwarnings("ignore")
def test_an_epoch_with_validation_takes_less_than_half_of_what_terratorchs_takes(
    table, model, converted, tmp_path, capsys, monkeypatch
):
    """One after the other in one process, of CPU seconds; half is what a noisy machine leaves of the gain."""
    monkeypatch.setattr(loop, "_evaluate", lambda task, *_: {"val": task.tally})  # the epoch alone is timed
    seconds = {}

    def ours(folder):
        task = SegmentationTask(copy.deepcopy(model), settings(epochs=1, followed=0))
        loop.train(folder, task, data_of(table), seed=3)

    def theirs(_folder):
        trainer(max_epochs=1).fit(terratorch_task(copy.deepcopy(model)), datamodule=generic(converted))

    with loop.threads("demo"), loop.subdued():
        for name, run in (("warm", ours), ("ours", ours), ("theirs", theirs)):
            (tmp_path / name).mkdir()
            loading._kept_pair.cache_clear()  # each reads its files
            began = time.process_time()
            run(tmp_path / name)
            seconds[name] = time.process_time() - began
    ratio = seconds["theirs"] / seconds["ours"]
    with capsys.disabled():
        each = ", ".join(f"{name} {seconds[name] / len(table) * 1000:.1f}" for name in ("ours", "theirs"))
        sys.stdout.write(f"\nan epoch with validation, CPU ms a patch: {each}; ratio {ratio:.2f}\n")
    assert ratio > 2
