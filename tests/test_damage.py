"""A tree in which every kind of damage sits in one recording: all of it is told, and nothing else is lost.

`doctor` names every damaged recording with its reason, `run` leaves out the same ones for the same reasons, and the
healthy ones beside them are all in the result.
"""

import csv
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.cohorts.base import CohortOptions, Event
from hypnos_bench.cohorts.card_toml import load_layout
from hypnos_bench.cohorts.registry import COHORTS
from hypnos_bench.cohorts.writers.mros import write_mros_tree
from hypnos_bench.cohorts.writers.nsrr_xml import write_nsrr_xml
from hypnos_bench.signals.edf import EdfFile
from hypnos_bench.signals.edf_writer import write_edf

HEALTHY = tuple(f"mros-visit1-aa{i:04d}" for i in range(1, 5))
LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in</body></html>" * 20
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<PSGAnnotation><ScoredEvents><ScoredEvent><EventConcept>&b;</EventConcept></ScoredEvent></ScoredEvents>"
    "</PSGAnnotation>"
)


@dataclass(frozen=True)
class Files:
    """The two files of one recording, to be damaged."""

    edf: Path
    xml: Path

    def patch_edf(self, at, field):
        data = bytearray(self.edf.read_bytes())
        data[at : at + len(field)] = field
        self.edf.write_bytes(data)

    def replace_in_xml(self, old, new):
        text = self.xml.read_text()
        assert old in text
        self.xml.write_text(text.replace(old, new))

    def rewrite(self, rename=lambda label: label, keep=lambda label: True, starts_s=None):
        file = EdfFile(self.edf)
        kept = [(c.label, file.read(c.label)) for c in file.channels() if keep(c.label)]
        n = len(starts_s) if starts_s is not None else None
        channels = [
            (rename(label), s.rate_hz, s.unit, s.values if n is None else s.values[: round(n * s.rate_hz)])
            for label, s in kept
        ]
        write_edf(self.edf, channels, record_starts_s=starts_s)


def truncated(files):
    files.edf.write_bytes(files.edf.read_bytes()[:-100_000])


def duplicate(files):
    again = files.edf.parents[1] / "again"
    again.mkdir()
    shutil.copy(files.edf, again)


def record_without_time(files):
    """EDF+D whose last record does not say when it began."""
    n = int(EdfFile(files.edf).duration_s())
    files.rewrite(starts_s=[*range(n - 1), n + 59])
    data = files.edf.read_bytes()
    at = data.rindex(f"+{n + 59}".encode())
    files.edf.write_bytes(data[:at] + b"?" * 4 + data[at + 4 :])


def longer_night(files):
    write_nsrr_xml(files.xml, [0, 1, 2, 3, 4] * 200, [Event("arousal", 60.0, 5.0)], 30_000.0)


def nothing_scored(files):
    write_nsrr_xml(files.xml, [-1] * 12, (), 375.0)


# Kind of damage to: what is done to the files, and what the reason must say.
DAMAGE = {
    "truncated": (truncated, r"truncated: \d+ of \d+ data records are there.*fetch it again"),
    "empty": (lambda f: f.edf.write_bytes(b""), r"the file is empty; fetch it again"),
    "login-page": (lambda f: f.edf.write_bytes(LOGIN_PAGE), r"not an EDF or BDF file"),
    "header-length": (lambda f: f.patch_edf(184, b"512     "), r"gives its own length as '512' bytes"),
    "header-text": (lambda f: f.patch_edf(252, b"many"), r"number of signals"),
    "zero-records": (lambda f: f.patch_edf(236, b"0       "), r"zero data records"),
    "untimed-record": (record_without_time, r"data record \d+"),
    "labels-renamed": (lambda f: f.rewrite(rename=lambda label: f"Q{sum(map(ord, label))}"), r"no (usable )?channel"),
    "annotations-only": (
        lambda f: write_edf(f.edf, [], annotations=[(0, 30, "Sleep stage W")]),
        r"the file holds no channel|the signals last 0 s",
    ),
    "xml-cut": (lambda f: f.xml.write_text(f.xml.read_text()[:-200]), r"-nsrr\.xml: .*XML"),
    "xml-bomb": (lambda f: f.xml.write_text(BOMB), r"-nsrr\.xml: .*(entit|DOCTYPE)"),
    "xml-empty": (lambda f: f.xml.write_bytes(b""), r"-nsrr\.xml: .*(empty|XML)"),
    "xml-login-page": (lambda f: f.xml.write_bytes(LOGIN_PAGE), r"-nsrr\.xml: .*"),
    "unknown-stage": (lambda f: f.replace_in_xml("Stage 2 sleep|2", "Stage 7 sleep|7"), r"ScoredEvent \d+.*stage 7"),
    "longer-night": (longer_night, r"sleep is scored up to 30000 s, but the signals last 375 s"),
    "nothing-scored": (nothing_scored, r"none of 12 epochs is scored|no labelled epoch .*\(12 unscored\)"),
    "no-xml": (lambda f: f.xml.unlink(), r"no annotation file, expected at \S+-nsrr\.xml"),
    "no-edf": (lambda f: f.edf.unlink(), r"annotation without signals: \S+-nsrr\.xml has no signal file"),
    "twice": (duplicate, r"found 2 times: .*again/.*; keep one"),
    "forbidden": (lambda f: f.edf.chmod(0), r"cannot be (opened|read).*Permission denied"),
}
if os.name == "nt" or os.geteuid() == 0:
    del DAMAGE["forbidden"]  # nothing is forbidden to root
IDS = {kind: f"mros-visit1-aa{i:04d}" for i, kind in enumerate(DAMAGE, start=len(HEALTHY) + 1)}
ODD = {"pause": "mros-visit1-aa0901", "no-chin": "mros-visit1-aa0902", "unknown-event": "mros-visit1-aa0903"}
"""Not as they should be, but usable: they are in the result."""
STRAY = "mros-visit1-aa12 (copy)"
"""A name that does not fit."""


def files_of(root, recording):
    base = root / "mros/polysomnography"
    return Files(base / f"edfs/visit1/{recording}.edf", base / f"annotations-events-nsrr/visit1/{recording}-nsrr.xml")


def move(root, old, new):
    for before, after in zip(vars(files_of(root, old)).values(), vars(files_of(root, new)).values()):
        before.rename(after)


def fill_tables(root, persons):
    """Rewrite the tables with every column that the card asks for, so that only the damage is to be told."""
    folder = root / "mros/datasets"
    shutil.rmtree(folder)
    folder.mkdir()
    layout = load_layout("mros")
    asked = [column for columns in layout.covariates.columns.values() for column in columns]
    flags = dict.fromkeys(flag.column for flag in layout.flags if flag.column not in asked)
    for name in ("mros-visit1-dataset", "mros-visit1-harmonized", "mros-visit2-dataset"):
        with (folder / f"{name}-0.6.0.csv").open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["nsrrid", *asked, *flags])
            writer.writerows([[person, *["1"] * len(asked), *[""] * len(flags)] for person in persons])


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    root = tmp_path_factory.mktemp("healthy")
    n = len(HEALTHY) + len(DAMAGE) + len(ODD)
    written = write_mros_tree(root, n_persons=n, hours=0.1, visits=("1",), seed=2)
    fill_tables(root, [f"aa{i:04d}" for i in range(1, 1000)])
    for old, new in zip(written[-len(ODD) :], ODD.values()):
        move(root, old.id, new)
    return root


@pytest.fixture(scope="module")
def damaged(healthy, tmp_path_factory):
    root = tmp_path_factory.mktemp("nsrr") / "damaged"
    shutil.copytree(healthy, root)
    for kind, (damage, _) in DAMAGE.items():
        damage(files_of(root, IDS[kind]))
    stray = files_of(root, HEALTHY[0]).edf
    shutil.copy(stray, stray.with_name(f"{STRAY}.edf"))
    pause, no_chin, unknown = (files_of(root, recording) for recording in ODD.values())
    seconds = int(EdfFile(pause.edf).duration_s())
    pause.rewrite(starts_s=[s if s < 90 else s + 10 for s in range(seconds - 10)])
    no_chin.rewrite(keep=lambda label: "Chin" not in label)
    unknown.replace_in_xml("Hypopnea|Hypopnea", "Flow halved|Flow halved")
    yield root
    for path in root.rglob("*.edf"):
        path.chmod(0o644)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def _here(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def seen(damaged, folder):
    """What `doctor` says, as JSON and as text, with its exit codes."""
    import contextlib
    import io

    words = ["doctor", "cohort", "mros", "--root", str(damaged), "--reports", str(folder / "reports"), "--workers", "1"]
    said = []
    for more in (["--json"], []):
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
            said.append((run_command([*words, *more]), out.getvalue()))
    return said


@pytest.fixture(scope="module")
def lost(seen):
    """Recording to the reasons that `doctor` gives."""
    reasons = {}
    for loss in json.loads(seen[0][1])["losses"]:
        for case in loss["cases"]:
            reasons.setdefault(case["recording"], []).append(case["reason"])
    return reasons


@pytest.fixture(scope="module")
def cell(damaged, folder):
    """The one cell of a run over the same tree."""
    import contextlib
    import io

    words = ["run", "staging", "--cohort", "mros", "--root", str(damaged), "--encoder", "features", "--seeds", "1"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = run_command([*words, "--shots", "100%", "--results", str(folder / "results"), "--workers", "1"])
    assert code == 0
    (path,) = (folder / "results").glob("cells/**/*.json")
    return json.loads(path.read_text())


def excluded(cell):
    return {e["recording"]: e["reason"] for e in cell["n"]["excluded"]}


@pytest.mark.usefixtures("_here")
def test_the_tree_is_healthy_before_it_is_damaged(healthy, capsys):
    assert run_command(["doctor", "cohort", "mros", "--root", str(healthy), "--workers", "1"]) == 0
    assert "mros: nothing would be lost." in capsys.readouterr().out


def test_doctor_ends_with_1(seen):
    assert [code for code, _ in seen] == [1, 1]


@pytest.mark.parametrize("kind", DAMAGE)
def test_doctor_names_the_recording_and_its_reason(kind, lost):
    assert any(re.search(DAMAGE[kind][1], reason) for reason in lost[IDS[kind]])
    assert not any("\n" in reason for reason in lost[IDS[kind]])


@pytest.mark.parametrize("kind", DAMAGE)
def test_the_text_names_it_too(kind, seen):
    _, text = seen[1]
    assert any(re.search(DAMAGE[kind][1], line) for line in text.splitlines() if IDS[kind] in line)


@pytest.mark.parametrize("kind", DAMAGE)
def test_run_leaves_it_out_for_the_same_reason(kind, cell, lost):
    reason = excluded(cell)[IDS[kind]]
    assert re.search(DAMAGE[kind][1], reason)
    if kind not in ("labels-renamed", "annotations-only", "nothing-scored"):  # found out by other means
        assert [reason] == lost[IDS[kind]]


def test_doctor_names_nothing_else(lost):
    assert set(lost) == {*IDS.values(), STRAY, ODD["unknown-event"]}
    assert "the name does not fit" in lost[STRAY][0]
    assert lost[ODD["unknown-event"]] == ["'flow halved'"]


def test_run_loses_nothing_else(cell, folder):
    assert set(excluded(cell)) == {*IDS.values(), STRAY}
    assert cell["n"]["recordings_total"] == len(HEALTHY) + len(ODD)
    stored = {path.stem for path in folder.glob("results/embeddings/mros/**/*.safetensors")}
    assert {*HEALTHY, *ODD.values()} <= stored


def test_every_file_of_the_tree_is_accounted_for(damaged, seen):
    found = json.loads(seen[0][1])
    known = {c["recording"] for c in found["checkups"]} | {e["recording"] for e in found["excluded"]}
    assert {path.stem for path in damaged.rglob("*.edf")} <= known
    assert {path.name.removesuffix("-nsrr.xml") for path in damaged.rglob("*-nsrr.xml")} <= known


def test_what_is_odd_but_usable_is_said(seen):
    found = json.loads(seen[0][1])
    by_id = {c["recording"]: c for c in found["checkups"]}
    assert any("paused 1 times, 10 s in all" in note for note in by_id[ODD["pause"]]["notes"])
    assert found["montage"]["Chin"]["absent"] == 3  # the others have renamed labels, and none
    assert "Chin" not in by_id[ODD["no-chin"]]["montage"]
    assert found["unknown"]["flow halved"] >= 1


def test_a_pause_is_nan_in_the_signals(damaged):
    recording = next(
        r for r in COHORTS.load("mros").open(CohortOptions(root=damaged)).recordings if r.id == ODD["pause"]
    )
    signal = recording.signal("C3")
    t = np.arange(len(signal.values)) / signal.rate_hz
    np.testing.assert_array_equal(np.isnan(signal.values), (t >= 90) & (t < 100))


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize(
    "command", [["doctor", "cohort", "mros"], ["run", "staging", "--cohort", "mros", "--encoder", "features"]]
)
def test_a_table_with_a_broken_row_stops_with_file_and_line(healthy, tmp_path, capsys, command):
    root = shutil.copytree(healthy, tmp_path / "tree")
    table = root / "mros/datasets/mros-visit1-dataset-0.6.0.csv"
    lines = table.read_text().splitlines()
    lines[3] += ",one,two"
    table.write_text("\n".join(lines) + "\n")
    assert run_command([*command, "--root", str(root)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.strip().splitlines()
    assert re.search(r"mros-visit1-dataset-0\.6\.0\.csv: line 4: \d+ cells, but \d+ columns", line)
