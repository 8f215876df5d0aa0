from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.errors import DataError, IntegrityError
from hypnos_bench.spec import Shots, digest
from hypnos_bench.store import atomic
from hypnos_bench.store.cells import Cell, CellStore


@pytest.fixture
def store(tmp_path):
    return CellStore(tmp_path)


def rewrite(path, change, *, reseal=True):
    """Alter a cell file the way a person with an editor would; `reseal` also repairs its own hash."""
    content = json.loads(path.read_text())
    change(content)
    if reseal:
        content["sha256"] = digest({k: v for k, v in content.items() if k != "sha256"})
    path.write_text(json.dumps(content))


def test_path_holds_the_nouns_and_no_percent_sign(store, spec, cell, side):
    path = store.save(cell, side)
    assert path == store.path(spec)
    assert path.relative_to(store.root).as_posix() == f"cells/toy/staging/enc/linear-0.5pct-s3-{spec.key[:12]}.json"
    counted = dataclasses.replace(spec, shots=Shots.parse("10p"), seed=0)
    assert store.path(counted).name.startswith("linear-10p-s0-")


def test_round_trip(store, spec, cell, side):
    path = store.save(cell, side)
    back = store.load(path)
    assert back.key == spec.key
    assert back.n == {"persons": 2, "excluded": {"r9": "no EDF"}}
    assert back.scores["kappa"] == {"value": 0.7, "low": 0.6, "high": None, "higher_is_better": True}
    assert store.get(spec) == back
    assert store.readable() == ([back], [])
    again = store.load_side(path)
    assert (again.recordings, again.persons) == (["r1", "r2"], ["p1", "p2"])
    for name, array in side.arrays().items():
        assert getattr(again, name).dtype == array.dtype
        np.testing.assert_array_equal(getattr(again, name), array)
    assert again.score is None


def test_the_file_is_strict_json_without_nan(store, cell, side):
    text = store.save(cell, side).read_text()
    assert "NaN" not in text
    assert json.loads(text)["scores"]["kappa"]["high"] is None


def test_equal_cells_give_equal_bytes(store, cell, side):
    path = store.save(cell, side)
    first = path.read_bytes(), store.side_path(cell).read_bytes()
    store.save(cell, side)
    assert (path.read_bytes(), store.side_path(cell).read_bytes()) == first


def test_what_is_not_there_is_none(store, spec):
    assert store.get(spec) is None
    assert store.readable() == ([], [])


def test_failed_cells_are_files_and_are_replaced_by_a_later_success(store, spec, cell, side):
    failed = Cell.of(spec, status="failed", message="linear head did not converge")
    path = store.save(failed)
    assert store.get(spec).status == "failed"
    with pytest.raises(DataError, match="failed cell has no side file"):
        store.load_side(path)
    assert store.save(cell, side) == path
    assert store.get(spec).status == "ok"
    assert store.load_side(path).recordings == ["r1", "r2"]
    store.save(failed)
    assert not store.side_path(failed).exists()


@pytest.mark.parametrize(
    ("change", "with_side", "words"),
    [
        ({"key": "0" * 64}, True, "key is not the SHA-256"),
        ({}, False, "finished cell has a side file"),
        ({"status": "failed", "message": "x"}, True, "failed one has none"),
        ({"status": "failed"}, False, "failed with a message"),
        ({"status": "maybe"}, True, "neither ok nor failed"),
        ({"scores": {"kappa": {"value": 1.0}}}, True, "score 'kappa' lacks"),
        ({"scores": {"k": {"value": "1", "low": None, "high": None, "higher_is_better": True}}}, True, "not a number"),
    ],
)
def test_contradictory_cells_are_not_saved(store, cell, side, change, with_side, words):
    with pytest.raises(ValueError, match=words):
        store.save(dataclasses.replace(cell, **change), side if with_side else None)
    assert store.paths() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y_pred": np.zeros(10, np.int64)}, "y_pred is int64"),
        ({"y_pred": np.zeros(9, np.int8)}, r"y_pred is int8 \(9,\)"),
        ({"confusion": np.zeros((2, 2, 2), np.int64)}, "do not count"),
        ({"unit_recording": np.full(10, 2, np.int32)}, "do not count"),
        ({"y_true": np.full(10, -1, np.int8)}, "do not count"),
        ({"persons": ["p1"]}, "lack a person"),
        ({"recordings": ["r1", "r1"]}, "not unique"),
        ({"proba": None}, "neither proba nor score"),
        ({"proba": np.full((10, 2), np.nan, np.float16)}, "NaN"),
        ({"score": np.zeros(10)}, "score is float64"),
    ],
)
def test_contradictory_side_files_are_not_saved(store, cell, side, change, words):
    with pytest.raises(ValueError, match=words):
        store.save(cell, dataclasses.replace(side, **change))
    assert store.paths() == []


def test_every_flipped_byte_of_a_cell_is_caught(store, cell, side):
    path = store.save(cell, side)
    whole, truth = path.read_bytes(), store.load(path)
    for position in range(0, len(whole), 3):
        altered = bytearray(whole)
        altered[position] ^= 0x01
        path.write_bytes(altered)
        if whole[position : position + 1].isspace():  # only white space may change unseen
            with contextlib.suppress(IntegrityError):
                assert store.load(path) == truth
        else:
            with pytest.raises(IntegrityError, match=r"^[^\n]*delete it and rerun$"):
                store.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["spec"].update(seed=4),
        lambda c: c["spec"]["head"]["settings"].update(c=2.0),
        lambda c: c.update(key="0" * 64),
        lambda c: c.pop("timing"),
        lambda c: c.update(extra=1),
        lambda c: c.update(status="fine"),
        lambda c: c.update(scores=[]),
    ],
)
def test_a_resealed_forgery_still_has_to_make_sense(store, cell, side, change):
    path = store.save(cell, side)
    rewrite(path, change)
    with pytest.raises(IntegrityError, match="delete it and rerun"):
        store.load(path)


def test_a_changed_score_is_caught(store, cell, side):
    path = store.save(cell, side)
    rewrite(path, lambda c: c["scores"]["kappa"].update(value=0.99), reseal=False)
    with pytest.raises(IntegrityError, match="does not match its own SHA-256"):
        store.load(path)


def test_amended_counts_are_sealed_and_nothing_else_changes(store, cell, side):
    path = store.save(cell, side)
    before = json.loads(path.read_text())
    store.amend(store.load(path), {**cell.n, "exposure": {"status": "clean"}})
    after = json.loads(path.read_text())
    assert {name for name in after if after[name] != before[name]} == {"n", "sha256"}
    assert store.load(path).n["exposure"] == {"status": "clean"}
    assert store.load_side(path).recordings == side.recordings


def test_another_schema_is_named(store, cell, side):
    path = store.save(cell, side)
    rewrite(path, lambda c: c.update(schema=99))
    with pytest.raises(IntegrityError, match="cell schema 99, this version reads 3"):
        store.load(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": NaN}', b"[" * 100_000])
def test_what_is_no_cell(store, cell, side, content):
    path = store.save(cell, side)
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        store.load(path)


def test_a_cell_under_another_name_is_caught(store, spec, cell, side):
    path = store.save(cell, side)
    other = dataclasses.replace(spec, seed=9)
    path.rename(store.path(other))
    with pytest.raises(IntegrityError, match="another cell's name"):
        store.get(other)


def test_a_swapped_or_damaged_side_file_is_caught(store, spec, cell, side):
    path = store.save(cell, side)
    other = dataclasses.replace(spec, seed=9)
    other_path = store.save(dataclasses.replace(cell, **vars(Cell.of(other))), side)
    store.side_path(store.load(other_path)).replace(store.side_path(cell))
    with pytest.raises(IntegrityError, match="not the side file its cell was saved with"):
        store.load_side(path)
    with pytest.raises(DataError, match="cannot be read"):
        store.load_side(other_path)


def test_dying_between_side_file_and_cell_leaves_no_cell(store, spec, cell, side, monkeypatch):
    path = store.save(cell, side)
    changed = dataclasses.replace(side, score=np.linspace(0, 1, 10, dtype=np.float32))
    replace = os.replace

    def die_at_the_cell(source, target):
        if str(target).endswith(".json"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(atomic.os, "replace", die_at_the_cell)
    with pytest.raises(KeyboardInterrupt):
        store.save(cell, changed)
    monkeypatch.undo()
    assert store.get(spec) is None  # to be rerun; never a cell whose side file belongs to another run
    store.save(cell, changed)
    assert store.load_side(path).score is not None


def test_a_full_disk_is_one_line(store, spec, cell, side, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(DataError, match=r"No space left on device.*--results DIR"):
        store.save(cell, side)
    monkeypatch.undo()
    assert store.get(spec) is None
    assert [p for p in store.root.rglob("*") if p.is_file()] == []


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_provenance_survives(tmp_path_factory, cell_of_any, value):
    store = CellStore(tmp_path_factory.mktemp("cells"))
    cell = cell_of_any(value)
    path = store.save(cell)
    first = store.load(path)
    store.save(first)
    assert store.load(path) == first


@pytest.fixture(scope="module")
def cell_of_any():
    from hypnos_bench.spec import CellSpec, HeadSpec, SplitSpec

    spec = CellSpec({"id": "t"}, {"id": "c"}, {"id": "e"}, HeadSpec(), SplitSpec(), Shots.parse("10p"), 0)
    return lambda value: Cell.of(spec, status="failed", message="x", provenance={"value": value})
