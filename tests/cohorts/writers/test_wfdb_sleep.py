"""What the fake sleep trees hold is what the readers read, and every record opens with the wfdb package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cohorts.annotations.apnea_minutes import read_apnea_minutes
from hypnos_bench.cohorts.annotations.cinc2018 import read_cinc2018_arousal
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import hypnogram
from hypnos_bench.cohorts.annotations.wfdb_sleep import read_slpdb_st
from hypnos_bench.cohorts.base import Scoring
from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.cohorts.writers.wfdb_sleep import write_apnea_ecg_tree, write_cinc2018_tree, write_slpdb_tree

wfdb = pytest.importorskip("wfdb", reason="the optional wfdb package is not installed")


def opened(path: Path):
    record = wfdb.rdrecord(str(path))
    return record, Facts(record.sig_len / record.fs, None, float(record.fs), record.sig_len, tuple(record.comments))


def same(scoring: Scoring, w: Written) -> None:
    assert hypnogram(scoring.stages, w.duration_s).codes.tolist() == list(w.stages)
    found = sorted(scoring.events, key=lambda event: (event.start_s, event.kind))
    expected = sorted(w.events, key=lambda event: (event.start_s, event.kind))
    assert [event.kind for event in found] == [event.kind for event in expected]
    np.testing.assert_allclose([e.start_s for e in found], [e.start_s for e in expected], atol=1e-9)
    np.testing.assert_allclose([e.duration_s for e in found], [e.duration_s for e in expected], atol=1e-9)
    assert scoring.unknown == {}


def test_slpdb(tmp_path):
    written = write_slpdb_tree(tmp_path, n_persons=2, seconds=720.0)
    assert [(w.person, w.id) for w in written] == [("slp01", "slp01a"), ("slp01", "slp01b"), ("slp03", "slp03")]
    for w in written:
        record, facts = opened(tmp_path / w.id)
        assert (record.fs, record.sig_name) == (250, ["ECG", "BP", "EEG (C4-A1)", "Resp (sum)"])
        assert record.comments == ["44 M 89 32-01-89"]
        same(read_slpdb_st({"main": (tmp_path / f"{w.id}.st").read_bytes()}, facts), w)
        assert w.stages[4] == -1
        assert w.events
        assert wfdb.rdann(str(tmp_path / w.id), "st").sample[0] == 1


def test_cinc2018(tmp_path):
    written = write_cinc2018_tree(tmp_path, n_persons=2, seconds=360.0)
    assert [w.id for w in written] == ["tr03-0005", "tr03-0006", "te03-0004"]
    for w in written[:2]:
        folder = tmp_path / "training" / w.id
        record, facts = opened(folder / w.id)
        assert (record.fs, record.n_sig, record.sig_name[6]) == (200, 13, "E1-M2")
        same(read_cinc2018_arousal({"main": (folder / f"{w.id}.arousal").read_bytes()}, facts), w)
        assert w.stages[0] == -1
        assert w.events
    assert {path.name for path in (tmp_path / "test/te03-0004").iterdir()} == {"te03-0004.hea", "te03-0004.mat"}
    ages = (tmp_path / "age-sex.csv").read_text().splitlines()
    assert ages[0] == "Record,Age,Sex"
    assert [row.split(",")[0] for row in ages[1:]] == [w.id for w in written]


def test_apnea_ecg(tmp_path):
    written = write_apnea_ecg_tree(tmp_path, n_persons=3, seconds=330.0)
    assert [w.id for w in written] == ["a01", "x01", "b01", "c01"]
    assert written[0].person == written[1].person
    for w in written:
        record, facts = opened(tmp_path / w.id)
        assert (record.fs, record.sig_name) == (100, ["ECG"])
        scoring = read_apnea_minutes({"main": (tmp_path / f"{w.id}.apn").read_bytes()}, facts)
        assert scoring.minutes == w.minutes
        assert (len(scoring.minutes), scoring.minutes[-1].stop_s) == (6, 330.0)
    assert {span.code for span in written[0].minutes} == {"A", "N"}
    assert opened(tmp_path / "a01r")[0].sig_name == ["Resp C", "Resp A", "Resp N", "SpO2"]
    assert opened(tmp_path / "a01er")[0].sig_name[0] == "ECG"
    rows = (tmp_path / "additional-information.txt").read_text().splitlines()
    assert rows[-1].split("\t")[0] == "c01"
    assert rows[-1].endswith(written[-1].person)
