"""Whole scenes: maps of GeoTIFFs of any size, changes between two dates. Cheap to import.

predictor = scenes.load("exp05")                            # a stored run, or one trained now
maps = scenes.change_map(predictor, "a.tif", "b.tif", "out")  # t1, t2, fromto, confidence in out/
"""

from wusu_lib.scenes.cleaning import Cleaning
from wusu_lib.scenes.maps import SceneMaps, change_map, class_map
from wusu_lib.scenes.predictor import Predictor, load
from wusu_lib.scenes.tiling import Tiling

__all__ = ["Cleaning", "Predictor", "SceneMaps", "Tiling", "change_map", "class_map", "load"]
