"""Which backbone goes with which decoder: every sensible pair learns, every other is refused."""

import pytest
import torch

from wusu_lib.models import build, catalogue, decoders

REFUSED = {("resnet50", "linear"): "one value for 32 x 32 px"}
PAIRS = [(backbone, decoder) for backbone in catalogue.BACKBONES for decoder in decoders.DECODERS]
SENSIBLE = [pair for pair in PAIRS if pair not in REFUSED]
SIZE = (60, 52)  # px: no patch size divides them, so every model pads


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 4, *SIZE, generator=generator)
    mask = torch.randint(0, 11, (2, *SIZE), generator=generator)
    mask[:, :8] = 255
    return images, mask


def objective(model, batch):
    loss = model.training_loss(*batch)
    assert loss.pixels == int((batch[1] != 255).sum())
    return loss.objective / loss.pixels


def taps_with_gradient(model, batch):
    """Numbers of the encoder's outputs that the decoder learns from.

    What the encoder gives is cut from its graph: in a CNN a later stage's gradient would pass through the
    earlier ones and hide a stage that the decoder does not read.
    """
    blocks = []

    def cut(_module, _inputs, outputs):
        blocks.extend(block.detach().requires_grad_() for block in outputs)
        return list(blocks)

    hook = model.encoder.register_forward_hook(cut)
    objective(model, batch).backward()
    hook.remove()
    return [i for i, block in enumerate(blocks) if block.grad is not None and block.grad.abs().max() > 0]


@pytest.mark.parametrize("pair", SENSIBLE, ids="-".join)
def test_a_sensible_pair_learns_from_every_tap_and_answers_in_the_images_size(pair, batch):
    backbone, decoder = pair
    catalogue.check(backbone, decoder, "demo")
    model = build.build(backbone, decoder, image_size=min(SIZE)).train()
    encoder = catalogue.BACKBONES[backbone].demo
    expected = {"linear": [encoder.taps[-1]], "deeplab": [encoder.skip, encoder.taps[-1]]}
    assert taps_with_gradient(model, batch) == expected.get(decoder, list(encoder.taps))
    model.zero_grad()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    objective(model, batch).backward()
    torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0, fused=True).step()
    still = [name for name, p in model.named_parameters() if torch.equal(before[name], p)]
    # A ResNet's residual branches start at zero, so what is inside them learns from the second step on.
    assert [name for name in still if not name.startswith("encoder.inner.layer")] == []
    assert all(torch.isfinite(p).all() for p in model.parameters())
    with torch.no_grad():
        assert model.eval()(batch[0]).shape == (2, 11, *SIZE)


@pytest.mark.parametrize(("pair", "reason"), REFUSED.items())
def test_any_other_pair_is_refused_with_its_reason(pair, reason):
    for refuse in (lambda: catalogue.check(*pair, "demo"), lambda: build.build(*pair)):
        with pytest.raises(ValueError, match=reason):
            refuse()


def test_the_skip_block_is_the_one_asked_for(batch):
    for block in (1, 2, 3):
        model = build.build("dinov3_sat_large", "deeplab", skip_block=block).train()
        assert taps_with_gradient(model, batch) == [block - 1, 3]


def test_the_neck_of_deeplab_fits_the_backbone():
    """Learnt for Prithvi, resized for DINOv3 as in the study; a CNN's context is doubled instead."""
    shapes = {}
    for backbone in ("prithvi_300m", "dinov3_sat_large", "resnet50"):
        model = build.build(backbone, "deeplab").eval()
        model.neck.register_forward_hook(lambda _m, _i, maps, name=backbone: shapes.update({name: maps}))
        with torch.no_grad():
            model(torch.randn(1, 4, 128, 128))
        assert model.decoder._smp_decoder.block1[0].out_channels == 48
    channels = {name: (maps[2].shape[1], maps[4].shape[1]) for name, maps in shapes.items()}
    assert channels["prithvi_300m"] == (24, 96)
    assert channels["dinov3_sat_large"] == (96, 96)
    assert {tuple(maps[2].shape[-2:]) for maps in shapes.values()} == {(32, 32)}
    assert {tuple(maps[4].shape[-2:]) for maps in shapes.values()} == {(8, 8)}


def test_arguments_of_the_decoders_arrive():
    """smp swallows arguments with the wrong prefix without a word, so look at what was built."""
    upernet = build.build("prithvi_300m", "upernet").decoder
    assert upernet.out_channels == decoders.DECODERS["upernet"].demo["channels"]
    assert tuple(upernet.psp_modules.pool_scales) == decoders.DECODERS["upernet"].demo["pool_scales"]
    segformer = build.build("prithvi_300m", "segformer").decoder._smp_decoder
    width = decoders.DECODERS["segformer"].demo["decoder_segmentation_channels"]
    assert [stage.linear.out_features for stage in segformer.mlp_stage] == [width] * 4
    linear = build.build("prithvi_300m", "linear")
    assert sum(p.numel() for p in linear.decoder.parameters()) == 0
    assert sum(p.numel() for p in linear.head.parameters()) == 96 * 11 + 11


def test_segformer_draws_at_the_finest_map():
    model = build.build("prithvi_300m", "segformer").eval()
    with torch.no_grad():
        assert model.features(torch.randn(1, 4, 128, 128)).shape[-2:] == (32, 32)


def test_upernet_trains_on_one_image(batch):
    """Its pooling to 1 x 1 px would leave batch normalisation one value a channel."""
    model = build.build("prithvi_300m", "upernet").train()
    objective(model, [tensor[:1] for tensor in batch]).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
