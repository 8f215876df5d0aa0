from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.annotations.wfdb_sleep import read_slpdb_st
from hypnos_bench.cohorts.base import Event, Scoring
from hypnos_bench.cohorts.writers.wfdb_sleep import write_st
from hypnos_bench.signals.wfdb_annotations import decode_annotations, encode_annotations

FACTS = Facts(duration_s=300.0, rate_hz=250.0, n_samples=75_000)


def read(texts: dict[int, str], words: dict[str, str] | None = None, facts: Facts = FACTS) -> Scoring:
    """A record whose annotations lie at these samples."""
    data = encode_annotations([(sample, '"', text) for sample, text in texts.items()])
    return read_slpdb_st({"main": data}, facts, words)


def codes_of(scoring: Scoring, duration_s: float = 300.0) -> list[int]:
    return hypnogram(scoring.stages, duration_s, page_s=scoring.page_s, pad_s=scoring.pad_s).codes.tolist()


def test_stages_of_the_first_word_and_stage_4_is_n3():
    texts = ["W", "1 H", "2", "3", "4", "R", "MT", "W LA", "2", "2"]
    scoring = read({7500 * i: text for i, text in enumerate(texts)})
    assert codes_of(scoring) == [0, 1, 2, 3, 3, 4, -1, 0, 2, 2]
    assert len(scoring.stages) == 8  # neighbours of one stage are one run


def test_the_first_epoch_is_stored_at_sample_1():
    assert codes_of(read({1: "W", 7500: "2"}))[:3] == [0, 2, -1]


def test_missing_epochs_are_placed_by_sample_and_never_by_order():
    scoring = read({1: "W", 4 * 7500: "2", 5 * 7500: "2", 9 * 7500: "R"})
    assert codes_of(scoring) == [0, -1, -1, -1, 2, 2, -1, -1, -1, 4]


def test_slp45_writes_m_for_mt():
    assert codes_of(read({1: "M\x00", 7500: "W"}))[:2] == [-1, 0]


@pytest.mark.parametrize(
    ("word", "kinds"),
    [
        ("H", ["hypopnea"]),
        ("HA", ["arousal", "hypopnea"]),
        ("OA", ["obstructive-apnea"]),
        ("X", ["arousal", "obstructive-apnea"]),
        ("CA", ["central-apnea"]),
        ("CAA", ["arousal", "central-apnea"]),
        ("L", ["leg-movement"]),
        ("LA", ["arousal", "leg-movement"]),
        ("A", ["arousal"]),
        ("HA LA", ["arousal", "hypopnea", "leg-movement"]),
    ],
)
def test_events_last_their_epoch_and_an_arousal_is_an_event_of_its_own(word, kinds):
    scoring = read({1: "W", 7500: f"2 {word}"})
    assert scoring.events == tuple(Event(kind, 30.0, 30.0) for kind in kinds)
    assert scoring.unknown == {}


def test_unknown_marks_are_kept_and_counted():
    scoring = read({1: "W Zz", 7500: "2 ZZ H"})
    assert scoring.unknown == {"zz": 2}
    assert [event.kind for event in scoring.events] == ["zz", "hypopnea", "zz"]


def test_what_the_user_says_wins():
    scoring = read({1: "W Z", 7500: "2 HA", 15000: "Q"}, {"z": "ignore", "ha": "hypopnea", "Q": "N2"})
    assert scoring.events == (Event("hypopnea", 30.0, 30.0),)
    assert codes_of(scoring)[:3] == [0, 2, 2]
    assert scoring.unknown == {}


def test_an_unknown_stage_is_refused_with_its_place():
    with pytest.raises(AnnotationError, match=r"sample 7500 \('5 H'\): unknown sleep stage '5'"):
        read({1: "W", 7500: "5 H"})


def test_two_stages_in_one_epoch_are_unscored_and_told():
    scoring = read({1: "W", 7500: "1", 7600: "2", 15000: "R", 15001: "R H"})
    assert codes_of(scoring)[:3] == [0, -1, 4]
    assert scoring.notes == ("1 epochs have two stages and count as unscored, the first at sample 7500 ('1')",)


def test_annotations_without_a_text_are_told():
    assert read({1: "W", 100: "", 7500: "2"}).notes == ("1 annotations carry no text",)
    with pytest.raises(AnnotationError, match="holds no sleep stage"):
        read({100: ""})
    with pytest.raises(AnnotationError, match="lies before the record"):
        read({-9: "W"})


def test_scoring_beyond_the_signals_is_refused_by_the_hypnogram():
    scoring = read({1: "W", 10 * 7500: "2"})
    with pytest.raises(AnnotationError, match="sleep is scored up to 330 s"):
        codes_of(scoring)


KINDS = ("hypopnea", "obstructive-apnea", "central-apnea", "leg-movement", "arousal")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-1, 4), min_size=1, max_size=30),
    st.sets(st.tuples(st.integers(0, 29), st.sampled_from(KINDS)), max_size=20),
    st.sets(st.integers(0, 29), max_size=5),
    st.randoms(),
)
def test_what_is_written_is_read_back(tmp_path_factory, stages, marks, missing, source):
    n = len(stages)
    missing = {epoch for epoch in missing if epoch < n} if len({e for e in missing if e < n}) < n else set()
    events = [Event(kind, epoch * 30.0, 30.0) for epoch, kind in marks if epoch < n and epoch not in missing]
    path = tmp_path_factory.mktemp("st") / "slp01a.st"
    write_st(path, stages, events, missing=missing)
    facts = Facts(duration_s=n * 30.0, rate_hz=250.0, n_samples=n * 7500)
    scoring = read_slpdb_st({"main": path.read_bytes()}, facts)
    expected = [-1 if epoch in missing else code for epoch, code in enumerate(stages)]
    assert codes_of(scoring, n * 30.0) == expected
    assert scoring.events == tuple(sorted(events, key=lambda event: (event.start_s, event.kind)))
    annotations = decode_annotations(path.read_bytes())
    shuffled = encode_annotations(source.sample(annotations, len(annotations)), ordered=False)
    assert read_slpdb_st({"main": shuffled}, facts) == scoring


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 40))
def test_damaged_files_are_read_or_refused(noise, at):
    good = encode_annotations([(1, '"', "W"), (7500, '"', "2 HA"), (15000, '"', "R")])
    for data in (noise, noise + b"\0\0", good[:at] + noise + good[at:], good[:at] + noise + good[at + len(noise) :]):
        try:
            scoring = read_slpdb_st({"main": data}, FACTS)
        except AnnotationError:
            continue
        assert np.isfinite([run.start_s for run in scoring.stages]).all()
