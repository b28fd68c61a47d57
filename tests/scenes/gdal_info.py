"""What GDAL itself says of a raster: its command gdalinfo, else the same function in rasterio's own GDAL."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import rasterio


def gdal_info(path: Path) -> str:
    """The report of gdalinfo, as text; skips the test where neither the command nor the library is found."""
    if shutil.which("gdalinfo"):
        return subprocess.run(["gdalinfo", path], capture_output=True, text=True, check=True).stdout
    bundled = sorted(Path(rasterio.__file__).parents[1].glob("rasterio.libs/libgdal*"))
    if not bundled:
        pytest.skip("neither gdalinfo nor rasterio's own copy of GDAL is there")
    gdal = ctypes.CDLL(str(bundled[0]))
    gdal.GDALOpen.restype = gdal.GDALInfo.restype = ctypes.c_void_p
    gdal.GDALInfo.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    gdal.GDALAllRegister()
    dataset = gdal.GDALOpen(str(path).encode(), 0)
    assert dataset, f"GDAL cannot open {path}"
    try:
        return ctypes.string_at(gdal.GDALInfo(dataset, None)).decode()
    finally:
        gdal.GDALClose.argtypes = [ctypes.c_void_p]
        gdal.GDALClose(dataset)
