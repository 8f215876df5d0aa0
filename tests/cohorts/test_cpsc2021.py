from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cohorts.base import CohortOptions, Derivation, Span
from hypnos_bench.cohorts.opener import card_cohort
from hypnos_bench.cohorts.writers.cpsc2021 import encode_annotations, write_cpsc2021_record, write_cpsc2021_tree
from hypnos_bench.errors import DataError, RecordingError, UsageError

SOURCE = card_cohort("cpsc2021")
REAL = Path(__file__).parents[2] / "../shared/data/cpsc2021-af"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no shared cpsc2021-af")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = write_cpsc2021_tree(tmp_path, n_persons=4, records=2, minutes=0.5)
    assert {p.parent.name for p in tmp_path.rglob("*.hea")} == {"Training_set_I", "Training_set_II"}
    cohort = SOURCE.open(CohortOptions(tmp_path))
    by_id = {w.id: w for w in written}
    assert [r.id for r in cohort.recordings] == sorted(by_id)
    for recording in cohort.recordings:
        expected = by_id[recording.id]
        assert recording.person == expected.person
        assert recording.duration_s() == expected.duration_s
        assert recording.rhythm() == expected.rhythm
        assert recording.record_codes() == (expected.covariates["af_type"],)
        assert recording.mains_hz == 50.0
    assert cohort.card.split.kind == "cv5"


def test_annotations_agree_with_wfdb(tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    annotations = [(0, "+", "(AFIB"), (30, "N", ""), (1500, "N", ""), (200_000, "+", "(N"), (200_001, "N", "")]
    (tmp_path / "x.atr").write_bytes(encode_annotations(annotations))
    read = wfdb.rdann(str(tmp_path / "x"), "atr")
    assert list(zip(read.sample.tolist(), read.symbol, read.aux_note, strict=True)) == annotations


def test_signals_agree_with_wfdb(tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    write_cpsc2021_record(tmp_path, "1", 1, "non", 0.1, np.random.default_rng(0))
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    signal = recording.signal("ECG")
    assert signal is not None
    expected = wfdb.rdrecord(str(tmp_path / "data_1_1")).p_signal[:, 1]
    np.testing.assert_allclose(signal.values, expected, rtol=0, atol=1e-12)


def test_lead_ii_then_lead_i(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_cpsc2021_record(tmp_path, "1", 1, "non", 0.1, rng)
    write_cpsc2021_record(tmp_path, "1", 2, "non", 0.1, rng, leads=("I",))
    write_cpsc2021_record(tmp_path, "1", 3, "non", 0.1, rng, leads=("V1",))
    montages = [dict(r.montage) for r in SOURCE.open(CohortOptions(tmp_path)).recordings]
    assert montages == [{"ECG": Derivation("II")}, {"ECG": Derivation("I")}, {}]


def test_flutter_keeps_its_code_and_counts_as_an_episode(tmp_path: Path) -> None:
    write_cpsc2021_record(tmp_path, "1", 1, "paroxysmal", 0.5, np.random.default_rng(0), code="AFL")
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    assert [span.code for span in recording.rhythm()] == ["N", "AFL", "N", "AFL", "N"]


@pytest.mark.parametrize(
    ("holds", "says"),
    [
        ("non", "paroxysmal"),
        ("non", "persistent"),
        ("paroxysmal", "non"),
        ("paroxysmal", "persistent"),
        ("persistent", "non"),
        ("persistent", "paroxysmal"),
    ],
)
def test_a_header_that_contradicts_the_episodes_is_refused(tmp_path: Path, holds: str, says: str) -> None:
    write_cpsc2021_record(
        tmp_path,
        "1",
        1,
        holds,
        0.5,
        np.random.default_rng(0),
        comment=f"{says} atrial fibrillation",  # type: ignore[arg-type]
    )
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    with pytest.raises(RecordingError, match=f"the header says '{says}' atrial fibrillation, but"):
        recording.rhythm()


def test_a_header_without_class_is_unusable_for_rhythm(tmp_path: Path) -> None:
    write_cpsc2021_record(tmp_path, "1", 1, "non", 0.5, np.random.default_rng(0), comment="")
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    with pytest.raises(RecordingError, match="no comment that says non, paroxysmal or persistent"):
        recording.rhythm()


def test_time_after_the_last_annotation_is_unlabelled(tmp_path: Path) -> None:
    write_cpsc2021_record(tmp_path, "1", 1, "non", 0.5, np.random.default_rng(0))
    (tmp_path / "data_1_1.atr").write_bytes(encode_annotations([(30, "N", ""), (2000, "N", "")]))
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    assert recording.rhythm() == (Span("N", 0.0, 10.0),)


def test_missing_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for record in (1, 2, 3):
        write_cpsc2021_record(tmp_path, "1", record, "non", 0.1, rng)
    (tmp_path / "data_1_1.atr").unlink()
    (tmp_path / "data_1_2.dat").unlink()
    (tmp_path / "data_1_3.atr").write_bytes(b"\x00\x00")
    (tmp_path / "data_1_4.hea").write_text("not a header\n")
    one, two, three, four = SOURCE.open(CohortOptions(tmp_path)).recordings
    assert one.signal("ECG") is not None
    with pytest.raises(RecordingError, match="^data_1_1: no annotation file, expected at data_1_1.atr"):
        one.rhythm()
    assert two.rhythm()  # the header says how long the record is
    with pytest.raises(RecordingError, match=r"its signal file data_1_2.dat is missing"):
        two.signal("ECG")
    with pytest.raises(RecordingError, match="^data_1_3: .*no annotation"):
        three.rhythm()
    with pytest.raises(RecordingError, match="^data_1_4.hea: malformed"):
        four.signals.channels()


def test_no_sleep_scoring(tmp_path: Path) -> None:
    write_cpsc2021_record(tmp_path, "1", 1, "non", 0.1, np.random.default_rng(0))
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    with pytest.raises(RecordingError, match="no sleep stage is scored"):
        recording.stages()
    with pytest.raises(RecordingError, match="no events are scored"):
        recording.events()


def test_recordings_travel_to_other_processes(tmp_path: Path) -> None:
    write_cpsc2021_record(tmp_path, "1", 1, "persistent", 0.1, np.random.default_rng(0))
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    copy = pickle.loads(pickle.dumps(recording))
    assert copy.rhythm() == recording.rhythm()
    assert copy.source_fingerprint() == recording.source_fingerprint()
    assert copy.label_fingerprint() == recording.label_fingerprint()


def test_wrong_roots(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Looked for .hea files named .*, for example Training_set_I/data_1_1.hea"):
        SOURCE.open(CohortOptions(tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        SOURCE.open(CohortOptions(tmp_path / "none"))
    with pytest.raises(UsageError, match="drop the person pattern"):
        SOURCE.open(CohortOptions(tmp_path, person_pattern="(a)"))


@needs_real
def test_real_records() -> None:
    cohort = SOURCE.open(CohortOptions(REAL))
    assert cohort.excluded == ()
    assert [(r.id, r.person, r.record_codes()[0]) for r in cohort.recordings] == [
        ("data_101_6", "101", "paroxysmal"),
        ("data_101_8", "101", "paroxysmal"),
        ("data_101_9", "101", "paroxysmal"),
        ("data_21_7", "21", "non"),
        ("data_21_8", "21", "non"),
        ("data_21_9", "21", "non"),
        ("data_84_1", "84", "persistent"),
        ("data_84_2", "84", "persistent"),
        ("data_84_3", "84", "persistent"),
    ]
    assert {str(r.montage["ECG"]) for r in cohort.recordings} == {"II"}
    assert cohort.recordings[0].duration_s() == 22355 / 200


@needs_real
def test_real_rhythm() -> None:
    """Samples read from the .atr by hand; 101_6 ends its last episode on the last sample."""
    spans = {r.id: r.rhythm() for r in SOURCE.open(CohortOptions(REAL)).recordings}
    edges = [0, 3132, 5639, 8468, 9100, 11121, 16050, 21303, 22355]
    codes = ["N", "AFIB"] * 4
    assert spans["data_101_6"] == tuple(
        Span(code, a / 200, b / 200) for code, a, b in zip(codes, edges[:-1], edges[1:], strict=True)
    )
    assert spans["data_101_9"][1] == Span("AFIB", 3134 / 200, 8312 / 200)
    assert spans["data_21_7"] == (Span("N", 0.0, 47201 / 200),)
    assert spans["data_84_3"][0] == Span("AFIB", 0.0, 39512 / 200)
