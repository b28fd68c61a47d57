"""What the catalogue says of each backbone, held against the full-size encoders without weights."""

import pytest
import torch

from wusu_lib.models import catalogue

# backbone: millions of parameters of the published encoder with a filter for NIR, prefix tokens
SIZES = {
    "prithvi_300m": (303.9, 1),
    "prithvi_600m": (631.2, 1),
    "dinov3_sat_large": (303.1, 5),
    "dinov3_sat_7b": (6716, 5),
    "dinov2_small": (22.13, 1),
    "clay": (92.1, 1),
    "clay_v15": (311.3, 1),
    "resnet50": (23.51, 0),
}


@pytest.fixture(scope="module", params=SIZES)
def full(request):
    """Name and full-size encoder on the meta device: shapes without memory, even of 7 billion parameters."""
    from wusu_lib.models.build import build_encoder

    with torch.device("meta"):
        return request.param, build_encoder(request.param, "full", "random", "all")


def test_every_backbone_is_held_against_its_encoder():
    assert set(SIZES) == set(catalogue.BACKBONES)


def test_full_size_encoder_is_as_the_catalogue_says(full):
    name, encoder = full
    spec = catalogue.BACKBONES[name]
    assert encoder.out_channels[-1] == spec.full.dim
    assert len(encoder.out_channels) == spec.full.depth
    assert spec.full.taps == tuple(spec.full.depth * (i + 1) // 4 - 1 for i in range(4))
    found = sum(p.numel() for p in encoder.parameters()) / 1e6
    assert found == pytest.approx(SIZES[name][0], rel=0.002)
    assert spec.prefix_tokens == SIZES[name][1]
    assert spec.demo.patch == spec.full.patch


def test_full_size_encoder_gives_every_block_on_its_grid(full):
    """4 x 4 patches behind the prefix, or without it, or the last stage of a CNN."""
    name, encoder = full
    spec = catalogue.BACKBONES[name]
    side = 4 * spec.full.patch
    with torch.device("meta"), torch.no_grad():
        found = encoder(torch.empty(1, 4, side, side))
    last = (
        (1, spec.prefix_tokens + 16, spec.full.dim) if spec.output == "tokens" else (1, spec.full.dim, 4, 4)
    )
    assert len(found) == spec.full.depth
    assert found[-1].shape == last


@pytest.mark.parametrize("name", ["dinov3_sat_large", "dinov2_small"])
def test_the_encoder_itself_leaves_out_the_prefix_tokens(name):
    from wusu_lib.models.build import build_encoder

    encoder = build_encoder(name, "demo", "random", "all")
    assert encoder.inner.num_prefix_tokens == catalogue.BACKBONES[name].prefix_tokens


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("dinov3_sat_large", (0.296, 0.411, 0.430, 0.379), (0.143, 0.156, 0.213, 0.512 / 3)),
        ("dinov2_small", (0.406, 0.456, 0.485, 0.449), (0.225, 0.224, 0.229, 0.226)),
        ("clay", (0.3849, 0.4526, 0.4320, 0.5453), (0.1389, 0.1562, 0.1852, 0.1955)),
    ],
)
def test_expected_statistics_stand_in_the_order_of_the_data(name, mean, std):
    """Blue first; NIR's are the mean of the colours' where the weights know colours only."""
    found = catalogue.expected_statistics(name)
    assert found[0] == pytest.approx(mean, abs=1e-4)
    assert found[1] == pytest.approx(std, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "scale", "block", "index"),
    [
        ("dinov3_sat_large", "full", 0, 9),  # the study's: the tenth block
        ("dinov3_sat_large", "full", 10, 9),
        ("dinov3_sat_large", "full", 23, 22),
        ("dinov3_sat_large", "demo", 0, 1),
        ("prithvi_600m", "full", 0, 7),
        ("resnet50", "full", 0, 0),
    ],
)
def test_skip_blocks_count_from_one(name, scale, block, index):
    assert catalogue.BACKBONES[name].skip(scale, block) == index


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("dinov3_sat_large", "deeplab", "full", 24), r"allows 1 to 23 .* usual one \(10\)"),
        (("dinov3_sat_large", "deeplab", "demo", 10), "allows 1 to 3"),
        (("dinov3_sat_large", "deeplab", "demo", -1), "allows 1 to 3"),
        (("resnet50", "deeplab", "full", 1), "no transformer"),
        (("dinov3_sat_large", "fpn", "full", 10), "only the decoder deeplab has a skip"),
    ],
)
def test_a_skip_block_that_is_not_there_is_refused(arguments, reason):
    backbone, decoder, scale, block = arguments
    with pytest.raises(ValueError, match=reason):
        catalogue.check(backbone, decoder, scale, skip_block=block)


def test_unknown_bands_and_lora_without_attention_are_refused():
    with pytest.raises(ValueError, match="bands: got 'nir'; allowed: all, rgb"):
        catalogue.check("clay", "fpn", "demo", bands="nir")
    with pytest.raises(ValueError, match="attention"):
        catalogue.check("resnet50", "fpn", "demo", adaptation="lora")
    catalogue.check("clay", "fpn", "demo", adaptation="lora")
