import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("mirror", Path(__file__).with_name("mirror.py"))
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)


@pytest.fixture
def mirror(monkeypatch):
    """A source on this machine; a proxy in the environment is not asked."""
    monkeypatch.setenv("no_proxy", "*")
    with _MODULE.Mirror() as site:
        yield site


@pytest.fixture
def web():
    """Patience for tests."""
    from hypnos_bench.cohorts.downloads.web import Web

    return Web(timeout_s=2.0, attempts=3, first_wait_s=0.005)
