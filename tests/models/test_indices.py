"""Spectral indices: by hand, what is refused and why, and how a first layer takes them."""

import numpy as np
import pytest
import tiny
import torch
from small_tree import write_raster
from torch import nn

from wusu_lib.experiment.parameters import parse
from wusu_lib.experiment.segmentation import SegmentationParameters, build_network
from wusu_lib.models import build, catalogue, indices
from wusu_lib.models.segmentation import FirstLayer, SpectralIndices, fresh_parameters
from wusu_lib.training.task import SegmentationTask

B, G, R, N = 0.2, 0.4, 0.1, 0.6
# By hand, from the papers' formulas.
BY_HAND = {
    "NDVI": (0.6 - 0.1) / 0.7,
    "NDWI": (0.4 - 0.6) / 1.0,
    "NDTI": (0.1 - 0.4) / 0.5,
    "IKAW": (0.1 - 0.2) / 0.3,
    "GCC": 0.4 / 0.7,
    "VARI": (0.4 - 0.1) / 0.3,
    "DVI": 0.5,
    "TVI": (5 / 7 + 0.5) ** 0.5,
    "ExG": 0.8 - 0.1 - 0.2,
}
COUNTS = np.array([B, G, R, N]).reshape(4, 1, 1)


@pytest.mark.parametrize("name", BY_HAND)
def test_an_index_by_hand_on_arrays_and_on_tensors(name):
    (found,) = indices.values(COUNTS, [name])
    assert found.item() == pytest.approx(BY_HAND[name])
    (found,) = indices.values(torch.from_numpy(COUNTS), [name])
    assert found.item() == pytest.approx(BY_HAND[name])
    assert name in indices.computable()


def test_copies_are_what_the_algebra_says():
    counts = np.random.default_rng(0).uniform(0.05, 1, (4, 9, 9))
    ndvi, ndwi, red, green = indices.values(counts, ["NDVI", "NDWI", "VrNIRBI", "VgNIRBI"])
    np.testing.assert_allclose(red, -ndvi)
    np.testing.assert_allclose(green, ndwi)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("NDBI", r"NDBI needs S1 \(Short-wave Infrared \(SWIR\) 1\).*urban.*VgNIRBI, VrNIRBI"),
        ("SAVI", "SAVI has L in its formula, set for reflectance"),
        ("OSAVI", r"the constants in the formula of OSAVI, .*0\.16.* are for reflectance"),
        ("BAI", "the constants in the formula of BAI"),
        ("GEMI", "the constants in the formula of GEMI"),
        ("SI", "the constants in the formula of SI"),
        ("NDVl", "NDVl is not known to spyndex; spelt alike: NDVI"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_the_reason_and_what_can(name, told):
    with pytest.raises(ValueError, match=f"indices: {told}"):
        tiny.settings(indices=["NDVI", name])


def test_an_index_twice_of_the_infrared_left_out_or_for_filters_made_of_wavelengths_is_refused():
    with pytest.raises(ValueError, match="name each index once"):
        tiny.settings(indices=["NDVI", "NDVI"])
    with pytest.raises(ValueError, match='NDVI reads the infrared, which bands="rgb" leaves out'):
        tiny.settings(indices=["NDVI"], bands="rgb")
    assert tiny.settings(indices=["GCC"], bands="rgb").indices == ["GCC"]
    with pytest.raises(ValueError, match=r"Clay .* wavelengths, and an index has none"):
        tiny.settings(indices=["NDVI"], backbone="clay")
    with pytest.raises(ValueError, match='index_filters: got "zero" with adaptation="frozen"'):
        tiny.settings(indices=["NDVI"], adaptation="frozen")


def test_papermills_text_is_a_list_of_names():
    stated = {"name": "exp12", "prediction": "val mIoU rises by at least 0.01 over exp05"}
    stated |= {"backbone": "prithvi_600m", "decoder": "deeplab", "indices": "[NDVI, NDWI]"}
    assert parse(SegmentationParameters, stated).indices == ["NDVI", "NDWI"]
    with pytest.raises(ValueError, match="indices: NDBI needs S1"):
        parse(SegmentationParameters, stated | {"indices": "[NDBI]"})


def test_without_indices_a_run_does_not_depend_on_how_they_start():
    assert "index_filters" not in tiny.settings().effective()
    assert tiny.settings(index_filters="mean").effective() == tiny.settings().effective()
    assert tiny.settings(indices=["NDVI"]).effective()["index_filters"] == "zero"


def images():
    """Three images of whole counts: random ones, and one that is black in a corner."""
    counts = np.random.default_rng(1).integers(1, 255, (3, 4, 16, 16)).astype(np.uint8)
    counts[2, :, :8, :8] = 0
    return counts


def test_statistics_are_of_the_pixels_where_the_index_is_defined(tmp_path):
    paths = [tmp_path / f"{n}.tif" for n in range(3)]
    for path, image in zip(paths, images(), strict=True):
        write_raster(path, image)
    mean, std = indices.measure(map(str, paths), ["NDVI", "GCC"])
    whole = images() / 255.0
    black = (images() == 0).all(axis=1)
    ndvi = ((whole[:, 3] - whole[:, 2]) / np.where(black, 1, whole[:, 3] + whole[:, 2]))[~black]
    assert mean[0] == pytest.approx(ndvi.mean())
    assert std[0] == pytest.approx(ndvi.std())
    names = ["NDVI", "VrNIRBI", "GCC"]
    r = indices.correlations(map(str, paths), names)
    counts = np.moveaxis(whole, 1, 0)[:, ~black]  # [4, pixels]
    channels = [*counts, *(each.ravel() for each in indices.values(counts[:, None], names))]
    np.testing.assert_allclose(r, np.corrcoef(channels), atol=1e-9)
    assert r.shape == (7, 7)
    assert r[4, 5] == pytest.approx(-1)


def test_channels_are_normalised_and_black_pixels_have_the_mean():
    counts = images()
    module = SpectralIndices(["NDVI", "SR"])
    module.fill(([0.3, 0.4, 0.5, 0.2], [0.1, 0.2, 0.3, 0.15]), ([0.1, 1.0], [0.5, 0.25]))
    scaled = (counts / 255 - module.bands[0].numpy()[:, None, None]) / module.bands[1].numpy()[:, None, None]
    found = module(torch.from_numpy(scaled.astype(np.float32))).numpy()
    whole = counts.astype(np.float64)
    with np.errstate(invalid="ignore"):
        ndvi = ((whole[:, 3] - whole[:, 2]) / (whole[:, 3] + whole[:, 2]) - 0.1) / 0.5
    defined = np.isfinite(ndvi)
    np.testing.assert_allclose(found[:, 0][defined], ndvi[defined], atol=1e-5)
    assert (found[2, :, :8, :8] == 0).all()
    assert found.max() == 10  # a ratio of a bright infrared to a dark red is cut
    assert np.isfinite(found).all()


BACKBONES = [name for name, spec in catalogue.BACKBONES.items() if spec.filters]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_filters_of_zero_change_nothing_and_means_are_those_of_the_bands(backbone):
    images = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = build.build(backbone, "fpn", seed=3).eval()
    found = {
        filters: build.build(backbone, "fpn", seed=3, indices=["NDVI", "GCC"], index_filters=filters).eval()
        for filters in ("zero", "mean", "stem")
    }
    with torch.no_grad():
        expected = plain(images)
        torch.testing.assert_close(found["zero"](images), expected, rtol=1e-5, atol=1e-5)
        for filters in ("mean", "stem"):
            assert (found[filters](images) - expected).abs().max() > 1e-4
    (layer,) = [m for m in found["mean"].modules() if isinstance(m, FirstLayer)]
    for channel in (0, 1):
        torch.testing.assert_close(layer.more.weight[:, channel], layer.layer.weight.mean(dim=1))
    assert "indices.channels" in found["zero"].state_dict()


def test_the_first_layer_is_one_convolution_of_all_channels():
    own = nn.Conv2d(3, 5, 4, stride=4)
    both = FirstLayer(own, 2, "stem")
    whole = nn.Conv2d(5, 5, 4, stride=4)
    with torch.no_grad():
        whole.weight.copy_(torch.cat([own.weight, both.more.weight], dim=1))
        whole.bias.copy_(own.bias)
    x = torch.randn(2, 5, 8, 8)
    torch.testing.assert_close(both(x), whole(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("adaptation", ["frozen", "lora", "differential"])
def test_a_stem_learns_like_the_decoder_whatever_the_encoder_does(adaptation):
    stated = tiny.settings(
        backbone="prithvi_600m",
        decoder="fpn",
        weights="random",
        adaptation=adaptation,
        indices=["NDVI"],
        index_filters="stem",
    )
    model = build_network(stated, 11, 64, 0)
    task = SegmentationTask(model, stated)
    (stem,) = fresh_parameters(model.encoder)
    assert stem.requires_grad
    groups = {g["name"]: {id(p) for p in g["params"]} for g in task.configure_optimizers().param_groups}
    assert id(stem) in groups["decoder"]
    assert id(stem) not in groups.get("encoder", set())
    with torch.no_grad():
        before = stem.clone()
    model.train()
    batch = {"image": torch.randn(2, 4, 64, 64), "mask": torch.randint(0, 11, (2, 64, 64))}
    optimizer = task.configure_optimizers()
    task.training_step(batch, 0).backward()
    optimizer.step()
    assert not torch.equal(before, stem)


def test_filters_of_zero_learn_where_the_encoder_does():
    stated = tiny.settings(
        backbone="resnet50", decoder="fpn", weights="random", adaptation="differential", indices=["NDVI"]
    )
    model = build_network(stated, 11, 64, 0)
    (layer,) = [m for m in model.modules() if isinstance(m, FirstLayer)]
    optimizer = SegmentationTask(model, stated).configure_optimizers()
    encoder = next(g for g in optimizer.param_groups if g["name"] == "encoder")
    assert id(layer.more.weight) in {id(p) for p in encoder["params"]}
