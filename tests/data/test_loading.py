"""Samples, their order and their flips: right values, and a pure function of (seed, epoch, position)."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_tree import real_imagery, write_raster, write_tree

from wusu_lib import imagery, legend
from wusu_lib.data import splits
from wusu_lib.data.loading import (
    JITTER,
    NEAREST,
    EpochSampler,
    PatchDataset,
    WusuDataModule,
    augmented,
)
from wusu_lib.data.tree import scan
from wusu_lib.legend import ELEVEN, LabelSpace

MEAN, STD = [0.1, 0.2, 0.3, 0.4], [0.5, 0.25, 0.125, 1.0]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return splits.assign(scan(write_tree(tmp_path_factory.mktemp("data"))), "study")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path, rows=1, columns=1)


def module(table: pd.DataFrame, **options: object) -> WusuDataModule:
    return WusuDataModule(table, MEAN, STD, **{"batch_size": 5, "seed": 3} | options)


def first_batches(data: WusuDataModule, epoch: int) -> list[dict]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_sample_is_the_normalised_image_and_its_train_ids(table: pd.DataFrame, in_memory: bool) -> None:
    row = table.iloc[40]
    sample = PatchDataset(table, MEAN, STD, in_memory=in_memory)[40]
    assert (sample["image"].dtype, sample["mask"].dtype) == (torch.float32, torch.int64)
    assert (sample["image"].shape, sample["mask"].shape) == ((4, 32, 32), (32, 32))
    assert sample["patch"] == row["patch"]
    raw = imagery.read(row["image"])
    for band in range(4):
        expected = (raw[band, 3, 7] / 255 - MEAN[band]) / STD[band]
        assert sample["image"][band, 3, 7].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("background", "unlabelled", "road", "bare"), [("ignore", 255, 0, 10), ("class", 0, 1, 11)]
)
def test_unlabelled_follows_the_protocol(
    tree: Path, background: legend.Background, unlabelled: int, road: int, bare: int
) -> None:
    mask = np.zeros((1, 32, 32), np.uint8)
    mask[0, 0, :2] = 1, 12
    write_raster(tree / "train/HS/class/HS15_0.tif", mask)
    rows = scan(tree).query("patch == 'train/HS15_0'")
    sample = PatchDataset(rows, MEAN, STD, LabelSpace(background))[0]
    assert sample["mask"][0, :3].tolist() == [road, bare, unlabelled]
    assert sample["mask"].unique().tolist() == sorted({unlabelled, road, bare})


def test_flips_move_image_and_mask_alike_and_take_all_four_forms() -> None:
    image = np.arange(4 * 6, dtype=np.uint8).reshape(1, 4, 6)
    index = image[0]
    forms = {bytes(i[0].tobytes()): (i, m) for i, m in (augmented(image, index, seed) for seed in range(40))}
    assert set(forms) == {a.tobytes() for a in (index, index[::-1], index[:, ::-1], index[::-1, ::-1])}
    assert all((i[0] == m).all() for i, m in forms.values())


def test_flips_are_even() -> None:
    image = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    corners = [int(augmented(image, image[0], seed)[0][0, 0, 0]) for seed in range(2000)]
    counts = np.bincount(corners, minlength=4)
    assert (abs(counts - 500) < 100).all()  # five standard deviations of a binomial count are 97


def test_turns_take_all_eight_forms_alike_often() -> None:
    image = np.arange(9, dtype=np.uint8).reshape(1, 3, 3)
    index = image[0]
    seen = [augmented(image, index, seed, "turns") for seed in range(1600)]
    assert all((i[0] == m).all() for i, m in seen)
    forms = Counter(i.tobytes() for i, _ in seen)
    assert set(forms) == {np.rot90(form, k).tobytes() for form in (index, index.T) for k in range(4)}
    assert all(abs(count - 200) < 66 for count in forms.values())  # five standard deviations of a binomial
    wide = np.zeros((1, 4, 6), dtype=np.uint8)
    assert {augmented(wide, wide[0], seed, "turns")[0].shape for seed in range(20)} == {(1, 4, 6)}


def test_colour_changes_counts_within_its_bounds_band_by_band_and_no_label() -> None:
    image = np.full((2, 4, 8, 8), 100, dtype=np.uint8)  # two dates
    index = np.arange(128, dtype=np.uint8).reshape(2, 8, 8)
    for seed in range(40):
        seen, labels = augmented(image, index, seed, "colour")
        assert seen.dtype == np.float32
        assert (seen[0] == seen[1]).all()  # both dates alike
        bands = seen[0, :, 0, 0]
        assert len(set(bands.tolist())) == 4
        assert (abs(bands - 100) <= 100 * JITTER + 255 * JITTER).all()
        assert set(labels.ravel().tolist()) == set(range(128))
    dark = augmented(np.zeros_like(image), index, 1, "colour")[0]
    bright = augmented(np.full_like(image, 255), index, 1, "colour")[0]
    assert dark.min() >= 0
    assert bright.max() <= 255


def test_zoom_shows_a_part_of_both_dates_and_of_their_masks_alike() -> None:
    y, x = np.mgrid[0:32, 0:32].astype(np.float32)
    image = np.stack([4 * y, 4 * x] * 2).reshape(2, 2, 32, 32)  # what a pixel shows is where it lies
    index = np.stack([y, x]).astype(np.uint8)
    widths = []
    for seed in range(40):
        plain, rest = augmented(image, index, seed, "colour"), augmented(image, index, seed, "zoom")
        seen, labels = rest
        assert seen.shape == image.shape
        assert labels.shape == index.shape
        assert labels.dtype == np.uint8
        spans = [int(labels[k].max()) - int(labels[k].min()) + 1 for k in (0, 1)]
        assert min(spans) >= round(32 / NEAREST)
        widths.append(min(spans))
        # the colour of the coloured patch at the place that the mask tells, to within the next pixel's
        for band in (0, 1):
            where = labels[band]
            values = np.array([plain[0][0, band][plain[1][band] == n].mean() for n in range(32)])
            step = abs(np.diff(values)).max()
            assert (abs(seen[0, band] - values[where]) <= step + 1e-3).all(), (seed, band)
        assert np.array_equal(seen[0], seen[1])
    assert min(widths) < 24 < max(widths)


def test_only_an_augmentation_seed_flips(table: pd.DataFrame) -> None:
    samples = PatchDataset(table, MEAN, STD)
    seed = next(s for s in range(20) if augmented(np.eye(3)[None], np.eye(3), s)[0][0, 0, 0] == 0)
    assert torch.equal(samples[0]["image"], samples[0]["image"])
    assert not torch.equal(samples[0, seed]["image"], samples[0]["image"])


def test_what_is_kept_in_memory_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    table = splits.assign(scan(write_tree(tmp_path)), "study")
    before = PatchDataset(table, MEAN, STD, in_memory=True)[0]
    again = PatchDataset(table, MEAN, STD, in_memory=True)
    assert torch.equal(again[0]["image"], before["image"])
    first, second = (Path(table["image"].iat[n]) for n in (0, 1))
    first.write_bytes(second.read_bytes())
    changed = PatchDataset(table, MEAN, STD, in_memory=True)
    assert torch.equal(changed[0]["image"], changed[1]["image"])
    assert not torch.equal(changed[0]["image"], before["image"])


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    sampler = EpochSampler(50, seed=1)
    first = list(sampler)
    assert sorted(number for number, _ in first) == list(range(50))
    assert list(sampler) == first
    sampler.set_epoch(4)
    later = list(sampler)
    assert later != first
    fresh = EpochSampler(50, seed=1)
    fresh.set_epoch(4)
    assert list(fresh) == later
    assert list(EpochSampler(50, seed=2)) != first
    assert len({seed for _, seed in first}) == 50


@pytest.mark.parametrize("options", [{"workers": 2}, {"in_memory": True}])
def test_batches_do_not_depend_on_workers_or_memory(table: pd.DataFrame, options: dict) -> None:
    usual, other = first_batches(module(table), 2), first_batches(module(table, **options), 2)
    assert len(usual) == 8  # 36 training rows in fives
    for a, b in zip(usual, other, strict=True):
        assert a["patch"] == b["patch"]
        assert torch.equal(a["image"], b["image"])
        assert torch.equal(a["mask"], b["mask"])


def test_batches_neither_use_nor_disturb_global_generators(table: pd.DataFrame) -> None:
    data = module(table)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 the global generator is what is tested
    before = torch.get_rng_state()
    first = first_batches(data, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    again = first_batches(data, 0)
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))


def test_epochs_differ_in_order_and_flips(table: pd.DataFrame) -> None:
    data = module(table)
    by_patch = []
    for epoch in (0, 1):
        batches = first_batches(data, epoch)
        by_patch.append({p: i for b in batches for p, i in zip(b["patch"], b["image"], strict=True)})
    assert by_patch[0].keys() == by_patch[1].keys()
    assert list(by_patch[0]) != list(by_patch[1])
    flipped = sum(not torch.equal(by_patch[0][p], by_patch[1][p]) for p in by_patch[0])
    assert 18 <= flipped <= 35  # three in four are expected of 36


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_evaluation_is_in_table_order_and_unchanged(table: pd.DataFrame, split: str) -> None:
    data = module(table)
    batches = list(data.loader(split))
    assert [p for b in batches for p in b["patch"]] == table[table["split"] == split]["patch"].tolist()
    assert data.rows(split)["patch"].tolist() == table[table["split"] == split]["patch"].tolist()
    plain = PatchDataset(data.rows(split), MEAN, STD)
    assert torch.equal(batches[0]["image"][2], plain[2]["image"])


def test_small_patches_are_evaluated_in_batches_of_so_many_pixels(table: pd.DataFrame) -> None:
    few = module(table, batch_size=1)
    assert next(iter(few.loader("train")))["image"].shape[0] == 36  # all: 512 patches of 32 px fit
    assert next(iter(few.train_dataloader()))["image"].shape[0] == 1
    assert module(table, batch_size=600).loader("val").batch_size == 600


def test_named_loaders_are_the_loaders_of_their_split(table: pd.DataFrame) -> None:
    data = module(table)
    assert next(iter(data.val_dataloader()))["patch"] == next(iter(data.loader("val")))["patch"]
    assert next(iter(data.test_dataloader()))["patch"] == next(iter(data.loader("test")))["patch"]


def test_rows_without_a_mask_are_never_served() -> None:
    data = module(splits.assign(scan(real_imagery()), "blocks"))
    assert {p.split("_")[0] for b in data.train_dataloader() for p in b["patch"]} == {"train/WV14"}
    assert len(data.rows("val")) == 4


def test_lightning_sets_the_epoch(table: pd.DataFrame) -> None:
    import lightning

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(4, 1, 1)
            self.seen: list[list[str]] = []

        def training_step(self, batch: dict, number: int) -> torch.Tensor:
            if number == 0:
                self.seen.append(batch["patch"])
            return self.layer(batch["image"]).mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.0)

    model = Model()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", enable_checkpointing=False, limit_val_batches=0, **quiet
    )
    trainer.fit(model, train_dataloaders=module(table).train_dataloader())
    assert model.seen == [first_batches(module(table), epoch)[0]["patch"] for epoch in (0, 1)]


def test_a_missing_mask_is_refused_by_the_dataset(tree: Path) -> None:
    (tree / "train/HS/class/HS15_0.tif").unlink()
    with pytest.raises(ValueError, match=r"1 rows have no mask, among them \['train/HS15_0'\]"):
        PatchDataset(scan(tree), MEAN, STD)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("class", np.full((1, 32, 32), 5, np.uint8), r"class/HS15_0.tif: mask holds codes \[5\]"),
        ("class", np.zeros((1, 32, 30), np.uint8), "class/HS15_0.tif: expected one band of the image's size"),
        ("class", np.zeros((2, 32, 32), np.uint8), "class/HS15_0.tif: expected one band, got 2"),
        ("imgs", np.zeros((4, 32, 32), np.uint16), "imgs/HS15_0.tif: expected uint8, got uint16"),
        ("imgs", np.zeros((3, 32, 32), np.uint8), "imgs/HS15_0.tif: expected 4 bands, got 3"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tree: Path, name: str, array: np.ndarray, message: str) -> None:
    write_raster(tree / f"train/HS/{name}/HS15_0.tif", array)
    rows = scan(tree).query("patch == 'train/HS15_0'")
    with pytest.raises(ValueError, match=message):
        PatchDataset(rows, MEAN, STD)[0]
    with pytest.raises(ValueError, match=message):
        PatchDataset(rows, MEAN, STD, in_memory=True)


def test_an_empty_or_unknown_split_is_an_error(table: pd.DataFrame) -> None:
    data = module(table[table["split"] == "train"])
    with pytest.raises(ValueError, match=r"split 'val' holds no labelled patch; the data has {'train': 36}"):
        data.val_dataloader()
    with pytest.raises(ValueError, match="got 'valid'; allowed: train, val, test"):
        data.loader("valid")


def test_merged_classes_share_a_train_id(tree: Path) -> None:
    rows = scan(tree)
    whole, merged = (
        PatchDataset(rows, MEAN, STD, LabelSpace(classes=c))[0]["mask"].numpy() for c in ("all", "merged")
    )
    index = ELEVEN.index_from_train_id(whole)
    np.testing.assert_array_equal(merged, LabelSpace("ignore", "merged").train_id_from_index(index))
    assert merged[merged != legend.IGNORE].max() < 9
