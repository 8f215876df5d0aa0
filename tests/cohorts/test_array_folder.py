from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypnos_bench.cohorts import array_folder
from hypnos_bench.cohorts.array_folder import SOURCE
from hypnos_bench.cohorts.base import CohortOptions
from hypnos_bench.cohorts.writers.array_folder import write_array_folder
from hypnos_bench.errors import DataError, RecordingError, UsageError

FEATURES = Path(__file__).parents[2] / "../shared/data/sleepedf-features20"

GOOD_X = np.ones((4, 3), dtype=np.float32)
GOOD_Y = np.array([0, 1, -1, 4])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = write_array_folder(tmp_path, n_persons=3, nights=2, n_epochs=25)
    cohort = SOURCE.open(CohortOptions(tmp_path, person_pattern=r"^(p\d+)n"))
    assert [(r.id, r.person) for r in cohort.recordings] == [(w.id, w.person) for w in written]
    for recording, expected in zip(cohort.recordings, written, strict=True):
        assert recording.duration_s() == expected.duration_s
        assert tuple(recording.stages()) == expected.stages
        assert recording.stages().dtype == np.int8
    assert cohort.excluded == ()
    assert cohort.card.split.kind == "cv5"
    assert cohort.card.encoders == ("precomputed",)


def test_means_differ_between_stages(tmp_path: Path) -> None:
    write_array_folder(tmp_path, n_persons=1, nights=1, n_epochs=200, dim=8)
    with np.load(tmp_path / "p01n1.npz") as data:
        x, y = data["X"], data["y"]
    means = np.array([x[y == code].mean(axis=0) for code in range(5)])
    nearest = ((x[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == y)[y >= 0].mean() > 0.9


def test_without_a_pattern_every_recording_is_its_own_person(tmp_path: Path) -> None:
    write_array_folder(tmp_path, n_persons=1, nights=2)
    assert [r.person for r in SOURCE.open(CohortOptions(tmp_path)).recordings] == ["p01n1", "p01n2"]


def test_a_pattern_that_does_not_fit_names_the_recording(tmp_path: Path) -> None:
    write_array_folder(tmp_path, n_persons=1, nights=1)
    with pytest.raises(UsageError, match="'p01n1'"):
        SOURCE.open(CohortOptions(tmp_path, person_pattern="^(q.)"))


def test_there_are_no_signals_events_or_rhythm(tmp_path: Path) -> None:
    write_array_folder(tmp_path, n_persons=1, nights=1)
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    assert recording.signal("C3") is None
    assert recording.signals.channels() == ()
    with pytest.raises(RecordingError, match="use the encoder 'precomputed'"):
        recording.signals.read("C3")
    with pytest.raises(RecordingError, match="no events"):
        recording.events()
    with pytest.raises(RecordingError, match="no heart rhythm"):
        recording.rhythm()
    assert pickle.loads(pickle.dumps(recording)) == recording


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": GOOD_X}, "no array 'y'; found X"),
        ({"y": GOOD_Y}, "no array 'X'; found y"),
        ({"X": GOOD_X, "y": GOOD_Y[:3]}, "X has 4 rows, y has 3"),
        ({"X": GOOD_X[0], "y": GOOD_Y}, "X has shape (3,), expected (epochs, dim)"),
        ({"X": GOOD_X, "y": GOOD_Y[:, None]}, "y has shape (4, 1), expected (epochs,)"),
        ({"X": GOOD_X[:0], "y": GOOD_Y[:0]}, "X has shape (0, 3)"),
        ({"X": GOOD_X, "y": np.array(list("WNRW"))}, "y holds <U1, expected numbers"),
        ({"X": GOOD_X.astype(object), "y": GOOD_Y}, "X holds object, expected numbers"),
        ({"X": GOOD_X > 0, "y": GOOD_Y}, "X holds bool, expected numbers"),
    ],
)
def test_misshaped_files_are_listed_with_one_line(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    np.savez(tmp_path / "good.npz", X=GOOD_X, y=GOOD_Y)
    cohort = SOURCE.open(CohortOptions(tmp_path))
    assert [r.id for r in cohort.recordings] == ["good"]
    assert cohort.excluded[0].recording == "bad"
    assert words in cohort.excluded[0].reason


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 not really", b"\x93NUMPY"])
def test_files_that_are_no_archive_are_listed(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"no usable recording .* 1 left out, the first: bad: bad.npz: not a readable"):
        SOURCE.open(CohortOptions(tmp_path))


def test_damaged_data_behind_a_good_header_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "cut.npz"
    np.savez(path, X=np.arange(4000, dtype=np.float32).reshape(1000, 4), y=np.zeros(1000, dtype=np.int8))
    data = bytearray(path.read_bytes())
    data[2000:2010] = b"\xff" * 10  # inside X: the checksum no longer fits
    path.write_bytes(data)
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    with pytest.raises(RecordingError, match=r"cut.npz: X cannot be read"):
        recording.stages()


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.array([0, 1, 5, 4]), "y[2] is 5, expected -1..4"),
        (np.array([0, 1, np.nan, 4]), "y[2] is nan, expected -1..4"),
        (np.array([0, 1.5, 2, 4]), "y[1] is 1.5, expected -1..4"),
    ],
)
def test_other_codes_are_refused_with_their_place(tmp_path: Path, y: Any, words: str) -> None:
    np.savez(tmp_path / "a.npz", X=GOOD_X, y=y)
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    with pytest.raises(RecordingError) as caught:
        recording.stages()
    assert words in str(caught.value)


def test_whole_floats_are_codes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=GOOD_X, y=GOOD_Y.astype(float))
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    assert recording.stages().tolist() == GOOD_Y.tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    x = GOOD_X.copy()
    x[2, 1] = value
    np.savez(tmp_path / "a.npz", X=x, y=GOOD_Y)
    (recording,) = SOURCE.open(CohortOptions(tmp_path)).recordings
    with pytest.raises(RecordingError, match="not finite in 1 of 4 rows, the first is 2"):
        recording.stages()


def test_size_is_bounded_by_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", X=GOOD_X, y=GOOD_Y)
    monkeypatch.setattr(array_folder, "MAX_X_BYTES", 47)
    with pytest.raises(DataError, match="above the limit"):
        SOURCE.open(CohortOptions(tmp_path))
    monkeypatch.setattr(array_folder, "MAX_X_BYTES", 48)
    assert len(SOURCE.open(CohortOptions(tmp_path)).recordings) == 1


def test_an_empty_folder_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Looked for \*.npz .* for example night1.npz with X"):
        SOURCE.open(CohortOptions(tmp_path))


def test_a_changed_label_is_another_cohort(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=GOOD_X, y=GOOD_Y)
    before = SOURCE.open(CohortOptions(tmp_path)).fingerprint()
    assert SOURCE.open(CohortOptions(tmp_path)).fingerprint() == before
    np.savez(tmp_path / "a.npz", X=GOOD_X, y=GOOD_Y * 0)
    assert SOURCE.open(CohortOptions(tmp_path)).fingerprint() != before


@pytest.mark.skipif(not FEATURES.is_dir(), reason="no shared sleepedf-features20")
def test_real_sleep_edf_features() -> None:
    cohort = SOURCE.open(CohortOptions(FEATURES, person_pattern=r"^(SC4\d\d)"))
    assert len(cohort.recordings) == 10
    assert sorted({r.person for r in cohort.recordings}) == ["SC400", "SC402", "SC403", "SC404", "SC405"]
    first = cohort.recordings[0]
    assert (first.id, first.duration_s()) == ("SC4001E0", 2650 * 30.0)
    assert np.bincount(first.stages()).tolist() == [1997, 58, 250, 220, 125]
