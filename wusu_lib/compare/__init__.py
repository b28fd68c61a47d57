"""Two runs on the same ground: difference, interval, verdict against a prediction written down beforehand.

prediction = Prediction.parse("val mIoU rises by at least 0.01 over exp04")
change = difference(runs, baseline_runs, prediction.metric, prediction.split)
verdict(prediction, change).sentence
"""

from wusu_lib.compare.bootstrap import Difference, Interval, difference, interval
from wusu_lib.compare.holm import holm
from wusu_lib.compare.measures import NAMES, Measure, measure
from wusu_lib.compare.pairing import Run
from wusu_lib.compare.prediction import DEMO, Comparison, Prediction, Verdict, unpredicted, verdict
from wusu_lib.compare.several import differences

__all__ = [
    "DEMO",
    "NAMES",
    "Comparison",
    "Difference",
    "Interval",
    "Measure",
    "Prediction",
    "Run",
    "Verdict",
    "difference",
    "differences",
    "holm",
    "interval",
    "measure",
    "unpredicted",
    "verdict",
]
