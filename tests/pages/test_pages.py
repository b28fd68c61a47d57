"""What every page shows by one call, in order; the code that a page is about."""

import inspect
from types import SimpleNamespace

import pandas as pd
import pytest

from wusu_lib.measures.classes import merge
from wusu_lib.measures.verdict import Prediction, power
from wusu_lib.pages import differences
from wusu_lib.pages import page as log_page
from wusu_lib.pages.page import Page, excerpt


def test_an_excerpt_is_the_source_of_what_is_named():
    assert excerpt("wusu_lib.measures.classes.merge") == inspect.getsource(merge).rstrip()
    assert excerpt("wusu_lib.data.statistics.BURNSCARS").startswith("BURNSCARS = (")
    method = excerpt("wusu_lib.training.task.Task.configure_optimizers")
    assert method.startswith("def configure_optimizers(self)")
    assert method.endswith("fused=True)")
    assert excerpt("wusu_lib.models.decoders.DECODERS.deeplab").startswith(
        'DecoderSpec(\n    title="DeepLabV3+",'
    )
    assert excerpt("wusu_lib.models.build.SkipAndContext").startswith("@TERRATORCH_NECK_REGISTRY")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wusu_lib.measures.classes.merged", "classes.py has no 'merged' there; it has .*merge, "),
        ("wusu_lib.models.decoders.DECODERS.deeplap", "has no 'deeplap' there; it has deeplab, fpn"),
        ("wusu_lib.nowhere.merge", "no such module"),
        ("wusu_lib.measures.classes", "nothing in it was named"),
        ("os.path.join", "expected the dotted name of something in wusu_lib"),
    ],
)
def test_what_the_library_does_not_have_is_told(name, told):
    with pytest.raises(ValueError, match=told):
        excerpt(name)


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, by the names of the functions that made it."""
    found = []
    monkeypatch.setattr(log_page, "display", lambda *parts: found.extend(parts))
    for module in ("data", "differences", "maps", "results", "style", "training"):
        maker = type("Maker", (), {"__getattr__": lambda self, n, m=module: lambda *a, **k: f"{m}.{n}"})
        monkeypatch.setattr(log_page, module, maker())
    at_length = SimpleNamespace(at_length=lambda exp: ["published.at_length"])
    monkeypatch.setattr(log_page, "published", at_length)
    return found


def test_a_page_shows_its_parts_in_order(shown):
    exp = SimpleNamespace(
        runs=lambda: ["run"],
        baseline=lambda: ["baseline"],
        table=None,
        parts=lambda: None,
        comparison="c",
        judge=lambda mine, theirs: ("difference", "verdict"),
    )
    page = Page(exp)
    page.shown = ["patch"]
    for call in (page.parameters, page.data, page.model, page.training, page.results, page.verdict):
        call()
    assert shown == [
        "style.parameters_table",
        "differences.design_sentence",
        "data.data_sentence",
        "maps.patch_examples_figure",
        "maps.examples_sentence",
        "training.parts_figure",
        "training.training_curves_figure",
        "training.curves_sentence",
        "results.ten_columns_table",
        "results.ten_columns_sentence",
        "results.class_iou_figure",
        "results.class_iou_sentence",
        "results.confusion_matrix_figure",
        "results.confusion_sentence",
        "maps.predictions_figure",
        "maps.predictions_sentence",
        "differences.effect_figure",
        "differences.verdict_sentence",
        "published.at_length",
        "style.provenance_table",
    ]


def test_what_a_design_can_find_is_said_from_the_blocks_alone():
    rows = [("val", f"val/HS/0/{n // 7}_{n % 7}", "m") for n in range(21)]
    table = pd.DataFrame([*rows, ("val", "val/HS/0/9_9", None), ("test", "test/HS/0/0_0", "m")])
    table.columns = ["split", "block", "mask"]
    exp = SimpleNamespace(table=table, seeds=[42])  # no run is there to be read
    exp.comparison = Prediction.parse("val mIoU rises by at least 0.01 over exp04")
    text = differences.design_sentence(exp).data
    blocks = [block for _, block, _ in rows]
    found, shown = (f"{100 * power(blocks, 1, 0.02, threshold=at):.0f} times of 100" for at in (0, 0.01))
    assert text.startswith(
        f"With 21 blocks and 1 seed, a true difference of 0.02 in mIoU is found {found}, and shown to be at "
        f"least the predicted 0.01 {shown}. This takes it that what single blocks show differs by 0.025"
    )
    exp.comparison = Prediction.parse("val F1 falls by at least 0.05 over exp04")
    assert "a true difference of 0.1 in F1 is found" in differences.design_sentence(exp).data


def test_the_source_of_a_page_is_highlighted_python(shown):
    Page(SimpleNamespace()).source("wusu_lib.legend.index_from_code")
    (markdown,) = shown
    assert markdown.data.startswith(
        "From `wusu_lib.legend.index_from_code`:\n\n```python\ndef index_from_code("
    )
