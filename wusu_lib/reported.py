"""What the study reported: its printed figures, which of them cannot be right, what they compare with.

Each row is a single training run, so no spread is known, and model choice and report used the same
validation set. The figures are shown as reported; one that cannot be right is flagged, never corrected.
"""

import pandas as pd

FIGURES = ("loss", "acc", "pixel_acc", "mIoU", "F1")
COLUMNS = tuple(f"{split}/{figure}" for split in ("train", "val") for figure in FIGURES)

# train loss, acc (macro), pixel_acc (micro), mIoU, F1 (both macro), then the same of validation
_PRINTED = {
    "exp02": (0.448, 0.7543, 0.8218, 0.6679, 0.77, 0.5286, 1.109, 0.6717, 0.3918, 0.537),
    "exp04": (0.2681, 0.8258, 0.8508, 0.7433, 0.8446, 1.031, 0.5645, 0.6792, 0.4129, 0.5609),
    "exp05": (0.2805, 0.7986, 0.8275, 0.7114, 0.8196, 0.9295, 0.5097, 0.6812, 0.38, 0.5111),
    "exp06": (0.3955, 0.7999, 0.8436, 0.7177, 0.8235, 0.7985, 0.5439, 0.7155, 0.4253, 0.5553),
    "exp07": (0.6002, 0.7206, 0.7944, 0.6287, 0.5298, 0.7438, 0.5034, 0.7294, 0.4114, 0.5298),
    "exp08": (0.377, 0.8342, 0.8436, 0.7477, 0.8509, 0.652, 0.5242, 0.7504, 0.4306, 0.5468),
}

MODELS = {
    "exp02": "Prithvi-600M + FPN, frozen",
    "exp04": "Prithvi-600M + FPN, differential learning rates",
    "exp05": "Prithvi-600M + DeepLabV3+",
    "exp06": "DINOv3-sat ViT-L + DeepLabV3+",
    "exp07": "DINOv3-sat ViT-L + Mask2Former, merged classes",
    "exp08": "merged classes (the study does not name the model; taken to be exp06's)",
}

_SWAPPED = "an accuracy cannot be 1.109; val/loss 0.5286 and val/acc 1.109 look swapped"
_FLAGS = [
    ("exp02", "val/loss", _SWAPPED),
    ("exp02", "val/acc", _SWAPPED),
    ("exp07", "train/F1", "repeats val/F1; a mean F1 cannot be below the mean IoU (0.6287)"),
]

_TWELVE = (
    "12 classes, unlabelled ground counted as one of them: compare with background='class' only. "
    "Validation patches were drawn at random from the test half, so they may share pixels with test patches."
)
_EXP06 = (
    " The study's text says that every validation metric improved; "
    "its own val/acc and val/F1 are below exp04's."
)
_MERGED = (
    "Merged classes (High and Low building; River and Lake), 10 outputs: "
    "not comparable with 11 or 12 classes."
)


def table() -> pd.DataFrame:
    """The ten columns as printed (COLUMNS; losses, and metrics on the 0-1 scale), one row an experiment.

    Experiments 1 and 3 have no printed figures. acc is macro accuracy, pixel_acc micro, mIoU and F1 macro.
    """
    return pd.DataFrame.from_dict(_PRINTED, orient="index", columns=list(COLUMNS)).rename_axis("experiment")


def flags() -> pd.DataFrame:
    """Printed figures that cannot be right: experiment, column, value, reason."""
    printed = table()
    rows = [(name, column, printed.loc[name, column], reason) for name, column, reason in _FLAGS]
    return pd.DataFrame(rows, columns=["experiment", "column", "value", "reason"])


def comparability() -> pd.Series:
    """What each experiment's figures can be compared with, one text an experiment."""
    merged = ("exp07", "exp08")
    notes = {name: _MERGED if name in merged else _TWELVE for name in _PRINTED}
    notes["exp06"] += _EXP06
    return pd.Series(notes, name="comparability").rename_axis("experiment")
