"""What every page shows by one call, in order; the code that a page is about."""

import inspect
from types import SimpleNamespace

import pytest

from wusu_lib import pages
from wusu_lib.metrics import merge
from wusu_lib.pages import page as page_module


def test_an_excerpt_is_the_source_of_what_is_named():
    assert pages.excerpt("wusu_lib.metrics.merge") == inspect.getsource(merge).rstrip()
    assert pages.excerpt("wusu_lib.statistics.BURNSCARS").startswith("BURNSCARS = (")
    method = pages.excerpt("wusu_lib.training.task.Task.configure_optimizers")
    assert method.startswith("def configure_optimizers(self)")
    assert method.endswith("fused=True)")
    assert pages.excerpt("wusu_lib.models.decoders.DECODERS.deeplab").startswith(
        'DecoderSpec(\n    title="DeepLabV3+",'
    )
    assert pages.excerpt("wusu_lib.models.necks.SkipAndContext").startswith("@TERRATORCH_NECK_REGISTRY")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wusu_lib.metrics.merged", "metrics.py has no 'merged' there; it has .*merge, "),
        ("wusu_lib.models.decoders.DECODERS.deeplap", "has no 'deeplap' there; it has deeplab, fpn"),
        ("wusu_lib.nowhere.merge", "no such module"),
        ("wusu_lib.metrics", "nothing in it was named"),
        ("os.path.join", "expected the dotted name of something in wusu_lib"),
    ],
)
def test_what_the_library_does_not_have_is_told(name, told):
    with pytest.raises(ValueError, match=told):
        pages.excerpt(name)


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, by the names of the functions that made it."""
    found = []
    monkeypatch.setattr(page_module, "display", lambda *parts: found.extend(parts))
    for module in ("figures", "sentences", "tables"):
        maker = type("Maker", (), {"__getattr__": lambda self, n, m=module: lambda *a, **k: f"{m}.{n}"})
        monkeypatch.setattr(page_module, module, maker())
    return found


def test_a_page_shows_its_parts_in_order(shown):
    exp = SimpleNamespace(
        runs=lambda: ["run"],
        baseline=lambda: ["baseline"],
        table=None,
        parts=lambda: None,
        prediction="p",
        judge=lambda mine, theirs: ("difference", "verdict"),
        parameters=SimpleNamespace(background="ignore"),
    )
    page = pages.Page(exp)
    page.shown = ["patch"]
    for call in (page.parameters, page.data, page.model, page.training, page.results, page.verdict):
        call()
    assert shown == [
        "tables.parameters",
        "sentences.data",
        "figures.patch_examples",
        "sentences.examples",
        "figures.parts",
        "figures.training_curves",
        "sentences.curves",
        "tables.ten_columns",
        "sentences.ten_columns",
        "figures.class_iou",
        "sentences.class_iou",
        "figures.confusion_matrix",
        "sentences.confusion",
        "figures.predictions",
        "sentences.predictions",
        "figures.effect",
        "sentences.verdict",
        "tables.provenance",
    ]


def test_the_source_of_a_page_is_highlighted_python(shown):
    pages.Page(SimpleNamespace()).source("wusu_lib.legend.merge_index")
    (markdown,) = shown
    assert markdown.data.startswith("From `wusu_lib.legend.merge_index`:\n\n```python\ndef merge_index(")


def test_an_experiment_without_a_prediction_has_no_verdict(shown):
    page = pages.Page(SimpleNamespace(name="exp00", prediction=None))
    with pytest.raises(ValueError, match="exp00 states no prediction"):
        page.verdict()
