"""A scene of the mini city with its truth: half an area put together again from its patches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wusu_lib import legend, patches, synthetic
from wusu_lib.change import from_to
from wusu_lib.patches.raster import read

FOLDER, AREA, DATES = "test", "JA", (15, 18)  # a half that no model learnt from


@dataclass(frozen=True)
class Example:
    """Images of two dates, paths; ``truth``: annotated from-to labels uint8 [H, W]; ``dates`` as written."""

    t1: Path
    t2: Path
    truth: np.ndarray
    dates: tuple[str, str]


def example(folder: str | Path) -> Example:
    """Write the two images to ``folder`` as GeoTIFFs. They have no CRS: the city is nowhere on Earth."""
    table = patches.inspect(synthetic.demo_city()).table
    mine = table[(table["folder"] == FOLDER) & (table["area"] == AREA)]
    paths, classes = [], []
    for date in DATES:
        rows = mine[mine["date"] == date].sort_values("index")
        image = _mosaic([read(path) for path in rows["image"]])
        paths.append(_write(Path(folder) / f"mini_city_20{date}.tif", image))
        classes.append(legend.index_from_code(_mosaic([read(path) for path in rows["mask"]])[0]))
    return Example(paths[0], paths[1], from_to(*classes), (f"20{DATES[0]}", f"20{DATES[1]}"))


def _mosaic(arrays: list[np.ndarray]) -> np.ndarray:
    """One array [C, H, W] of patches [C, size, size] in order of their index, each half over the next."""
    size, columns = arrays[0].shape[-1], int(str(synthetic.demo.ARGUMENTS["cols"]))
    rows, stride = len(arrays) // columns, arrays[0].shape[-1] // 2
    shape = (len(arrays[0]), (rows - 1) * stride + size, (columns - 1) * stride + size)
    whole = np.zeros(shape, dtype=arrays[0].dtype)
    for index, array in enumerate(arrays):
        top, left = index // columns * stride, index % columns * stride
        whole[:, top : top + size, left : left + size] = array
    return whole


def _write(path: Path, image: np.ndarray) -> Path:
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = image.shape
    shape = {"count": count, "height": height, "width": width, "dtype": image.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", compress="deflate", tiled=True, **shape) as file:
            file.write(image)
    return path
