from __future__ import annotations

from pathlib import Path

import pytest

from hypnos_bench.cohorts.base import CohortOptions
from hypnos_bench.cohorts.scan import PersonPattern, require_root, split_repeated, walk_files
from hypnos_bench.errors import DataError, UsageError


def test_walk_passes_over_hidden_files_and_takes_any_case(tmp_path: Path) -> None:
    for name in ("b/x.EDF", "a.edf", "._a.edf", ".cache/y.edf", "c.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [p.relative_to(tmp_path).as_posix() for p in walk_files(tmp_path, ".edf")] == ["a.edf", "b/x.EDF"]


def test_walk_follows_links_once(tmp_path: Path) -> None:
    real = tmp_path / "disk"
    real.mkdir()
    (real / "x.edf").touch()
    (real / "loop").symlink_to(real)
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(real)
    assert len(list(walk_files(root, ".edf"))) == 1


def test_repeated_ids_are_left_out_with_their_places(tmp_path: Path) -> None:
    found, repeated = split_repeated(
        [("x", tmp_path / "a/x.edf"), ("x", tmp_path / "b/x.edf"), ("y", tmp_path / "y.edf")], tmp_path
    )
    assert list(found) == ["y"]
    assert repeated[0].reason == "found 2 times: a/x.edf, b/x.edf; keep one"


def test_roots_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mros needs --root: the folder that holds a/b.edf"):
        require_root(CohortOptions(), "mros", "a/b.edf")
    with pytest.raises(DataError, match="does not exist; expected a folder that holds a/b.edf"):
        require_root(CohortOptions(tmp_path / "no"), "mros", "a/b.edf")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is not a folder"):
        require_root(CohortOptions(tmp_path / "file"), "mros", "a/b.edf")


def test_person_pattern() -> None:
    assert PersonPattern(None).person("night1") == "night1"
    assert PersonPattern(r"^(SC4\d\d)").person("SC4001E0") == "SC400"
    with pytest.raises(UsageError, match="finds no person in recording 'ST7011J0'"):
        PersonPattern(r"^(SC4\d\d)").person("ST7011J0")
    with pytest.raises(UsageError, match="finds no person"):
        PersonPattern(r"^SC(4?)").person("SCx")
    with pytest.raises(UsageError, match="is not a regular expression"):
        PersonPattern("(")
    with pytest.raises(UsageError, match="has no group"):
        PersonPattern("^SC4")
