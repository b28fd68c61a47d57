"""Pre-training without labels: what is predicted, what is blanked, and that the same seed learns the same."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from wusu_lib.models.catalogue import find
from wusu_lib.models.spec import recorded_miniature
from wusu_lib.training import pretraining
from wusu_lib.training.pretraining import RECIPES, Recipe


@pytest.fixture(scope="module")
def images():
    """Two images of four bands with patches of colour that a token can see."""
    rng = np.random.default_rng(0)
    cells = rng.uniform(0.1, 0.6, (2, 4, 24, 24)).repeat(8, 2).repeat(8, 3)
    return [torch.from_numpy(x + rng.normal(0, 0.01, x.shape)).half() for x in cells]


def test_every_backbone_has_a_recipe_and_a_whole_number_of_cells():
    for name, recipe in RECIPES.items():
        spec = find(recipe.backbone)
        assert spec.miniature == name
        side = recipe.grid * recipe.cell
        assert side % spec.demo.patch == 0
        if spec.transformer:
            assert recipe.cell == spec.demo.patch


@pytest.mark.parametrize("name", RECIPES)
def test_the_published_weights_were_made_by_the_recipe(name):
    told = json.loads(json.dumps(asdict(RECIPES[name])))
    assert recorded_miniature(name)["recipe"] == told


def test_statistics_are_of_their_own_cell():
    """One bright cell: its statistics differ, those of cells that do not touch it do not."""
    flat = torch.zeros(1, 4, 64, 64)
    marked = flat.clone()
    marked[..., 16:32, 32:48] = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
    found = [pretraining.statistics(x, 4)[0] for x in (flat, marked)]
    assert found[0].shape == (16, 100)
    changed = (found[0] != found[1]).any(dim=1).nonzero().flatten().tolist()
    assert changed == [2, 5, 6]  # row 1, column 2; above and left of it the gradient at the edge


def test_statistics_have_their_values():
    images = torch.zeros(1, 4, 16, 16)
    images[0, 3] = 1
    images[0, :, :, 1::2] += 2  # stripes across: 0 and 2, in NIR 1 and 3
    found = pretraining.statistics(images, 1)[0, 0]
    means, variances, energies, difference = found.split([64, 16, 16, 4])
    torch.testing.assert_close(means.view(4, 16), torch.tensor([1.0, 1, 1, 2])[:, None].expand(4, 16))
    torch.testing.assert_close(variances, torch.full((16,), 1.001).log())
    torch.testing.assert_close(difference, torch.ones(4))
    across, down, one, other = energies.view(4, 4)
    assert across[0].exp() == pytest.approx(4.001)
    assert down.exp().tolist() == pytest.approx([0.001] * 4, rel=1e-3)
    torch.testing.assert_close(one, other)


def test_cells_of_a_pyramid_lie_where_the_image_shows_them():
    """Stages at strides 4 to 32 with the position in their values: every cell gets its own place."""
    spec, grid = find("resnet50"), 4  # 64 px
    place = torch.arange(16.0).reshape(1, 1, 4, 4)
    stages = [place.repeat_interleave(k, 2).repeat_interleave(k, 3) for k in (4, 2, 1)]
    coarse = torch.arange(4.0).reshape(1, 1, 2, 2).expand(1, 8, 2, 2)
    cells = pretraining.cells_of([*stages, coarse], spec, grid)
    assert [x.shape for x in cells] == [(1, 16, 16), (1, 16, 4), (1, 16, 1), (1, 16, 2)]
    for x in cells[:3]:
        assert torch.equal(x[0], torch.arange(16.0)[:, None].expand_as(x[0]))
    assert cells[3][0, :, 0].tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3]


def test_blanked_cells_are_half_and_stand_together():
    hidden = pretraining.clumps(200, 10, 0.5, torch.Generator().manual_seed(0))
    assert hidden.float().mean((1, 2)).tolist() == pytest.approx([0.5] * 200, abs=0.011)
    together = (hidden[:, :, 1:] == hidden[:, :, :-1]).float().mean().item()
    assert together > 0.65  # 0.5 where each cell is drawn by itself
    assert not pretraining.clumps(5, 8, 0.0, torch.Generator().manual_seed(0)).any()


def test_crops_are_cut_from_the_images(images):
    found = pretraining.crops(images, 20, 112, np.random.default_rng(0))
    assert found.shape == (20, 4, 112, 112)
    assert found.dtype == torch.float32
    values = {float(v) for v in images[0].float().unique()} | {float(v) for v in images[1].float().unique()}
    assert {float(v) for v in found[0].unique()} <= values


@pytest.fixture(scope="module")
def learnt(images):
    return [pretraining.pretrain(quick("prithvi_300m"), images, seed) for seed in (0, 0, 1)]


def quick(name) -> Recipe:
    return replace(RECIPES[name], steps=40, batch=4)


def test_the_same_seed_learns_the_same_bytes(learnt):
    first, again, other = (x.encoder.state_dict() for x in learnt)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert learnt[0].loss == learnt[1].loss
    assert not torch.equal(first["patch_embed.proj.weight"], other["patch_embed.proj.weight"])


def test_the_loss_falls_and_the_world_is_measured(learnt, images):
    curve = learnt[0].loss
    assert [row["step"] for row in curve] == [20, 40]
    assert curve[-1]["visible"] < 0.9 * curve[0]["visible"]
    pixels = torch.stack(images).double()
    torch.testing.assert_close(learnt[0].mean.double(), pixels.mean((0, 2, 3)), atol=1e-6, rtol=0)
    torch.testing.assert_close(learnt[0].std.double(), pixels.std((0, 2, 3), correction=0), atol=1e-6, rtol=0)


def test_a_family_of_colours_learns_without_infrared(images):
    found = pretraining.pretrain(quick("dinov3"), [image[:3] for image in images])
    assert find("dinov3_sat_large").reads("rgb")[1] == (2, 1, 0)
    assert found.encoder(torch.zeros(1, 3, 128, 128))[0].isfinite().all()
    told = pretraining.statistics_of_bands(found)
    assert told["mean"][3] == pytest.approx(sum(told["mean"][:3]) / 3, abs=1e-4)


def test_a_pyramid_learns_from_whole_images(images):
    assert all(row["hidden"] is None for row in pretraining.pretrain(quick("resnet"), images).loss)


def test_other_bands_than_the_sensors_are_refused(images):
    with pytest.raises(ValueError, match="expected 3 bands and at least 128 px"):
        pretraining.pretrain(quick("dinov3"), images)
    with pytest.raises(ValueError, match="known: prithvi_600m"):
        pretraining.make(["prithvi"])
