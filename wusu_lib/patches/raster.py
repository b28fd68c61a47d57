"""Reading one file of a tree: a plain TIFF without georeference, any band count."""

import threading
import warnings
from pathlib import Path

import numpy as np

# warnings.catch_warnings swaps global state: two threads inside it at once could leave a filter behind.
_OPENING = threading.Lock()


def read(path: str | Path) -> np.ndarray:
    """Read all bands of a file as [bands, H, W] in the dtype on disk.

    WUSU's patches carry no geotransform by design, so rasterio's warning about it is silenced for this
    opening only. Raises FileNotFoundError if there is no such file and ValueError, naming the file, if it is
    not a complete readable raster.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            source = rasterio.open(path)
        with source:
            return source.read()
    except RasterioError as error:
        raise ValueError(
            f"{path}: unreadable or truncated ({error}); copy or download the file again"
        ) from error
