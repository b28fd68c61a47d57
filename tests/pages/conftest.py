import matplotlib as mpl
import pytest
from made_up_city import make_run, write_city

mpl.use("Agg")


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    return write_city(tmp_path_factory.mktemp("city"))


@pytest.fixture(scope="session")
def runs(table):
    return [make_run(table, 0.6, seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="session")
def baseline_runs(table):
    return [make_run(table, 0.4, seed, name="exp04") for seed in (4, 5)]
