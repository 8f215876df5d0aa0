"""What encoders have in common: intersection of recordings and units, its digest, and rows that stand for the units."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.base import Cohort, CohortCard, Exclusion, Recording
from hypnos_bench.encoders.base import EncoderCard, EncoderOptions
from hypnos_bench.errors import DataError, FitError, IntegrityError
from hypnos_bench.heads.rows import ArrayRows
from hypnos_bench.labelling.units import UnitLabels
from hypnos_bench.runner.common import in_common, loss_line, loss_of, probe_data
from hypnos_bench.runner.gather import Gathered
from hypnos_bench.runner.labels import Labels
from hypnos_bench.runner.record import PlanRecord, PlanRecords
from hypnos_bench.runner.sources import Source
from hypnos_bench.taskfiles import load_task

N_UNITS = 6


def source(name):
    return Source(name, EncoderOptions(), EncoderCard(name, name, "1", 30.0, None, True, 0, (), "none"))


def world(n=4):
    """Recordings with six labelled units each; a unit's label tells which one it is."""
    recordings = tuple(Recording("toy", f"r{i}", f"p{i}", None, None, {}) for i in range(n))
    cohort = Cohort(CohortCard("toy", "Toy", ("stage",)), recordings, ())
    units = {
        r.id: UnitLabels(np.arange(N_UNITS) * 30.0, 10 * i + np.arange(N_UNITS), {"unscored": 1})
        for i, r in enumerate(recordings)
    }
    return cohort, Labels(units, None, [], {r.person: r.person for r in recordings})


def has(name, units, n=4):
    """Rows whose only number is the label of their unit."""
    kept = {rec: np.array(sorted(index), np.intp) for rec, index in sorted(units.items()) if index}
    x = [10 * int(rec[1:]) + i for rec, index in kept.items() for i in index]
    lost = tuple(Exclusion(f"r{i}", f"{name} refused") for i in range(n) if f"r{i}" not in kept)
    return Gathered(source(name), ArrayRows(np.array(x, np.float32)[:, None]) if x else None, kept, lost)


def read(rows):
    out = np.empty(rows.shape, np.float32)
    rows.read_into(0, out)
    return out[:, 0]


ALL = set(range(N_UNITS))
subsets = st.dictionaries(st.sampled_from([f"r{i}" for i in range(4)]), st.sets(st.integers(0, N_UNITS - 1)))


@given(st.lists(subsets, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_it_is_the_intersection_and_rows_stand_for_their_own_units(several):
    cohort, labels = world()
    gathered = [has(f"e{k}", units) for k, units in enumerate(several)]
    expected = {
        f"r{i}": sorted(set.intersection(*(set(units.get(f"r{i}", ())) for units in several))) for i in range(4)
    }
    expected = {name: index for name, index in expected.items() if index}
    if not expected:
        with pytest.raises(DataError, match="no recording was embedded by every encoder"):
            in_common(cohort, labels, gathered)
        return
    common = in_common(cohort, labels, gathered)
    assert {name: index.tolist() for name, index in common.units.items()} == expected
    assert (common.digest == "") == (expected == {f"r{i}": sorted(ALL) for i in range(4)})
    assert set(common.lost) == {f"r{i}" for i in range(4)} - set(expected)
    wanted = [10 * int(name[1:]) + i for name, index in expected.items() for i in index]
    for one in gathered:
        data = probe_data(cohort, labels, common, one, gathered[0])
        everything = np.arange(len(wanted))
        assert data.targets.y.tolist() == wanted
        assert read(data.features(everything)).tolist() == wanted
        assert read(data.tested_features(everything)).tolist() == wanted
        assert np.diff(data.first_row).tolist() == [len(index) for index in expected.values()]


def test_the_digest_is_of_the_set_and_not_of_who_lost_what():
    cohort, labels = world()
    full, less, other = (has(n, u) for n, u in (
        ("a", {f"r{i}": ALL for i in range(4)}),
        ("b", {"r0": ALL, "r1": ALL - {2}, "r2": ALL}),
        ("c", {"r0": ALL, "r1": ALL - {3}, "r2": ALL}),
    ))  # fmt: skip
    assert in_common(cohort, labels, [full]).digest == ""
    assert in_common(cohort, labels, [less]).digest == in_common(cohort, labels, [full, less]).digest
    assert in_common(cohort, labels, [less]).digest != in_common(cohort, labels, [other]).digest


def test_losses_are_told_by_recording_and_by_unit():
    cohort, labels = world()
    full, less = has("a", {f"r{i}": ALL for i in range(4)}), has("b", {"r0": ALL, "r1": {0, 1}})
    common = in_common(cohort, labels, [full, less])
    assert loss_of(less, labels) == {"recordings": 2, "units": 4, "reasons": {"b refused": 2}}
    assert loss_line(full, labels, common, "epoch") is None
    line = "b lost 2 of 4 recordings (b refused), 4 epochs; compared on 2 recordings, 8 epochs in common"
    assert loss_line(less, labels, common, "epoch") == line
    own, theirs = (probe_data(cohort, labels, common, g) for g in (less, full))
    assert [e.reason for e in own.excluded] == ["b refused"] * 2
    assert [e.reason for e in theirs.excluded] == ["not embedded by b: b refused"] * 2
    assert dict(own.dropped) == {"unscored": 2, "without embedding rows": 4, "without rows of another encoder": 0}
    assert dict(theirs.dropped) == {"unscored": 2, "without embedding rows": 0, "without rows of another encoder": 4}


def test_masked_rows_of_another_width_cannot_be_tested_on():
    cohort, labels = world()
    full = has("a", {f"r{i}": ALL for i in range(4)})
    wide = dataclasses.replace(full, rows=ArrayRows(np.zeros((24, 3), np.float32)))
    with pytest.raises(FitError, match="--masking refit"):
        probe_data(cohort, labels, in_common(cohort, labels, [full, wide]), full, wide)


def test_records_are_found_by_what_they_rest_on_and_prove_their_content(tmp_path):
    records, task = PlanRecords(tmp_path), load_task("staging")
    pairs = [(source("a"), "mean"), (source("b"), "mean")]
    key = PlanRecords.key(task, {"id": "toy"}, pairs)
    assert key == PlanRecords.key(task, {"id": "toy"}, pairs[::-1])
    others = [
        PlanRecords.key(task, {"id": "toy"}, pairs[:1]),
        PlanRecords.key(task, {"id": "toy", "fingerprint": "x"}, pairs),
        PlanRecords.key(load_task("staging-wake"), {"id": "toy"}, pairs),
        PlanRecords.key(task, {"id": "toy"}, [*pairs[:1], (source("b"), "mean-sd")]),
    ]
    assert len({key, *others}) == 5
    assert records.get(key) is None
    record = PlanRecord("abc", {"recordings": 2, "units": 8}, {"b": {"recordings": 2, "units": 4, "reasons": {}}})
    records.save(key, record)
    assert records.get(key) == record
    content = json.loads(records.path(key).read_text())
    records.path(key).write_text(json.dumps({**content, "common": ""}))
    with pytest.raises(IntegrityError, match="delete it and rerun"):
        records.get(key)
    for broken in (b"", b"[]", b"{", b"[" * 100_000):
        records.path(key).write_bytes(broken)
        with pytest.raises(IntegrityError):
            records.get(key)
    records.forget(key)
    assert records.get(key) is None
