import pandas as pd
import pytest
from matplotlib.patches import FancyBboxPatch, Rectangle

from wusu_lib.pages import training


@pytest.fixture
def description():
    rows = [
        ("input", "bands in the encoder's order, padded from 512 px", 0, 0, "4 x 518 x 518"),
        ("encoder", "PrithviViT", 750_000, 0, "4 of 1370 x 1280"),
        ("neck 0", "SelectIndices", 0, 0, "4 of 1370 x 1280"),
        ("decoder", "FPNDecoder", 250_000, 250_000, "256 x 128 x 128, 256 x 64 x 64, 256 x 32 x 32"),
        ("total", "SegmentationModel", 1_000_000, 250_000, "11 x 512 x 512"),
    ]
    return pd.DataFrame(rows, columns=["part", "module", "parameters", "trainable", "output shape"])


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_box_a_part_in_order_and_the_total_below(description):
    figure = training.parts_figure(description)
    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    tops = [box.get_y() for box in boxes]
    assert len(boxes) == 4
    assert tops == sorted(tops)
    assert [text for text in texts(figure) if text in set(description["part"])] == list(
        description["part"][:4]
    )
    assert "1.0M parameters, 250k of them trained" in texts(figure)


def test_sizes_shapes_and_frozen_parts_are_written(description):
    shown = texts(training.parts_figure(description))
    assert "750k frozen" in shown
    assert "250k" in shown
    assert "4 × 518 × 518" in shown
    assert "256 × 128 × 128\n256 × 64 × 64\n256 × 32 × 32" in shown


def test_bars_are_shares_of_all_parameters(description):
    bars = [p for p in training.parts_figure(description).axes[0].patches if isinstance(p, Rectangle)]
    tracks, filled = bars[0::2], bars[1::2]
    shares = [bar.get_width() / track.get_width() for bar, track in zip(filled, tracks, strict=True)]
    assert shares == pytest.approx([0.75, 0.25])


def test_text_stays_in_the_figure(description):
    figure = training.parts_figure(description)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert min(box.x0 for box in boxes) >= 0
    assert max(box.x1 for box in boxes) <= figure.bbox.x1


def test_missing_columns_are_named(description):
    with pytest.raises(ValueError, match="trainable"):
        training.parts_figure(description.drop(columns="trainable"))
