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


def test_a_third_part_is_what_the_function_is_called_with():
    registry = Registry("thing", {"one": "pathlib:PurePosixPath:a/b", "upper": "operator:methodcaller:upper"})
    assert str(registry.load("one")) == "a/b"
    assert registry.load("upper")("x") == "X"
    with pytest.raises(UsageError, match="points to pathlib:gone:x, which fails to load"):
        Registry("thing", {"gone": "pathlib:gone:x"}).load("gone")


def test_what_the_function_refuses_is_not_called_a_failure_to_load():
    with pytest.raises(UsageError, match="^no cohort card nope.toml"):
        Registry("text", {"x": "hypnos_bench.cohorts.card_toml:card_text:nope"}).load("x")


def test_a_target_without_an_object_is_named():
    with pytest.raises(UsageError, match="thing 'x' points to pathlib, which fails to load"):
        Registry("thing", {"x": "pathlib"}).load("x")


class Point:
    def __init__(self, name, value):
        self.name, self.value = name, value


def test_other_packages_add_to_it_and_cannot_take_a_name(monkeypatch):
    points = [Point("more", "operator:methodcaller:lower"), Point("path", "pathlib:Path")]
    monkeypatch.setattr("hypnos_bench.registry.entry_points", lambda group: points if group == "g" else [])
    registry = Registry("thing", {"path": "pathlib:Path"}, group="g")
    assert registry.ids() == ["more", "path"]
    assert registry.load("more")("X") == "x"
    assert Registry("thing", {"path": "pathlib:Path"}, group="other").ids() == ["path"]
    points.append(Point("path", "mine:Path"))
    with pytest.raises(UsageError, match="thing 'path' is registered twice: pathlib:Path and mine:Path"):
        registry.load("path")
