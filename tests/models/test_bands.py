"""The order of the bands: each backbone sees its own, whatever the data's, and three if so asked."""

import pytest
import torch

from wusu_lib.models import build, catalogue
from wusu_lib.models.spec import DATA_BANDS

FAMILIES = ["prithvi_300m", "dinov3_sat_large", "dinov2_small", "clay", "resnet50"]
FILTERED = [name for name in FAMILIES if name != "clay"]  # Clay makes its filters from wavelengths
RED_FIRST = ["dinov3_sat_large", "dinov2_small", "resnet50"]
SIDE = 96


def first_filter(model):
    """The layer that reads the image."""
    return next(m for m in model.encoder.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Conv3d))


def bands_seen(model):
    """Names of the data's bands in the order of the first layer's inputs, read off with known filters.

    Each input in turn is the only one that the first layer passes on, as its mean; the image's bands are
    constant, each with its own number.
    """
    layer, seen = first_filter(model), []
    image = torch.arange(1.0, 5.0).reshape(1, 4, 1, 1).expand(1, 4, SIDE, SIDE)
    inputs = layer.weight.shape[1]
    kept = layer.weight.detach().clone()
    answers = []
    hook = layer.register_forward_hook(lambda _m, _i, output: answers.append(output.detach().float()))
    with torch.no_grad():
        for i in range(inputs):
            layer.weight.zero_()
            layer.weight[:, i] = 1 / layer.weight[0, 0].numel()
            if layer.bias is not None:
                layer.bias.zero_()
            model.eval()(image)
            middle = answers[-1].flatten(2)[0, 0].max()  # a CNN's padding with zeros lowers the border
            seen.append(DATA_BANDS[round(middle.item()) - 1])
        layer.weight.copy_(kept)
    hook.remove()
    return seen


@pytest.mark.parametrize("name", FILTERED)
@pytest.mark.parametrize("bands", ["all", "rgb"])
def test_each_input_of_the_first_layer_reads_its_band(name, bands):
    colours = ["RED", "GREEN", "BLUE"] if name in RED_FIRST else ["BLUE", "GREEN", "RED"]
    expected = colours if bands == "rgb" else [*colours, "NIR"]
    assert bands_seen(build.build(name, "deeplab", bands=bands, image_size=SIDE)) == expected


@pytest.mark.parametrize("name", FAMILIES)
def test_without_infrared_nothing_of_it_reaches_the_logits(name):
    images = torch.rand(1, 4, SIDE, SIDE)
    infrared, red = images.clone(), images.clone()
    infrared[:, 3], red[:, 2] = 1 - infrared[:, 3], 1 - red[:, 2]
    for bands, matters in (("rgb", False), ("all", True)):
        model = build.build(name, "deeplab", bands=bands, image_size=SIDE).eval()
        with torch.no_grad():
            logits = model(images)
            assert torch.equal(model(infrared), logits) is not matters
            assert not torch.allclose(model(red), logits)
            assert not torch.allclose(model(images[:, [2, 1, 0, 3]]), logits)


def test_clay_knows_its_bands_by_their_wavelengths():
    """GF-2's band centres, in the order in which the bands come in; a name without one is refused."""
    from wusu_lib.models.clay import wavelengths

    spec = catalogue.BACKBONES["clay"]
    names, order = spec.reads("all")
    assert dict(zip([DATA_BANDS[i] for i in order], wavelengths(names), strict=True)) == {
        "BLUE": 0.485,
        "GREEN": 0.555,
        "RED": 0.66,
        "NIR": 0.83,
    }
    encoder = build.build("clay", "linear", bands="rgb").encoder
    assert encoder.read.keywords["waves"] == [0.485, 0.555, 0.66]
    with pytest.raises(ValueError, match="NIR_NARROW"):
        wavelengths(["NIR_NARROW"])


def test_prithvi_has_the_bands_that_its_checkpoints_name():
    names = catalogue.BACKBONES["prithvi_600m"].reads("all")[0]
    from wusu_lib.models.prithvi import STORED

    assert set(names) < set(STORED)
