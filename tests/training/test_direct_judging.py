"""Loss, labels and counts of pairs, against literal numbers and plain search."""

import itertools
import math

import numpy as np
import pytest
import torch

from wusu_lib import transitions
from wusu_lib.legend import ELEVEN, LabelSpace
from wusu_lib.measures import change
from wusu_lib.models.segmentation import Outputs
from wusu_lib.training.task import PairTally, different_classes, pair_loss, predicted_labels

LABEL = transitions.LABEL


def scores(n=3, side=8, classes=11, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Outputs(
        torch.randn(n, side, side, generator=generator),
        torch.randn(n, 2, classes, side, side, generator=generator),
    )


def test_the_loss_of_change_by_hand():
    logits = torch.tensor([[[0.0, math.log(3), -math.log(3), 5.0]]])
    truth = torch.tensor([[[1, 1, 0, 255]]])
    loss, pixels = pair_loss(Outputs(logits, None), torch.zeros(1, 2, 1, 4), truth, weight=2.0)
    by_hand = 2 * math.log(2) + 2 * -math.log(0.75) + -math.log(0.75)
    assert pixels == 3
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)


def test_the_loss_of_classes_is_added_over_what_is_labelled_at_either_date():
    classes = torch.zeros(1, 2, 4, 1, 3)  # four classes, all as probable
    mask = torch.tensor([[[[0, 1, 255]], [[2, 255, 255]]]])
    truth = torch.tensor([[[0, 255, 255]]])
    loss, pixels = pair_loss(Outputs(torch.zeros(1, 1, 3), classes), mask, truth, weight=3.0)
    assert pixels == 2
    assert loss.item() == pytest.approx(math.log(2) + 3 * math.log(4) / 2, rel=1e-6)


def test_nothing_labelled_is_no_loss():
    loss, pixels = pair_loss(scores(1), torch.full((1, 2, 8, 8), 255), torch.full((1, 8, 8), 255), weight=3.0)
    assert (loss.item(), pixels) == (0.0, 0)


def test_the_most_probable_two_different_classes_are_found():
    logits = torch.randn(400, 2, 5, generator=torch.Generator().manual_seed(1))
    logits[::2, 1] = logits[::2, 0] + 0.3 * logits[::2, 1]  # so that both dates often agree
    found = different_classes(logits)
    agreed = 0
    for each, pair in zip(logits, found.tolist(), strict=True):
        ways = [(a, b) for a, b in itertools.product(range(5), repeat=2) if a != b]
        best = max(ways, key=lambda way: (each[0, way[0]] + each[1, way[1]]).item())
        assert tuple(pair) == best
        agreed += int(each[0].argmax() == each[1].argmax())
    assert agreed > 100


@pytest.mark.parametrize(("background", "classes"), [("ignore", 11), ("class", 12)])
def test_a_label_is_a_change_exactly_where_the_change_head_says_so(background, classes):
    out = scores(classes=classes)
    out.classes[0] += 20 * out.classes[0, :1]  # both dates agree in the first pair
    if background == "class":
        out.classes[:, :, 0] = 100.0  # Background is no class to change to
    found = predicted_labels(out, LabelSpace(background))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found > 0, out.change.numpy() > 0)
    assert found.max() <= 110
    place = tuple(np.argwhere(found[1] > 0)[0])
    own = out.classes[1, :, :, *place][:, -11:]
    first, second = own.argmax(dim=1).tolist()
    if first != second:
        assert found[1][place] == LABEL[first + 1, second + 1]


def test_labels_of_a_binary_network_are_0_and_1():
    out = Outputs(torch.tensor([[[-1.0, 0.0, 2.0]]]), None)
    assert predicted_labels(out, ELEVEN).tolist() == [[[0, 0, 1]]]


def batch(seed=0, n=3, side=8):
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 4, (n, 2, side, side))
    truth = transitions.from_to(*(index[:, date].astype(np.uint8) for date in (0, 1)))
    return {
        "patch": [f"p{i}" for i in range(n)],
        "mask": torch.from_numpy(np.where(index == 0, 255, index - 1)),
        "change": torch.from_numpy(np.where(truth == 255, 255, truth > 0).astype(np.int64)),
    }, truth


def test_a_tally_counts_each_pair_against_its_class_masks():
    given, truth = batch()
    given["change"][:] = 0  # what training learns from is not what is judged by
    out = scores()
    tally = PairTally("scd", ELEVEN, 3.0, keep_maps=True)
    tally.add(given, out)
    found = predicted_labels(out, ELEVEN)
    for number in range(3):
        np.testing.assert_array_equal(tally.matrices[number], change.confusion(truth[number], found[number]))
        np.testing.assert_array_equal(tally.maps[number], found[number])
    assert tally.figures() == {
        name: change.scores(np.sum(tally.matrices, axis=0))[name] for name in ("BCD F1", "Fscd from-to")
    }


def test_a_binary_tally_counts_changed_and_unchanged():
    given, truth = batch()
    out = Outputs(scores().change, None)
    tally = PairTally("bcd", ELEVEN, 3.0)
    tally.add(given, out)
    said = out.change.numpy() > 0
    hits = ((truth > 0) & (truth < 255) & said).sum()
    assert np.sum(tally.matrices, axis=0).shape == (2, 2)
    assert np.sum(tally.matrices, axis=0)[1, 1] == hits
    assert np.sum(tally.matrices) == (truth != 255).sum()
    assert tally.maps == []
    assert list(tally.figures()) == ["BCD F1"]


def test_the_loss_does_not_depend_on_the_batches():
    given, _ = batch(n=4)
    out = scores(4)
    whole, parts = PairTally("scd", ELEVEN, 3.0), PairTally("scd", ELEVEN, 3.0)
    whole.add(given, out)
    for part in (slice(0, 1), slice(1, 4)):
        parts.add({k: v[part] for k, v in given.items()}, Outputs(out.change[part], out.classes[part]))
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)


def test_no_labelled_pixel_is_told():
    with pytest.raises(ValueError, match="none of 0 pairs has a labelled pixel"):
        _ = PairTally("scd", ELEVEN, 1.0).loss
