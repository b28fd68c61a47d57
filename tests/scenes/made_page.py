"""Two made images, the polygons of two changes between them, and their page."""

import numpy as np
from rasterio.transform import from_origin
from small_tree import write_raster

from wusu_lib.scenes.polygons import polygons
from wusu_lib.transitions import from_to

HEIGHT, WIDTH = 240, 320
FIELD, LOW, EXCAVATION, BARE = 4, 2, 10, 11


def write_scene(folder):
    """Two images, and the polygons of two changes between them: a building and an excavation with a hole."""
    rng = np.random.default_rng(0)
    before = np.full((HEIGHT, WIDTH), FIELD, dtype=np.uint8)
    before[:, 160:] = BARE
    after = before.copy()
    after[60:120, 140:180] = LOW
    after[150:210, 200:290] = EXCAVATION
    after[170:190, 230:260] = BARE
    grid = {"crs": "EPSG:26914", "transform": from_origin(500_000, 4_600_000, 1, 1)}
    for name, low in (("t1", 60), ("t2", 90)):
        image = rng.integers(low, 160, (4, HEIGHT, WIDTH), dtype=np.uint8)
        write_raster(folder / f"{name}.tif", image, **grid)
    write_raster(folder / "fromto.tif", from_to(before, after)[None], **grid)
    write_raster(folder / "confidence.tif", np.full((1, HEIGHT, WIDTH), 204, dtype=np.uint8), **grid)
    changes = polygons(folder / "fromto.tif", folder / "confidence.tif", dates=("2015", "2018"))
    return changes
