from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypnos_bench.cohorts.annotations.runs import runs_of
from hypnos_bench.cohorts.base import (
    EVENT_SCOPES,
    Cohort,
    CohortCard,
    Derivation,
    Event,
    Recording,
    Scoring,
    Span,
    n_epochs,
)
from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.edf import EdfFile
from hypnos_bench.signals.edf_writer import write_edf

EVENTS = (
    Event("arousal", 1.0, 3.0),
    Event("hypopnea", 5.0, 10.0),
    Event("leg-kick", 6.0, 1.0),
    Event("central-apnea", 20.0, 12.0),
    Event("desaturation", 25.0, 30.0),
)


@dataclass(frozen=True)
class Told:
    """Labels that are known."""

    scoring: Scoring
    files: tuple[Path, ...] = ()
    rules: str = ""

    def read(self) -> Scoring:
        return self.scoring


@pytest.fixture
def edf(tmp_path: Path) -> EdfFile:
    ramp = np.arange(1200.0)
    write_edf(
        tmp_path / "night.edf",
        [
            ("C3", 10.0, "uV", ramp),
            ("A2", 10.0, "uV", ramp / 2),
            ("A1", 5.0, "uV", ramp[::2]),
            ("ECG", 10.0, "mV", ramp),
        ],
    )
    return EdfFile(tmp_path / "night.edf")


NOTHING = Scoring()


def recording(edf: EdfFile, scoring: Scoring = NOTHING, **changes: Any) -> Recording:
    plain = Recording("x", "night", "p", edf, Told(scoring), {"C3": Derivation("C3", "A2"), "ECG": Derivation("ECG")})
    return replace(plain, **changes)


def staged(*codes: int, **changes: Any) -> Scoring:
    return Scoring(stages=runs_of(codes), **changes)


# Signals


def test_a_channel_that_the_file_lacks_is_none(edf: EdfFile) -> None:
    assert recording(edf).signal("E1") is None


def test_a_referenced_channel_is_the_difference(edf: EdfFile) -> None:
    signal = recording(edf).signal("C3")
    assert signal is not None
    assert signal.source == "C3 - A2"
    np.testing.assert_allclose(signal.values, np.arange(1200) / 2, atol=0.05)


def test_a_reference_at_another_rate_is_resampled_to_the_first(edf: EdfFile) -> None:
    signal = recording(edf, montage={"C3": Derivation("C3", "A1")}).signal("C3")
    assert signal is not None
    assert (signal.rate_hz, len(signal.values)) == (10.0, 1200)
    middle = signal.values[200:1000]  # a ramp minus itself
    assert np.abs(middle).max() < 5


def test_a_unit_of_the_card_wins_over_the_file_s_and_values_stay(edf: EdfFile) -> None:
    own, other = recording(edf), recording(edf, units={"ECG": "uV"})
    a, b, c3 = own.signal("ECG"), other.signal("ECG"), other.signal("C3")
    assert a is not None
    assert b is not None
    assert c3 is not None
    assert (a.unit, b.unit, c3.unit) == ("mV", "uV", "uV")
    np.testing.assert_array_equal(a.values, b.values)


@pytest.mark.parametrize(
    ("duration_s", "epochs"), [(0, 0), (29.9, 0), (30, 1), (59.9, 1), (2700 * 0.7, 63), (1889.9999999999998, 63)]
)
def test_whole_epochs_of_a_recording(duration_s: float, epochs: int) -> None:
    assert n_epochs(duration_s) == epochs


# Who stays together


def test_the_split_unit_is_the_family_or_else_the_person(edf: EdfFile) -> None:
    assert recording(edf).split_unit == "p"
    assert recording(edf, family="family 7").split_unit == "family 7"


# Stages


def test_epochs_cover_the_signals(edf: EdfFile) -> None:
    found = recording(edf, staged(0, 2, 3)).hypnogram()
    assert found.start_s.tolist() == [0, 30, 60, 90]
    assert recording(edf, staged(0, 2, 3)).stages().tolist() == found.codes.tolist() == [0, 2, 3, -1]


def test_a_scoring_that_does_not_fit_names_recording_and_file(edf: EdfFile) -> None:
    labels = Told(staged(*[2] * 6), (Path("/x/night.xml"), Path("/x/night.csv")))
    with pytest.raises(RecordingError, match=r"^night: night\.xml, night\.csv: sleep is scored up to 180 s, but"):
        recording(edf, labels=labels).hypnogram()
    with pytest.raises(RecordingError, match="^night: annotation: no sleep stage is scored$"):
        recording(edf).stages()


def test_pages_of_a_scoring_may_be_padded(edf: EdfFile) -> None:
    scoring = Scoring(stages=runs_of([2, 3], page_s=20.0), page_s=20.0, pad_s=5.0)
    assert recording(edf, scoring).hypnogram().start_s.tolist() == [-5, 15, 35, 55, 75, 95]


def test_nights_scored_as_sleep_or_wake_only_are_refused_where_a_cohort_scores_in_full(edf: EdfFile) -> None:
    sleep_wake = staged(0, 2, 2, 0, events=EVENTS)
    assert recording(edf, sleep_wake).stages().tolist() == [0, 2, 2, 0]
    full = recording(edf, sleep_wake, full_staging=True)
    for read in (full.stages, lambda: full.events("arousal"), lambda: full.events("respiratory", "arousal")):
        with pytest.raises(RecordingError, match="^night: annotation: no N1, N3 or REM in the whole night"):
            read()
    assert [e.kind for e in full.events("respiratory")] == ["hypopnea", "central-apnea"]
    for codes in ((0, 2, 1), (0, 2, 3), (0, 2, 4), (0, 0, 0), (0, -1, 0)):
        assert recording(edf, staged(*codes), full_staging=True).stages()[:3].tolist() == list(codes)


# Events


@pytest.mark.parametrize(
    ("scopes", "kinds"),
    [
        ((), ["arousal", "hypopnea", "leg-kick", "central-apnea", "desaturation"]),
        (("arousal",), ["arousal"]),
        (("respiratory",), ["hypopnea", "central-apnea"]),
        (("desaturation", "arousal"), ["arousal", "desaturation"]),
    ],
)
def test_events_of_scopes(edf: EdfFile, scopes: tuple[str, ...], kinds: list[str]) -> None:
    assert [e.kind for e in recording(edf, Scoring(events=EVENTS)).events(*scopes)] == kinds


def test_no_events_are_not_the_same_as_none_scored(edf: EdfFile) -> None:
    assert recording(edf, Scoring(events=())).events("arousal") == ()
    with pytest.raises(RecordingError, match="^night: annotation: no events are scored$"):
        recording(edf, Scoring(events=None)).events("arousal")


def test_scopes_are_kinds_of_their_own() -> None:
    kinds = [kind for of_scope in EVENT_SCOPES.values() for kind in of_scope]
    assert len(kinds) == len(set(kinds))


# What must not be used


READERS = {
    "stage": lambda r: r.stages(),
    "events": lambda r: r.events(),
    "arousal": lambda r: r.events("arousal"),
    "respiratory": lambda r: r.events("respiratory"),
    "both": lambda r: r.events("respiratory", "arousal"),
    "rhythm": lambda r: r.rhythm(),
    "minutes": lambda r: r.minutes(),
    "record": lambda r: r.record_codes(),
}
EVERYTHING = staged(0, 1, 2, 3, events=EVENTS, rhythm=(Span("N", 0, 9),), minutes=(Span("A", 0, 60),), record=("A",))


@pytest.mark.parametrize(
    ("scope", "refused"),
    [
        ("stage", {"stage"}),
        ("events", {"events", "arousal", "respiratory", "both"}),
        ("arousal", {"arousal", "both"}),
        ("respiratory", {"respiratory", "both"}),
        ("desaturation", set()),
        ("rhythm", {"rhythm"}),
        ("minutes", {"minutes"}),
        ("record", {"record"}),
    ],
)
def test_what_is_unusable_is_refused_with_its_reason_and_nothing_else(
    edf: EdfFile, scope: str, refused: set[str]
) -> None:
    marked = recording(edf, EVERYTHING, unusable={scope: "scorer: unreliable"})
    for name, read in READERS.items():
        if name in refused:
            with pytest.raises(RecordingError, match="^night: scorer: unreliable$"):
                read(marked)
        else:
            assert len(read(marked)) > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [("rhythm", "no heart rhythm is annotated"), ("minutes", "no apnea minutes"), ("record", "carries no label")],
)
def test_labels_that_are_not_there_are_refused(edf: EdfFile, name: str, message: str) -> None:
    with pytest.raises(RecordingError, match=f"^night: annotation: .*{message}"):
        READERS[name](recording(edf))


# Fingerprints


def prints(r: Recording) -> tuple[str, str]:
    return r.source_fingerprint(), r.label_fingerprint()


SOURCE: tuple[Mapping[str, Any], ...] = (
    {"montage": {"C3": Derivation("C3")}},
    {"montage": {"C4": Derivation("C3", "A2"), "ECG": Derivation("ECG")}},
    {"mains_hz": 60.0},
    {"units": {"ECG": "uV"}},
)
LABEL: tuple[Mapping[str, Any], ...] = (
    {"unusable": {"stage": "r"}},
    {"full_staging": True},
    {"labels": Told(Scoring(), rules="other")},
)
NEITHER: tuple[Mapping[str, Any], ...] = (
    {"covariates": {"age": 70.0}},
    {"quality": ("poor",)},
    {"person": "q"},
    {"family": "f"},
    {"visit": "2"},
)


@pytest.mark.parametrize("changes", [*SOURCE, *LABEL, *NEITHER], ids=lambda c: next(iter(c)))
def test_fingerprints_change_with_what_they_stand_for_and_nothing_else(
    edf: EdfFile, changes: Mapping[str, Any]
) -> None:
    before, after = prints(recording(edf)), prints(recording(edf, **changes))
    assert (before[0] != after[0], before[1] != after[1]) == (changes in SOURCE, changes in LABEL)


def test_fingerprints_are_of_contents_not_of_places(edf: EdfFile, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(b"1")
    first = recording(edf, labels=Told(Scoring(), (tmp_path / "a.xml",)))
    before = prints(first)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("night.edf", "a.xml"):
        (other / name).write_bytes((tmp_path / name).read_bytes())
    moved = recording(EdfFile(other / "night.edf"), labels=Told(Scoring(), (other / "a.xml",)))
    assert prints(moved) == before
    (other / "a.xml").write_bytes(b"2")
    assert prints(moved)[0] == before[0]
    assert prints(moved)[1] != before[1]


def test_files_that_cannot_be_read_have_fingerprints_too(tmp_path: Path) -> None:
    gone = recording(EdfFile(tmp_path / "gone.edf"), labels=Told(Scoring(), (tmp_path / "gone.xml",)))
    assert all(prints(gone))


def test_a_cohort_s_fingerprint_is_of_persons_families_and_labels(edf: EdfFile) -> None:
    def fingerprint(**changes: Any) -> str:
        return Cohort(CohortCard("x", "X", ("stage",)), (recording(edf, **changes),), ()).fingerprint()

    found = [
        fingerprint(**c)
        for c in (
            {},
            {"person": "q"},
            {"family": "f"},
            {"visit": "2"},
            {"unusable": {"stage": "r"}},
            {"mains_hz": 60.0},
        )
    ]
    assert len(set(found)) == len(found)
    assert fingerprint(quality=("poor",)) == found[0]
