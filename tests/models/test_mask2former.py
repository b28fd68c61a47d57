"""Mask2Former: set loss against transformers and by brute force, ignored pixels, scores, precision."""

import copy
import pickle
from functools import partial
from itertools import permutations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wusu_lib.models import build, catalogue, decoders
from wusu_lib.models.mask2former import Queries, match, set_loss, target

CLASSES, QUERIES, SIDE = 4, 6, 16


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


def random_mask(generator, ignored=False, side=SIDE):
    """Train ids [2, side, side] in blocks of 4 px, the second image with fewer classes."""
    blocks = torch.randint(0, CLASSES, (2, side // 4, side // 4), generator=generator)
    blocks[1] %= 2
    mask = blocks.repeat_interleave(4, 1).repeat_interleave(4, 2)
    if ignored:
        mask[:, : side // 2, :6] = 255
    return mask


def random_queries(generator, layers=2, side=SIDE):
    classes = [torch.randn(2, QUERIES, CLASSES + 1, generator=generator) for _ in range(layers)]
    masks = [2 * torch.randn(2, QUERIES, side, side, generator=generator) for _ in range(layers)]
    return Queries(classes, masks)


def transformers_loss(queries, mask, monkeypatch):
    """Transformers' loss of all layers, its random points replaced by the centres of all pixels.

    Coarse masks are continued beyond the border as interpolation does it; transformers lets them fade to 0.
    """
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former import modeling_mask2former as modeling

    height, width = mask.shape[-2:]
    y, x = torch.meshgrid(
        (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
    )
    centres = torch.stack([x, y], dim=-1).reshape(1, -1, 2)
    monkeypatch.setattr(torch, "rand", lambda n, *_shape, **_more: centres.repeat(n, 1, 1))
    sample = partial(modeling.sample_point, padding_mode="border")
    monkeypatch.setattr(modeling, "sample_point", sample)
    config = Mask2FormerConfig(
        num_labels=CLASSES,
        train_num_points=height * width,
        oversample_ratio=1.0,
        importance_sample_ratio=0.0,
    )
    weights = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    labels = [image.unique() for image in mask]
    truth = [(image == ids[:, None, None]).float() for image, ids in zip(mask, labels, strict=True)]
    layers = [
        {"masks_queries_logits": m, "class_queries_logits": c}
        for c, m in zip(queries.classes, queries.masks, strict=True)
    ]
    losses = modeling.Mask2FormerLoss(config, weights)(
        *layers[-1].values(), truth, labels, auxiliary_predictions=layers[:-1]
    )
    assert len(losses) == 3 * len(layers)
    return sum(
        weight * value for name, weight in weights.items() for key, value in losses.items() if name in key
    )


def test_equals_the_loss_of_transformers_where_nothing_is_ignored(generator, monkeypatch):
    queries, mask = random_queries(generator), random_mask(generator)
    expected = transformers_loss(queries, mask, monkeypatch)
    torch.testing.assert_close(set_loss(queries, mask), expected, rtol=1e-5, atol=0)


def test_equals_the_loss_of_transformers_on_masks_of_a_quarter_of_the_size(generator, monkeypatch):
    """Queries near the truth, so that the coarser costs of the matching cannot change it."""
    mask = random_mask(generator, side=4 * SIDE)
    truth = F.one_hot(mask, QUERIES).movedim(-1, 1).float()  # [2, Q, H, W]
    near = 6 * F.interpolate(truth, scale_factor=0.25, mode="area") - 3
    noise = torch.randn(near.shape, generator=generator)
    classes = torch.randn(2, QUERIES, CLASSES + 1, generator=generator)
    queries = Queries([classes], [near + noise])
    expected = transformers_loss(queries, mask, monkeypatch)
    torch.testing.assert_close(set_loss(queries, mask), expected, rtol=1e-5, atol=0)


def pair_cost(classes, masks, mask, query, label):
    """The cost of one query for one class, pixel by pixel over what is labelled."""
    probability = np.exp(classes[query]) / np.exp(classes[query]).sum()
    entropy, overlap, both, pixels = 0.0, 0.0, 0.0, 0
    for logit, truth in zip(masks[query].ravel(), mask.ravel(), strict=True):
        if truth == 255:
            continue
        p, inside = 1 / (1 + np.exp(-logit)), float(truth == label)
        entropy -= np.log(p) if inside else np.log(1 - p)
        overlap += 2 * p * inside
        both += p + inside
        pixels += 1
    return -2 * probability[label] + 5 * entropy / pixels + 5 * (1 - (overlap + 1) / (both + 1))


def test_the_assignment_is_the_cheapest_of_all(generator):
    queries, mask = random_queries(generator), random_mask(generator, ignored=True)
    for i in range(2):
        wanted = target(mask[i], (SIDE, SIDE))
        labels = wanted.classes.tolist()
        arrays = [t[i].double().numpy() for t in (queries.classes[0], queries.masks[0])]
        cost = [[pair_cost(*arrays, mask[i].numpy(), q, label) for label in labels] for q in range(QUERIES)]
        every = permutations(range(QUERIES), len(labels))
        best = min(every, key=lambda chosen: sum(cost[q][t] for t, q in enumerate(chosen)))
        chosen, positions = match(queries.classes[0][i], queries.masks[0][i], wanted)
        assert dict(zip(positions.tolist(), chosen.tolist(), strict=True)) == dict(enumerate(best))


@pytest.mark.parametrize("value", [50.0, -1e30, float("inf"), float("nan")])
def test_nothing_comes_from_ignored_pixels(generator, value):
    queries, mask = random_queries(generator), random_mask(generator, ignored=True)
    ignored = (mask == 255)[:, None]
    masks = [m.masked_fill(ignored, value).requires_grad_() for m in queries.masks]
    loss = set_loss(Queries(queries.classes, masks), mask)
    assert torch.equal(loss, set_loss(queries, mask))
    loss.backward()
    for layer in masks:
        where = ignored.expand_as(layer)
        assert layer.grad[where].abs().max() == 0
        assert layer.grad[~where].abs().max() > 0


def test_labels_under_the_ignored_area_have_no_part(generator):
    """The other way round: what was known before pixels were ignored is forgotten."""
    queries, whole = random_queries(generator), random_mask(generator)
    first, second = whole.clone(), (whole + 1) % CLASSES
    second[:, 8:], second[:, :, 6:] = whole[:, 8:], whole[:, :, 6:]
    assert not torch.equal(set_loss(queries, first), set_loss(queries, second))
    first[:, :8, :6] = second[:, :8, :6] = 255
    assert torch.equal(set_loss(queries, first), set_loss(queries, second))


def test_coarse_masks_learn_only_beside_labelled_pixels(generator):
    """On masks of a quarter of the size, interpolation reaches one cell beyond the labelled pixels."""
    mask = torch.randint(0, CLASSES, (1, 32, 32), generator=generator)
    mask[:, :, :16] = 255  # cells 0 to 3 of 8
    masks = torch.randn(1, QUERIES, 8, 8, generator=generator).requires_grad_()
    set_loss(Queries([torch.randn(1, QUERIES, CLASSES + 1, generator=generator)], [masks]), mask).backward()
    touched = masks.grad.abs().amax(dim=(0, 1, 2)) > 0
    assert touched.tolist() == [False] * 3 + [True] * 5


def test_points_are_labelled_pixels_drawn_once_by_the_seed(generator):
    mask = random_mask(generator, ignored=True)[0]
    labelled = (mask != 255).flatten().nonzero().squeeze(1)
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(target(mask, (4, 4), points=150))
    assert torch.equal(drawn[0].pixels, drawn[1].pixels)
    assert len(set(drawn[0].pixels.tolist())) == 150 < len(labelled)
    assert set(drawn[0].pixels.tolist()) < set(labelled.tolist())
    labels = mask.flatten()[drawn[0].pixels]
    assert torch.equal(drawn[0].truth, (labels == drawn[0].classes[:, None]).float())
    assert torch.equal(target(mask, (4, 4), points=10_000).pixels, labelled)
    assert drawn[0].counted.sum() == len(labelled)  # the matching counts them all


def test_an_image_without_labels_has_no_part(generator):
    queries, mask = random_queries(generator), random_mask(generator)
    mask[0] = 255
    alone = Queries([c[1:] for c in queries.classes], [m[1:] for m in queries.masks])
    torch.testing.assert_close(set_loss(queries, mask), set_loss(alone, mask[1:]), rtol=1e-6, atol=0)


def test_a_batch_without_labels_has_loss_zero_and_no_gradient():
    model = build.build("dinov3_sat_large", "mask2former").train()
    loss = model.training_loss(torch.randn(1, 4, 64, 64), torch.full((1, 64, 64), 255))
    assert (loss.objective.item(), loss.pixels, loss.cross_entropy.item()) == (0.0, 0, 0.0)
    loss.objective.backward()
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in model.parameters())


@pytest.fixture(scope="module")
def model():
    return build.build("dinov3_sat_large", "mask2former", outputs=12, seed=3)


def test_scores_are_the_normalised_sum_over_queries(model):
    images = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model.eval()(images)[0]
        queries = model.features(images)
    classes = queries.classes[-1][0].softmax(-1)
    masks = F.interpolate(queries.masks[-1], size=(64, 64), mode="bilinear")[0].sigmoid()
    scores = sum(classes[q, :-1, None, None] * masks[q] for q in range(len(classes)))
    assert logits.shape == (12, 64, 64)
    torch.testing.assert_close(logits.exp(), scores / scores.sum(0), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(logits.softmax(0), logits.exp(), rtol=1e-5, atol=0)


def test_unlabelled_ground_can_be_a_class(model):
    """Twelve outputs: train id 0 is a class like any other, and only the padding is ignored."""
    mask = torch.randint(0, 12, (1, 60, 52), generator=torch.Generator().manual_seed(2))
    loss = model.train().training_loss(torch.randn(1, 4, 60, 52), mask)
    assert loss.pixels == 60 * 52
    assert torch.isfinite(loss.objective)
    assert loss.objective > 2 * loss.cross_entropy  # four layers, weights of 12 in each


def test_half_precision_keeps_positions_matching_and_loss_in_single(model):
    types = []
    hook = model.decoder.pixel_decoder.register_forward_hook(
        lambda _m, _i, output: types.append(output.mask_features.dtype)
    )
    images, mask = torch.randn(2, 4, 64, 64), torch.randint(0, 12, (2, 64, 64))
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.train().training_loss(images, mask)
        logits = model(images)
    hook.remove()
    assert {*types, loss.objective.dtype, loss.cross_entropy.dtype, logits.dtype} == {torch.float32}
    (loss.objective / loss.pixels).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    model.zero_grad()


def test_copies_answer_alike_from_weights_of_their_own(model):
    images = torch.randn(1, 4, 64, 64)
    with torch.no_grad():
        before = model.eval()(images)
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            torch.testing.assert_close(twin(images), before, rtol=0, atol=0)
            twin.decoder.pixel_decoder.adapter_1[0].weight.zero_()
            assert not torch.allclose(twin(images), before)
        torch.testing.assert_close(model(images), before, rtol=0, atol=0)


def test_the_table_of_parts_shows_the_queries_of_every_layer(model):
    shapes = build.describe(model, 64).set_index("part")["output shape"]
    assert shapes["decoder"] == "4 of 20 x 13, 4 of 20 x 16 x 16"
    assert shapes["head"] == shapes["total"] == "12 x 64 x 64"


def test_every_weight_follows_from_the_seed(model):
    """Also ``level_embed``, which transformers' pixel decoder by itself leaves as memory was."""
    again = build.build("dinov3_sat_large", "mask2former", outputs=12, seed=3)
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    other = build.build("dinov3_sat_large", "mask2former", outputs=12, seed=4)
    embedding = other.decoder.pixel_decoder.level_embed
    assert not torch.equal(embedding, model.decoder.pixel_decoder.level_embed)
    assert 0.8 < embedding.std() < 1.2  # 192 draws from a standard normal distribution


def test_the_studys_decoder_has_its_sizes():
    """Experiment 7: channels of the four levels, 100 queries, nine layers and the prediction before them."""
    from wusu_lib.models.mask2former import Mask2FormerDecoder

    spec = decoders.DECODERS["mask2former"]
    *_, neck = spec.necks(catalogue.BACKBONES["dinov3_sat_large"], "full", 0)
    assert neck["channels"] == [96, 192, 384, 768]
    decoder = Mask2FormerDecoder(neck["channels"], num_classes=11, **spec.full)
    maps = [
        torch.randn(1, width, side, side) for width, side in zip(neck["channels"], (16, 8, 4, 2), strict=True)
    ]
    with torch.no_grad():
        queries = decoder(maps)
    assert [tuple(classes.shape) for classes in queries.classes] == [(1, 100, 12)] * 10
    assert [tuple(masks.shape) for masks in queries.masks] == [(1, 100, 16, 16)] * 10
    assert decoder.pixel_decoder.adapter_1[0].in_channels == 96
    assert len(decoder.pixel_decoder.encoder.layers) == 6
    assert len(decoder.transformer_module.decoder.layers) == 9
