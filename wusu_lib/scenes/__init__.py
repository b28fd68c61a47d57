"""Whole scenes: maps of GeoTIFFs of any size, changes between two dates. Cheap to import.

predictor = scenes.load("exp05")                            # a stored run, or one trained now
maps = scenes.change_map(predictor, "a.tif", "b.tif", "out")  # t1, t2, fromto, confidence in out/
changes = scenes.polygons(maps.fromto, maps.confidence, ["Building"], minimum_area=50)
scenes.write_polygons(changes, "out")                       # GeoPackage and GeoJSON
scenes.page("a.tif", "b.tif", changes, "out")               # one HTML file to look at them with
"""

from wusu_lib.scenes.cleaning import Cleaning
from wusu_lib.scenes.maps import SceneMaps, change_map, class_map
from wusu_lib.scenes.page import Page, page
from wusu_lib.scenes.polygons import polygons
from wusu_lib.scenes.polygons_files import PolygonFiles, write_polygons
from wusu_lib.scenes.predictor import Predictor, load
from wusu_lib.scenes.task import Task, prepare
from wusu_lib.scenes.tiling import Tiling

__all__ = [
    "Cleaning",
    "Page",
    "PolygonFiles",
    "Predictor",
    "SceneMaps",
    "Task",
    "Tiling",
    "change_map",
    "class_map",
    "load",
    "page",
    "polygons",
    "prepare",
    "write_polygons",
]
