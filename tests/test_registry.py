import pytest

from hypnos_bench.errors import UsageError
from hypnos_bench.registry import Registry, did_you_mean


def test_loads_lazily_and_by_name():
    registry = Registry("thing", {"path": "pathlib:Path", "broken": "no_such_module_here:x", "gone": "pathlib:NoSuch"})
    assert registry.ids() == ["broken", "gone", "path"]
    assert registry.load("path").__name__ == "Path"
    for name in ("broken", "gone"):
        with pytest.raises(UsageError, match="fails to load"):
            registry.load(name)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UsageError, match=r"unknown cohort 'mrso'\. Did you mean 'mros'\? Known: demo, mros"):
        Registry("cohort", {"mros": "a:b", "demo": "a:b"}).load("mrso")


def test_nothing_near_suggests_nothing():
    assert did_you_mean("zzz", ["staging"]) == ""
