"""Every family of backbones at demo scale: shapes, sizes, copies, reproducibility, the table of parts."""

import copy
import inspect
import pickle
from pathlib import Path

import pytest
import small_tree
import torch
from terratorch.models.encoder_decoder_factory import EncoderDecoderFactory

from wusu_lib.experiment import experiment
from wusu_lib.models import build, catalogue, decoders

# One of each family, with decoders that a single image and any size are hardest for.
FAMILIES = {
    "prithvi_300m": "unet",
    "prithvi_600m": "deeplab",
    "dinov3_sat_large": "deeplab",
    "dinov2_small": "fpn",
    "clay": "fpn",
    "resnet50": "deeplab",
}
CELLS = 6  # patches (strides of 32 px) a side


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request):
    return request.param


@pytest.fixture(scope="module")
def model(backbone):
    return build.build(backbone, FAMILIES[backbone], image_size=128)


def logits_of(model, images):
    model.eval()
    with torch.no_grad():
        return model(images)


def first_layer(encoder):
    """The first layer with weights that reads the image, or makes the filters that read it."""
    return next(
        m for m in encoder.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Conv3d | torch.nn.Linear)
    )


def test_a_miniature_gives_what_its_family_promises(model, backbone):
    """Tokens behind the prefix, maps without it, or a pyramid, at the family's patch size and depth."""
    spec = catalogue.BACKBONES[backbone]
    assert spec.demo.patch == spec.full.patch
    size = CELLS * spec.demo.patch
    shapes = [tuple(x.shape[1:]) for x in model.encoder(torch.randn(1, 4, size, size))]
    channels, strides = model.encoder.out_channels, (4, 8, 16, 32)
    promised = {
        "tokens": [(spec.prefix_tokens + CELLS**2, spec.demo.dim)] * spec.demo.depth,
        "maps": [(spec.demo.dim, CELLS, CELLS)] * spec.demo.depth,
        "pyramid": [(c, size // s, size // s) for c, s in zip(channels, strides, strict=False)],
    }
    assert shapes == promised[spec.output]
    assert channels[-1] == spec.demo.dim


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
            first_layer(twin.encoder).weight.zero_()
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
    first = build.build("prithvi_300m", "unet", seed=1).state_dict()
    assert torch.equal(torch.rand(1), expected_draw)
    again = build.build("prithvi_300m", "unet", seed=1).state_dict()
    other = build.build("prithvi_300m", "unet", seed=2).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    for key in ("encoder.patch_embed.proj.weight", "head.head.2.weight"):
        assert not torch.equal(first[key], other[key])


def test_alias_builds_the_same_model():
    alias = build.build("prithvi_600m", "deeplabv3plus").state_dict()
    name = build.build("prithvi_600m", "deeplab").state_dict()
    assert alias.keys() == name.keys()
    assert all(torch.equal(alias[key], name[key]) for key in name)


def test_decoder_arguments_arrive():
    """smp swallows arguments with the wrong prefix without a word, so look at what was built."""
    fpn = build.build("prithvi_300m", "fpn").decoder._smp_decoder
    arguments = decoders.DECODERS["fpn"].demo
    assert fpn.p5.out_channels == arguments["decoder_pyramid_channels"]
    assert fpn.seg_blocks[0].block[0].block[0].out_channels == arguments["decoder_segmentation_channels"]
    assert fpn.dropout.p == arguments["decoder_dropout"]
    deeplab = build.build("prithvi_300m", "deeplab").decoder._smp_decoder
    arguments = decoders.DECODERS["deeplab"].demo
    aspp = deeplab.aspp[0]
    assert tuple(branch[0][0].dilation[0] for branch in aspp.convs[1:4]) == arguments["decoder_atrous_rates"]
    assert aspp.project[3].p == arguments["decoder_aspp_dropout"]
    assert aspp.project[0].out_channels == arguments["decoder_channels"]
    assert deeplab.block1[0].out_channels == 48
    assert deeplab.up.scale_factor == 4
    unet = build.build("prithvi_300m", "unet").decoder
    channels = [block.conv2[0].out_channels for block in unet.decoder.blocks]
    assert channels == decoders.DECODERS["unet"].demo["channels"]


def test_outputs_sets_the_number_of_classes():
    model = build.build("prithvi_300m", "unet", outputs=12)
    assert logits_of(model, torch.randn(1, 4, 64, 64)).shape == (1, 12, 64, 64)


def test_describe_lists_parts_and_leaves_the_modes():
    model = build.build("prithvi_600m", "deeplab")
    model.freeze_encoder()
    model.train()
    table = build.describe(model, 128).set_index("part")
    assert table.loc["input", "output shape"] == "4 x 140 x 140"
    assert table.loc["encoder", "output shape"] == "4 of 101 x 96"  # CLS and 10 x 10 patches
    assert table.loc["encoder", "trainable"] == 0
    assert table.loc["total", "output shape"] == "11 x 128 x 128"
    total = sum(p.numel() for p in model.parameters())
    assert table.loc["total", "parameters"] == total == table["parameters"].drop("total").sum()
    assert model.training
    assert model.decoder.training
    assert not model.encoder.training


def test_a_decoder_goes_from_the_notebook_to_terratorch_in_six_frames(tmp_path, monkeypatch):
    """From ``Experiment.runs`` on, in three files."""
    frames = []

    def build_model(*_, **__):
        frames.extend(inspect.stack()[1:])
        raise InterruptedError

    monkeypatch.setattr(EncoderDecoderFactory, "build_model", build_model)
    monkeypatch.setenv("WUSU_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WUSU_CACHE", str(tmp_path / "cache"))
    stated = {"name": "exp05", "prediction": "val mIoU rises by at least 0.01 over exp04", "split": "study"}
    tree = small_tree.write_tree(tmp_path / "tree", size=64, stride=64)
    asked = experiment.prepare(
        stated | {"data_root": str(tree), "backbone": "prithvi_300m", "decoder": "fpn"}
    )
    with pytest.raises(InterruptedError):
        asked.runs()
    ours = [frame for frame in frames if "wusu_lib" in Path(frame.filename).parts]
    names = [frame.function for frame in ours[: [frame.function for frame in ours].index("runs") + 1]]
    assert names == ["assemble", "build", "build_network", "train_segmentation", "_run", "runs"]
    assert {Path(frame.filename).name for frame in ours} == {"build.py", "segmentation.py", "experiment.py"}


def test_dropout_before_the_last_layer_and_nothing_else_is_another_start():
    plain, dropped = (build.build("prithvi_600m", "fpn", seed=3, head_dropout=share) for share in (0.0, 0.5))
    assert plain.state_dict().keys() == dropped.state_dict().keys()
    assert all(torch.equal(value, dropped.state_dict()[name]) for name, value in plain.state_dict().items())
    found = [m for m in dropped.head.modules() if isinstance(m, torch.nn.Dropout)]
    assert [m.p for m in found] == [0.5]
    assert not [m for m in plain.head.modules() if isinstance(m, torch.nn.Dropout)]


@pytest.mark.parametrize("decoder", [name for name, spec in decoders.DECODERS.items() if spec.widths])
def test_a_decoder_of_twice_the_width_has_more_of_its_own_and_no_other_encoder(decoder):
    plain, wide = (build.build("prithvi_600m", decoder, seed=3, decoder_width=width) for width in (1.0, 2.0))
    sizes = [sum(p.numel() for p in model.decoder.parameters()) for model in (plain, wide)]
    assert sizes[1] > 1.8 * sizes[0]
    for name, value in plain.encoder.state_dict().items():
        assert torch.equal(value, wide.encoder.state_dict()[name])
    with torch.no_grad():
        assert wide.eval()(torch.zeros(1, 4, 128, 128)).shape == (1, 11, 128, 128)
