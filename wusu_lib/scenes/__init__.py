"""Whole scenes: maps of GeoTIFFs of any size, changes between two dates. Cheap to import.

predictor = tool.load("exp05")                                # a stored run, or one trained now
made = maps.change_map(predictor, "a.tif", "b.tif", "out")    # t1, t2, fromto, confidence in out/
changes = polygons.polygons(made.fromto, made.confidence, ["Building"], minimum_area=50)
polygons.write_polygons(changes, "out")                       # GeoPackage and GeoJSON
page.write_page("a.tif", "b.tif", changes, "out")             # one HTML file to look at them with
"""
