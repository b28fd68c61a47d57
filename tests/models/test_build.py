"""Every pair of backbone and decoder at demo scale: shapes, gradients, band order, reproducibility."""

import copy
import pickle

import pytest
import torch

from wusu_lib import models

PAIRS = [(backbone, decoder) for backbone in models.BACKBONES for decoder in models.DECODERS]


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def pair(request):
    return request.param


@pytest.fixture(scope="module")
def model(pair):
    return models.build(*pair, image_size=128)


def logits_of(model, images):
    model.eval()
    with torch.no_grad():
        return model(images)


def test_one_step_reaches_every_parameter(model):
    """No parameter is idle: a tap that a decoder drops would leave its neck without a gradient."""
    model.train()
    logits = model(torch.randn(2, 4, 64, 64))
    torch.nn.functional.cross_entropy(logits, torch.randint(0, 11, (2, 64, 64))).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []
    model.zero_grad()


def test_taps_read_by_the_decoder(model, pair):
    """The pyramids read all four taps; DeepLabV3+ the first (its skip) and the last (its context)."""
    backbone, decoder = pair
    taps = models.BACKBONES[backbone].demo.taps
    expected = [taps[0], taps[-1]] if decoder == "deeplab" else list(taps)
    size = (4 * model.size_multiple, 4 * model.size_multiple)
    blocks = model.eval().encoder(torch.randn(1, 4, *size))
    for block in blocks:
        block.retain_grad()
    model.head(model.decoder(model.neck(blocks, image_size=size))).square().sum().backward()
    # A later tap's gradient does not reach an earlier output, which is a clone of the running tokens.
    assert [i for i, block in enumerate(blocks) if block.grad is not None] == expected
    model.zero_grad()


def test_a_miniature_has_its_familys_patch_size(model, pair):
    spec = models.BACKBONES[pair[0]]
    assert model.encoder.patch_embed.proj.kernel_size[-2:] == (spec.full.patch, spec.full.patch)
    assert spec.demo.patch == spec.full.patch


@pytest.mark.parametrize("size", [(128, 128), (100, 77), (32, 128), (61, 29)])
def test_logits_have_the_size_of_the_image(model, size):
    assert logits_of(model, torch.randn(1, 4, *size)).shape == (1, 11, *size)


def test_deep_copy_and_pickle_call_their_own_weights(model):
    """TerraTorch's closure would keep calling the original encoder."""
    images = torch.randn(1, 4, 64, 64)
    before = logits_of(model, images)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(logits_of(twin, images), before, rtol=0, atol=0)
        with torch.no_grad():
            twin.encoder.patch_embed.proj.weight.zero_()
        assert not torch.allclose(logits_of(twin, images), before)
        torch.testing.assert_close(logits_of(model, images), before, rtol=0, atol=0)


def test_a_batch_of_one_image_can_be_trained(model):
    model.train()
    model(torch.randn(1, 4, 64, 64)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    model.zero_grad()


def test_same_seed_same_weights_and_untouched_global_generator():
    torch.manual_seed(5)
    expected_draw = torch.rand(1)
    torch.manual_seed(5)
    first = models.build("prithvi_300m", "unet", seed=1).state_dict()
    assert torch.equal(torch.rand(1), expected_draw)
    again = models.build("prithvi_300m", "unet", seed=1).state_dict()
    other = models.build("prithvi_300m", "unet", seed=2).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    for key in ("encoder.patch_embed.proj.weight", "head.head.2.weight"):
        assert not torch.equal(first[key], other[key])


def test_alias_builds_the_same_model():
    alias = models.build("prithvi_600m", "deeplabv3plus").state_dict()
    name = models.build("prithvi_600m", "deeplab").state_dict()
    assert alias.keys() == name.keys()
    assert all(torch.equal(alias[key], name[key]) for key in name)


def test_decoder_arguments_arrive():
    """smp swallows arguments with the wrong prefix without a word, so look at what was built."""
    fpn = models.build("prithvi_300m", "fpn").decoder._smp_decoder
    arguments = models.DECODERS["fpn"].demo
    assert fpn.p5.out_channels == arguments["decoder_pyramid_channels"]
    assert fpn.seg_blocks[0].block[0].block[0].out_channels == arguments["decoder_segmentation_channels"]
    assert fpn.dropout.p == arguments["decoder_dropout"]
    deeplab = models.build("prithvi_300m", "deeplab").decoder._smp_decoder
    arguments = models.DECODERS["deeplab"].demo
    aspp = deeplab.aspp[0]
    assert tuple(branch[0][0].dilation[0] for branch in aspp.convs[1:4]) == arguments["decoder_atrous_rates"]
    assert aspp.project[3].p == arguments["decoder_aspp_dropout"]
    assert aspp.project[0].out_channels == arguments["decoder_channels"]
    assert deeplab.block1[0].out_channels == 48
    assert deeplab.up.scale_factor == 4
    unet = models.build("prithvi_300m", "unet").decoder
    channels = [block.conv2[0].out_channels for block in unet.decoder.blocks]
    assert channels == models.DECODERS["unet"].demo["channels"]


def test_outputs_sets_the_number_of_classes():
    model = models.build("prithvi_300m", "unet", outputs=12)
    assert logits_of(model, torch.randn(1, 4, 64, 64)).shape == (1, 12, 64, 64)


def test_describe_lists_parts_and_leaves_the_modes():
    model = models.build("prithvi_600m", "deeplab")
    model.freeze_encoder()
    model.train()
    table = models.describe(model, 128).set_index("part")
    assert table.loc["input", "output shape"] == "4 x 140 x 140"
    assert table.loc["encoder", "output shape"] == "4 of 101 x 96"  # CLS and 10 x 10 patches
    assert table.loc["encoder", "trainable"] == 0
    assert table.loc["total", "output shape"] == "11 x 128 x 128"
    total = sum(p.numel() for p in model.parameters())
    assert table.loc["total", "parameters"] == total == table["parameters"].drop("total").sum()
    assert model.training
    assert model.decoder.training
    assert not model.encoder.training
