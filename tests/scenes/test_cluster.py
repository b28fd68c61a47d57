"""A Ray cluster of two nodes gives the bytes that this process gives, also if it loses one of them."""

import threading
import time

import pytest
import small_scenes
from small_scenes import Slow, noise, predictor, write_scene

from wusu_lib.scenes.maps import change_map

ray = pytest.importorskip("ray", reason='Ray is not installed; pip install "ray[tune]"')
STORE = 150 * 2**20  # bytes of each node's object store; 75 MB is Ray's least


def maps(images, out, engine):
    model = predictor(Slow)
    change_map(model, *images, out, batch=4, engine=engine)
    return {f.name: f.read_bytes() for f in out.iterdir() if f.suffix in (".tif", ".xml", ".json")}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return [
        write_scene(folder / f"{n}.tif", noise(700, 150, n), origin=(500_000 + n / 2, 3_000_000))
        for n in range(2)
    ]


@pytest.fixture(scope="module")
def local(images, tmp_path_factory):
    return maps(images, tmp_path_factory.mktemp("local"), "local")


@pytest.fixture
def cluster():
    """Two nodes of one core each, this process connected to the first."""
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    cloudpickle.register_pickle_by_value(small_scenes)  # the workers do not know the folder of the tests
    nodes = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False},
    )
    second = nodes.add_node(num_cpus=1, object_store_memory=STORE)
    ray.init(address=nodes.address, log_to_driver=False)
    yield nodes, second
    ray.shutdown()
    nodes.shutdown()
    cloudpickle.unregister_pickle_by_value(small_scenes)


def test_a_node_is_lost_in_the_middle(cluster, images, local, tmp_path):
    nodes, second = cluster
    out = tmp_path / "out"
    left = []

    def lose() -> None:
        while len(list(out.glob(".strips/strip_*"))) < 3:
            time.sleep(0.05)
        nodes.remove_node(second, allow_graceful=False)
        left.append(15 - len(list(out.glob(".strips/strip_*"))))

    thread = threading.Thread(target=lose)
    thread.start()
    found = maps(images, out, "ray")
    thread.join()
    assert left[0] > 3
    assert found == local
    assert not second.any_processes_alive()
