"""Fixtures that several rooms share."""

import os
from pathlib import Path

import pytest

# One thread per test process, before any numeric library is loaded: tests run side by side already.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# Commands under test embed in their own process unless a test asks for more.
os.environ.setdefault("HYPNOS_BENCH_WORKERS", "1")


@pytest.fixture(scope="session")
def demo_cache(tmp_path_factory, worker_id):
    """One simulated cohort for the whole test session, whatever the number of test processes.

    The builder itself must be safe against concurrent builds; this relies on it.
    """
    if given := os.environ.get("HYPNOS_BENCH_TEST_CACHE"):
        return Path(given)
    base = tmp_path_factory.getbasetemp()
    return (base if worker_id == "master" else base.parent) / "demo-cache"


@pytest.fixture(scope="session")
def shared_data():
    """Real recordings beside the checkout; a user's checkout has none, and the tests say so."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real recordings are not here: ../shared/data is missing")
    return folder


@pytest.fixture
def undrawn(monkeypatch):
    """Runs without pictures: most of what a small run costs would be its figures, which other tests draw."""
    from hypnos_bench.report import figures

    monkeypatch.setattr(figures, "_render", lambda figure: {"svg": b"<svg/>", "png": b"not drawn"})


def pytest_collection_modifyitems(items):
    """Slow tests first: one of three minutes that starts last would leave the other processes idle."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
