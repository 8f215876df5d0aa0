"""What the fake trees hold is what the readers read, and every record opens with the wfdb package."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.record_labels import parse_reference, read_cinc2017_reference, read_scp_codes
from hypnos_bench.cohorts.annotations.rhythm import read_cpsc2021, read_rhythm
from hypnos_bench.cohorts.writers.cpsc2021 import write_cpsc2021_tree
from hypnos_bench.cohorts.writers.ecg_sets import (
    AFDB_WITHOUT_SIGNAL,
    write_afdb_tree,
    write_cinc2017_tree,
    write_ltafdb_tree,
    write_mitdb_tree,
    write_ptbxl_tree,
    write_shdb_af_tree,
)

wfdb = pytest.importorskip("wfdb", reason="the optional wfdb package is not installed")

AFDB = {"codes": ("AFIB", "AFL", "J", "N")}
LTAFDB = {"codes": ("AFIB", "N", "SVTA", "VT", "B", "T", "IVR", "AB", "SBR")}
SHDB_AF = {"codes": ("AFIB", "AFL", "AT", "PAT", "NOD", "AB"), "not_annotated": ("N",)}
MITDB = {"codes": ("AFIB", "AFL", "N", "B")}


def opened(path: Path):
    """A record with its facts, by wfdb."""
    record = wfdb.rdrecord(str(path))
    facts = Facts(record.sig_len / record.fs, None, float(record.fs), record.sig_len, tuple(record.comments))
    return record, facts


def rhythm(path: Path, facts: Facts, beats: str = "", **options):
    files = {"main": path.with_suffix(".atr").read_bytes()}
    if beats:
        files["beats"] = path.with_suffix(f".{beats}").read_bytes()
    return read_rhythm(files, facts, **options)


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").split()


def test_afdb(tmp_path):
    written = write_afdb_tree(tmp_path, n_persons=3)
    assert [w.id for w in written] == ["04015", "04043", "04048"]
    assert set(lines(tmp_path / "RECORDS")) == {*AFDB_WITHOUT_SIGNAL, "04015", "04043", "04048"}
    for w in written:
        record, facts = opened(tmp_path / w.id)
        assert (record.fs, record.sig_name, record.adc_gain) == (250, ["ECG1", "ECG2"], [200.0, 200.0])
        scoring = rhythm(tmp_path / w.id, facts, beats="qrs", **AFDB)
        assert scoring.rhythm == w.rhythm
        assert scoring.unknown == {}
        assert w.duration_s - 8 < scoring.rhythm[-1].stop_s < w.duration_s - 5  # the tail that nobody annotated
    assert written[2].rhythm[0].code == "AFIB"
    assert {span.code for span in written[0].rhythm} == {"N", "AFIB", "AFL", "J"}
    for name in AFDB_WITHOUT_SIGNAL:
        assert wfdb.rdheader(str(tmp_path / name)).n_sig == 0
        assert wfdb.rdann(str(tmp_path / name), "atr").aux_note[0].startswith("(")
        assert not (tmp_path / f"{name}.dat").exists()
    assert (tmp_path / "old/04015.atr").is_file()


def test_ltafdb(tmp_path):
    written = write_ltafdb_tree(tmp_path, n_persons=3)
    assert [w.id for w in written] == ["00", "30", "64"]
    notes = {}
    for w in written:
        record, facts = opened(tmp_path / w.id)
        assert (record.fs, record.sig_name, record.adc_gain) == (128, ["ECG", "ECG"], [166.945, 173.01])
        scoring = rhythm(tmp_path / w.id, facts, **LTAFDB)
        assert scoring.rhythm == w.rhythm
        assert scoring.rhythm[-1].stop_s < 0.76 * w.duration_s
        notes[w.id] = scoring.notes
    assert wfdb.rdann(str(tmp_path / "30"), "atr").sample[-1] > record.sig_len
    assert any("no rhythm is given before 24.0 s" in note for note in notes["64"])
    assert all("1 texts name no rhythm: 'MISSB' (1)" in found for found in notes.values())


def test_shdb_af(tmp_path):
    written = write_shdb_af_tree(tmp_path, n_persons=3)
    assert [w.id for w in written] == lines(tmp_path / "RECORDS.txt") == ["001", "002", "003", "004"]
    with (tmp_path / "AdditionalData.csv").open(encoding="utf-8") as handle:
        rows = {row["Data_ID"]: row for row in csv.DictReader(handle)}
    assert {name: row["Subject_ID"] for name, row in rows.items()} == {w.id: w.person for w in written}
    assert written[0].person == written[1].person != written[2].person
    for w in written:
        record, facts = opened(tmp_path / w.id)
        assert (record.fs, record.sig_name, record.baseline) == (200, ["ECG1", "ECG2"], [-1201, -1201])
        assert (rows[w.id]["Annotated"] == "True") == (tmp_path / f"{w.id}.atr").is_file() == bool(w.rhythm)
        if w.rhythm:
            assert rhythm(tmp_path / w.id, facts, **SHDB_AF).rhythm == w.rhythm
            assert set(wfdb.rdann(str(tmp_path / w.id), "atr").symbol) == {'"'}
    assert {span.code for span in written[0].rhythm} == {"AFIB", "AFL", "AT"}


def test_mitdb(tmp_path):
    written = write_mitdb_tree(tmp_path, n_persons=4)
    persons = {w.id: w.person for w in written}
    assert persons == {"100": "1085", "201": "1960", "202": "1960", "114": "1500", "102": "1110"}
    assert lines(tmp_path / "RECORDS") == list(persons)
    leads = {}
    for w in written:
        record, facts = opened(tmp_path / w.id)
        assert (record.fs, record.fmt, record.comments[0]) == (360, ["212", "212"], f"69 M {w.person} 1629 x1")
        assert rhythm(tmp_path / w.id, facts, **MITDB).rhythm == w.rhythm
        leads[w.id] = record.sig_name
    assert (leads["114"], leads["102"]) == (["V5", "MLII"], ["V5", "V2"])
    assert opened(tmp_path / "x_mitdb/x_100")[1].n_samples == 30 * 360
    assert (tmp_path / "102-0.atr").is_file()


def test_cpsc2021(tmp_path):
    for w in write_cpsc2021_tree(tmp_path, n_persons=3, records=1, minutes=0.5):
        (path,) = tmp_path.rglob(f"{w.id}.atr")
        record, facts = opened(path.with_suffix(""))
        scoring = read_cpsc2021({"main": path.read_bytes()}, facts)
        assert (scoring.rhythm, scoring.record) == (w.rhythm, w.record)
        assert record.sig_name == ["I", "II"]


def test_cinc2017(tmp_path):
    written = write_cinc2017_tree(tmp_path, n_persons=4)
    reference = (tmp_path / "training/REFERENCE.csv").read_bytes()
    assert parse_reference(reference) == {"A00001": "N", "A00002": "A", "A00003": "O", "A00004": "~"}
    assert parse_reference((tmp_path / "training/REFERENCE-v0.csv").read_bytes())["A00004"] == "N"
    assert (tmp_path / "training/REFERENCE-v3.csv").read_bytes() == reference
    assert lines(tmp_path / "training/RECORDS")[0] == "A00/A00001"
    for w in written:
        record, facts = opened(tmp_path / "training/A00" / w.id)
        assert (record.fs, record.sig_name, record.units) == (300, ["ECG"], ["mV"])
        assert facts.duration_s == w.duration_s
        assert read_cinc2017_reference({"main": reference}, facts, record=w.id).record == w.record
    part = parse_reference((tmp_path / "validation/REFERENCE.csv").read_bytes())
    assert part == {"A00001": "N", "A00003": "O"}
    copy, original = tmp_path / "validation/A00001.mat", tmp_path / "training/A00/A00001.mat"
    assert copy.read_bytes() == original.read_bytes()


def test_ptbxl(tmp_path):
    written = write_ptbxl_tree(tmp_path, n_persons=4)
    with (tmp_path / "ptbxl_database.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == len(written) == 5
    folds: dict[str, set[str]] = {}
    for w, row in zip(written, rows):
        record, facts = opened(tmp_path / row["filename_hr"])
        low, _ = opened(tmp_path / row["filename_lr"])
        assert row["filename_hr"].endswith(f"{w.id}_hr")
        assert (record.fs, record.n_sig, record.sig_name[3]) == (500, 12, "AVR")
        assert (low.fs, low.sig_name) == (100, record.sig_name)
        assert float(row["patient_id"]) == float(w.person)
        assert read_scp_codes({"main": row["scp_codes"]}, facts).record == w.record
        folds.setdefault(w.person, set()).add(row["strat_fold"])
    assert all(len(found) == 1 for found in folds.values())
    assert written[0].person == written[1].person
    assert rows[-1]["age"] == "300.0"
    assert "AFIB" in written[1].record
    with (tmp_path / "scp_statements.csv").open(encoding="utf-8") as handle:
        statements = {row[""]: row["rhythm"] for row in csv.DictReader(handle)}
    assert (statements["AFIB"], statements["NORM"]) == ("1.0", "")
