"""Change polygons: what is traced, measured, grouped and simplified, and the files that come out."""

import json
import subprocess
import sys

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from rasterio.transform import from_origin
from scipy import ndimage
from small_tree import write_raster

from wusu_lib import legend, transitions
from wusu_lib.files import claim
from wusu_lib.legend import LabelSpace
from wusu_lib.scenes.polygons import COLUMNS, polygons, resolve_targets, write_polygons
from wusu_lib.transitions import from_to

MERGED = LabelSpace("ignore", "merged")

UTM = {"crs": "EPSG:26914", "transform": from_origin(500_000, 4_600_000, 2, 2)}
ROAD, LOW, HIGH, FIELD, EXCAVATION, BARE = 1, 2, 3, 4, 10, 11


def rasters(folder, labels, confidence=128, **grid):
    """A from-to raster and a confidence raster on one grid."""
    confidence = np.full(labels.shape, confidence, dtype=np.uint8) if np.isscalar(confidence) else confidence
    paths = folder / "fromto.tif", folder / "confidence.tif"
    for path, array in zip(paths, (labels, confidence), strict=True):
        write_raster(path, array[None], **grid)
    return paths


def fields():
    """Two buildings, an excavation, a road, on fields and bare ground; 60 x 80 px."""
    before = np.full((60, 80), FIELD, dtype=np.uint8)
    before[:, 40:] = BARE
    after = before.copy()
    after[5:15, 30:50] = LOW  # half on fields, half on bare ground
    after[20:24, 10:15] = HIGH  # 20 px
    after[30:50, 60:70] = EXCAVATION
    after[55:58] = ROAD
    return from_to(before, after)


def patchwork(seed=0, shape=(150, 170)):
    """Blobs of all transitions with single pixels among them: corners, holes, diagonal touches."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.normal(size=(transitions.N_LABELS, *shape)), (0, 4, 4)).argmax(axis=0)
    specks = rng.random(shape) < 0.05
    blobs[specks] = rng.integers(0, transitions.N_LABELS, specks.sum())
    return blobs.astype(np.uint8)


def test_rows_say_what_changed_how_much_and_how_surely(tmp_path):
    paths = rasters(tmp_path, fields(), **UTM)
    found = polygons(*paths, ["Building", "Excavation", "Road"], 0, ("2015", "2018"))
    assert tuple(found.columns) == (*COLUMNS, "geometry")
    assert found[["target", "from", "to", "area_m2", "object", "object_m2"]].to_numpy().tolist() == [
        ["Road", "Arable land", "Road", 480, 1, 960],
        ["Road", "Bare surface", "Road", 480, 1, 960],
        ["Building", "Arable land", "Low building", 400, 2, 800],
        ["Building", "Bare surface", "Low building", 400, 2, 800],
        ["Excavation", "Bare surface", "Excavation", 800, 3, 800],
        ["Building", "Arable land", "High building", 80, 4, 80],
    ]
    assert set(found["confidence"]) == {0.502}
    assert (found["date1"] == "2015").all()
    assert (found["date2"] == "2018").all()
    assert found.crs == "EPSG:26914"
    assert found.attrs["area"] == "Areas are measured in the scene's own grid (EPSG:26914)."


def test_polygons_lie_where_their_pixels_lie(tmp_path):
    found = polygons(*rasters(tmp_path, fields(), **UTM), ["Excavation"])
    assert found.total_bounds.tolist() == [500_120, 4_599_900, 500_140, 4_599_940]


def test_confidence_is_the_mean_of_the_polygons_own_pixels(tmp_path):
    labels = patchwork()
    confidence = np.random.default_rng(1).integers(0, 256, labels.shape).astype(np.uint8)
    found = polygons(*rasters(tmp_path, labels, confidence), ["Road"], tolerance=0)
    # without a CRS the coordinates are columns and rows, so a point of a polygon finds its pixel
    point = shapely.get_coordinates(shapely.point_on_surface(found.geometry.array)).astype(int)
    for (column, row), (_, polygon) in zip(point, found.iterrows(), strict=True):
        area = ndimage.label(labels == labels[row, column])[0]
        own = area == area[row, column]
        assert polygon["area_m2"] == own.sum()
        assert polygon["confidence"] == pytest.approx(confidence[own].mean() / 255, abs=6e-5)
    assert len(found) > 100


def test_each_pixel_asked_for_is_in_one_polygon_and_no_other_pixel_is(tmp_path):
    labels = patchwork()
    found = polygons(*rasters(tmp_path, labels), [], tolerance=0)
    assert found["area_m2"].sum() == ((labels > 0) & (labels < 111)).sum()
    assert set(found["from"] + " to " + found["to"]) == {transitions.NAMES[n] for n in set(labels.flat) - {0}}


@pytest.mark.parametrize("seed", range(3))
def test_simplified_neighbours_keep_their_common_edges(tmp_path, seed):
    paths = rasters(tmp_path, patchwork(seed))
    exact, simple = (polygons(*paths, [], tolerance=t) for t in (0, 1))
    assert shapely.is_valid(simple.geometry.array).all()
    assert shapely.coverage_is_valid(simple.geometry.array)
    # no gap and no overlap: the union is as large as the parts together, and hardly larger than before
    assert simple.union_all().area == pytest.approx(simple.area.sum(), rel=1e-9)
    assert simple.area.sum() == pytest.approx(exact.area.sum(), rel=0.005)
    vertices = [shapely.get_num_coordinates(f.geometry.array).sum() for f in (exact, simple)]
    assert vertices[1] < 0.75 * vertices[0]
    assert simple["area_m2"].tolist() == exact["area_m2"].tolist()


def test_a_corner_shared_with_itself_makes_no_invalid_polygon(tmp_path):
    labels = np.zeros((9, 9), dtype=np.uint8)
    labels[1:8, 1:8] = 5
    labels[4, 4] = labels[3, 3] = labels[1, 1] = labels[2, 2] = 0  # holes that touch at corners, and the edge
    found = polygons(*rasters(tmp_path, labels), tolerance=0)
    assert shapely.is_valid(found.geometry.array).all()
    assert found["area_m2"].tolist() == [45]


def test_the_minimum_is_asked_of_the_whole_object(tmp_path):
    """Either half of the building on two kinds of ground is smaller than the minimum; the building is not."""
    found = polygons(*rasters(tmp_path, fields(), **UTM), ["Building"], minimum_area=500)
    assert found["area_m2"].tolist() == [400, 400]
    assert found["object"].tolist() == [1, 1]


def test_objects_touch_also_at_a_corner_but_not_across_targets(tmp_path):
    labels = np.zeros((6, 6), dtype=np.uint8)
    labels[0:2, 0:2] = labels[2:4, 2:4] = transitions.NAMES.index("Woodland to Road")
    labels[2:4, 0:2] = transitions.NAMES.index("Woodland to Lake")
    found = polygons(*rasters(tmp_path, labels), ["Road", "Lake"])
    assert found.groupby("object")["to"].agg(list).tolist() == [["Road", "Road"], ["Lake"]]


def test_a_change_inside_a_target_is_none_of_it(tmp_path):
    labels = np.full((4, 4), transitions.NAMES.index("Low building to High building"), dtype=np.uint8)
    paths = rasters(tmp_path, labels)
    assert polygons(*paths, ["Building"]).empty
    assert polygons(*paths, ["High building"])["from"].tolist() == ["Low building"]


def test_merged_classes_have_their_own_names(tmp_path):
    labels = np.full((4, 4), transitions.NAMES.index("Road to Low building"), dtype=np.uint8)
    found = polygons(*rasters(tmp_path, labels), ["Building"], labels=MERGED)
    assert found["to"].tolist() == ["Building"]
    with pytest.raises(ValueError, match="got 'High building'; known: Road, Building, Arable land"):
        resolve_targets(["High building"], MERGED)


def test_areas_on_the_ground_do_not_depend_on_the_projection(tmp_path):
    """The same square kilometre at 60 degrees north; Web Mercator draws it four times as large."""
    labels = np.full((10, 10), 7, dtype=np.uint8)
    utm = from_origin(500_000, 6_651_000, 100, 100)
    truth = polygons(*rasters(tmp_path, labels, crs="EPSG:32631", transform=utm))["area_m2"].sum()
    assert truth == 1_000_000
    corners = geopandas.GeoSeries(shapely.box(500_000, 6_650_000, 501_000, 6_651_000), crs="EPSG:32631")
    for crs in ("EPSG:3857", "EPSG:4326"):
        # a square on the ground is nearly a rectangle in these projections too
        xy = shapely.get_coordinates(corners.to_crs(crs).array)
        (west, south), (east, north) = np.sort(xy[:4], axis=0).reshape(2, 2, 2).mean(axis=1)
        grid = from_origin(west, north, (east - west) / 10, (north - south) / 10)
        found = polygons(*rasters(tmp_path, labels, crs=crs, transform=grid))
        assert found["area_m2"].sum() == pytest.approx(truth, rel=0.005)
        assert "equal-area projection" in found.attrs["area"]


def test_feet_are_not_taken_for_metres(tmp_path):
    labels = np.full((10, 10), 7, dtype=np.uint8)
    grid = from_origin(6_000_000, 2_000_000, 10, 10)  # California zone 3, US survey feet
    found = polygons(*rasters(tmp_path, labels, crs="EPSG:2227", transform=grid))
    assert found["area_m2"].sum() == pytest.approx(100 * 100 * 0.3048006**2, rel=1e-3)


def test_without_a_crs_the_size_of_a_pixel_is_assumed_and_said(tmp_path):
    paths = rasters(tmp_path, fields())
    found = polygons(*paths, ["Excavation"])
    assert found["area_m2"].tolist() == [200]
    assert found.attrs["area"].endswith("assume pixels of 1 m a side.")
    assert polygons(*paths, ["Excavation"], pixel=0.5)["area_m2"].tolist() == [50]
    assert found.total_bounds.tolist() == [60, 30, 70, 50]


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (["Bulding"], "got 'Bulding'; known: Road, Low building, .*Water; did you mean Building"),
        (["Unlabelled"], "got 'Unlabelled'; known:"),
        (["Building", "low building"], "Low building and Building share a class"),
        (["Road", "road"], "Road and Road share a class"),
    ],
)
def test_targets_that_cannot_be_meant_are_refused(targets, told):
    with pytest.raises(ValueError, match=told):
        resolve_targets(targets)


def test_no_target_means_every_class():
    assert list(resolve_targets([])) == [c.name for c in legend.CLASSES]


def test_rasters_that_do_not_fit_are_refused(tmp_path):
    good, confidence = rasters(tmp_path, fields())
    write_raster(tmp_path / "small.tif", np.zeros((1, 5, 5), dtype=np.uint8))
    write_raster(tmp_path / "wide.tif", np.zeros((1, 60, 80), dtype=np.uint16))
    with pytest.raises(ValueError, match=r"\(5, 5\) rows and columns"):
        polygons(good, tmp_path / "small.tif")
    with pytest.raises(ValueError, match="expected a from-to raster of one uint8 band, got 1 band"):
        polygons(tmp_path / "wide.tif", confidence)
    with pytest.raises(FileNotFoundError, match="confidence: no such file"):
        polygons(good, tmp_path / "none.tif")
    with pytest.raises(ValueError, match="minimum_area: got -1"):
        polygons(good, confidence, minimum_area=-1)


def test_files_hold_the_rows_in_the_scenes_crs_and_in_wgs_84(tmp_path):
    found = polygons(*rasters(tmp_path, patchwork(), **UTM), [], dates=("2015", "2018"))
    files = write_polygons(found, tmp_path / "out")
    kept = geopandas.read_file(files.geopackage)
    assert kept.crs == found.crs
    assert kept.drop(columns="geometry").equals(found.drop(columns="geometry"))
    assert shapely.coverage_is_valid(kept.geometry.array)
    collection = json.loads(files.geojson.read_text())
    assert "crs" not in collection  # RFC 7946: always WGS 84, and outer rings turn to the left
    rings = [shapely.LinearRing(f["geometry"]["coordinates"][0]) for f in collection["features"]]
    assert shapely.is_ccw(rings).all()
    back = geopandas.read_file(files.geojson).to_crs(found.crs)
    assert shapely.hausdorff_distance(back.geometry.array, found.geometry.array).max() < 0.02  # m
    written = {path.name for path in tmp_path.glob("out/*")}
    assert written == {"changes.gpkg", "changes.geojson", "record.json"}


def test_gdals_own_reader_opens_the_files(tmp_path):
    files = write_polygons(polygons(*rasters(tmp_path, fields(), **UTM)), tmp_path / "out")
    for path, crs in ((files.geopackage, "EPSG:26914"), (files.geojson, "EPSG:4326")):
        info = pyogrio.read_info(path)
        assert (info["features"], info["crs"], info["geometry_type"]) == (6, crs, "Polygon")
        assert list(info["fields"]) == list(COLUMNS)


def test_nothing_found_gives_valid_empty_files(tmp_path):
    found = polygons(*rasters(tmp_path, fields(), **UTM), ["Lake"])
    assert found.empty
    assert tuple(found.columns) == (*COLUMNS, "geometry")
    files = write_polygons(found, tmp_path / "out")
    info = pyogrio.read_info(files.geopackage)
    assert (info["features"], info["crs"], info["geometry_type"]) == (0, "EPSG:26914", "Polygon")
    assert list(info["fields"]) == list(COLUMNS)
    assert info["dtypes"].tolist() == [
        "float64" if n in ("area_m2", "confidence", "object_m2") else "int64" if n == "object" else "object"
        for n in COLUMNS
    ]
    assert json.loads(files.geojson.read_text())["features"] == []


def test_without_a_crs_there_is_no_geojson_and_the_note_says_why(tmp_path):
    claim(tmp_path / "out", "maps")
    (tmp_path / "out" / "changes.geojson").write_text("of an earlier scene")
    files = write_polygons(polygons(*rasters(tmp_path, fields())), tmp_path / "out")
    assert files.geojson is None
    assert "No GeoJSON was written" in files.note
    assert not (tmp_path / "out" / "changes.geojson").exists()
    assert pyogrio.read_info(files.geopackage)["crs"] is None


def test_a_folder_that_cannot_be_written_to_is_said_to_be(tmp_path):
    (tmp_path / "file").write_text("")
    found = polygons(*rasters(tmp_path, fields()), ["Lake"])
    with pytest.raises(
        ValueError, match=r"out: got '.*/file/out', but nothing can be written there \(Not a dir"
    ):
        write_polygons(found, tmp_path / "file" / "out")


def test_strips_change_nothing(tmp_path, monkeypatch):
    paths = rasters(
        tmp_path, patchwork(), np.random.default_rng(0).integers(0, 256, (150, 170), dtype=np.uint8)
    )
    whole = polygons(*paths)
    monkeypatch.setattr("wusu_lib.scenes.polygons.STRIP", 7)
    assert polygons(*paths).equals(whole)


def test_importing_polygons_loads_no_geopandas():
    code = "import sys, wusu_lib.scenes.polygons; print({'geopandas', 'shapely', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
