import pytest


@pytest.fixture(scope="session")
def untrained_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")
