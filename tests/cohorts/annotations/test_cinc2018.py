from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.cinc2018 import read_cinc2018_arousal
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.base import Event, Scoring
from hypnos_bench.cohorts.writers.wfdb_sleep import write_arousal
from hypnos_bench.signals.wfdb_annotations import decode_annotations, encode_annotations

FACTS = Facts(duration_s=310.0, rate_hz=200.0, n_samples=62_000)


def read(texts: list[tuple[int, str]], words: dict[str, str] | None = None, ordered: bool = True) -> Scoring:
    data = encode_annotations([(sample, '"', text) for sample, text in texts], ordered=ordered)
    return read_cinc2018_arousal({"main": data}, FACTS, words)


def codes_of(scoring: Scoring, duration_s: float = 310.0) -> list[int]:
    return hypnogram(scoring.stages, duration_s, page_s=scoring.page_s, pad_s=scoring.pad_s).codes.tolist()


def test_a_stage_holds_until_the_next_and_the_last_to_the_end():
    scoring = read([(0, "W"), (12_000, "N1"), (18_000, "N2"), (30_000, "N3"), (42_000, "R")])
    assert codes_of(scoring) == [0, 0, 1, 2, 2, 3, 3, 4, 4, 4]
    assert scoring.notes == ()


def test_nothing_is_scored_before_the_first_stage():
    """The scorer's grid is kept: here it starts 35 s into the record."""
    scoring = read([(7000, "W"), (13_000, "N2")])
    hypno = hypnogram(scoring.stages, 310.0)
    assert hypno.start_s[:3].tolist() == [5.0, 35.0, 65.0]
    assert hypno.codes[:3].tolist() == [-1, 0, 2]


def test_a_stage_that_is_no_whole_number_of_epochs_loses_its_rest_and_says_so():
    scoring = read([(0, "W"), (7000, "N2"), (19_000, "R")])
    assert [(run.start_s, run.duration_s) for run in scoring.stages] == [(0, 30), (35, 60), (95, 210)]
    assert scoring.notes == ("1 stages do not last whole epochs of 30 s; their rests are unscored",)


def test_two_stages_at_one_sample_are_refused():
    with pytest.raises(AnnotationError, match=r"sample 6000 \('N1'\): another stage starts at the same sample"):
        read([(0, "W"), (6000, "N1"), (6000, "N2")])


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("resp_centralapnea", "central-apnea"),
        ("resp_obstructiveapnea", "obstructive-apnea"),
        ("resp_mixedapnea", "mixed-apnea"),
        ("resp_hypopnea", "hypopnea"),
        ("resp_hypoventilation", "hypoventilation"),
        ("resp_cheynestokesbreath", "cheyne-stokes-breathing"),
        ("resp_partialobstructive", "partial-obstruction"),
        ("arousal_rera", "rera"),
        ("arousal_spontaneous", "arousal"),
        ("arousal_plm", "arousal"),
        ("arousal_snore", "arousal"),
        ("arousal_bruxism", "arousal"),
        ("arousal_noise", "arousal"),
    ],
)
def test_every_type_of_event_and_a_rera_is_no_arousal(word, kind):
    scoring = read([(0, "W"), (1000, f"({word}"), (3000, f"{word})")])
    assert scoring.events == (Event(kind, 5.0, 10.0),)
    assert scoring.unknown == {}


def test_events_of_one_type_follow_each_other_and_others_overlap():
    texts = [(1000, "(resp_hypopnea"), (2000, "resp_hypopnea)"), (2000, "(resp_hypopnea"), (4000, "resp_hypopnea)")]
    texts += [(1500, "(arousal_rera"), (2500, "arousal_rera)"), (6000, "(arousal_snore"), (6000, "arousal_snore)")]
    expected = (
        Event("hypopnea", 5.0, 5.0),
        Event("rera", 7.5, 5.0),
        Event("hypopnea", 10.0, 10.0),
        Event("arousal", 30.0, 0.0),
    )
    assert read([(0, "W"), *texts]).events == expected
    assert read([*reversed(texts), (0, "W")], ordered=False).events == expected


def test_an_event_without_an_end_is_left_out_and_told():
    scoring = read([(0, "W"), (100, "(resp_hypopnea"), (1000, "(resp_hypopnea"), (2000, "resp_hypopnea)")])
    assert scoring.events == (Event("hypopnea", 5.0, 5.0),)
    assert scoring.notes == ("1 marks of resp_hypopnea have no counterpart",)


def test_unknown_events_are_kept_and_counted_and_unknown_stages_refused():
    scoring = read([(0, "W"), (1000, "(leg_jerk"), (2000, "leg_jerk)"), (3000, "")])
    assert scoring.events == (Event("leg-jerk", 5.0, 5.0),)
    assert scoring.unknown == {"leg_jerk": 1}
    assert scoring.notes == ("1 annotations carry no text",)
    with pytest.raises(AnnotationError, match=r"sample 6000 \('N4'\): unknown sleep stage 'N4'"):
        read([(0, "W"), (6000, "N4")])


def test_what_the_user_says_wins():
    texts = [(0, "W"), (1000, "(arousal_rera"), (2000, "arousal_rera)"), (6000, "N4"), (9000, "(x"), (9001, "x)")]
    scoring = read(texts, {"arousal_rera": "arousal", "N4": "N3", "x": "ignore"})
    assert scoring.events == (Event("arousal", 5.0, 5.0),)
    assert codes_of(scoring)[1] == 3
    assert scoring.unknown == {}


def test_annotations_outside_the_record_are_refused():
    with pytest.raises(AnnotationError, match="at sample 62001: the record has 62000 samples"):
        read([(0, "W"), (62_001, "N1")])


def order(event: Event) -> tuple[str, float]:
    return event.kind, event.start_s


KINDS = ("hypopnea", "obstructive-apnea", "rera", "arousal", "partial-obstruction")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=20),
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 40), st.integers(0, 40)), max_size=8),
    st.sampled_from([0.0, 0.005, 12.5, 30.0]),
    st.randoms(),
)
def test_what_is_written_is_read_back(tmp_path_factory, stages, spans, start_s, source: random.Random):
    # Events of one kind, none of which holds another: side by side or apart.
    events, ends = [], dict.fromkeys(KINDS, 0.0)
    for kind, gap, length in spans:
        events.append(Event(kind, ends[kind] + gap / 8, length / 8 + 0.005))
        ends[kind] = events[-1].start_s + events[-1].duration_s
    duration_s = start_s + 30.0 * len(stages) + 700.0
    path = tmp_path_factory.mktemp("arousal") / "tr03-0005.arousal"
    write_arousal(path, stages, events, start_s=start_s)
    facts = Facts(duration_s=duration_s, rate_hz=200.0, n_samples=round(duration_s * 200))
    scoring = read_cinc2018_arousal({"main": path.read_bytes()}, facts)
    hypno = hypnogram(scoring.stages, duration_s)
    first = int((hypno.codes >= 0).argmax())
    assert hypno.start_s[first] == pytest.approx(start_s)
    assert hypno.codes[first : first + len(stages)].tolist() == stages
    assert [e.kind for e in sorted(scoring.events, key=order)] == [e.kind for e in sorted(events, key=order)]
    for found, expected in zip(sorted(scoring.events, key=order), sorted(events, key=order)):
        assert found.start_s == pytest.approx(expected.start_s, abs=0.0025)
        assert found.duration_s == pytest.approx(expected.duration_s, abs=0.005)
    annotations = decode_annotations(path.read_bytes())
    shuffled = encode_annotations(source.sample(annotations, len(annotations)), ordered=False)
    assert read_cinc2018_arousal({"main": shuffled}, facts) == scoring


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 60))
def test_damaged_files_are_read_or_refused(noise, at):
    good = encode_annotations([(0, '"', "W"), (900, '"', "(arousal_rera"), (1900, '"', "arousal_rera)")])
    for data in (noise, noise + b"\0\0", good[:at] + noise + good[at:], good[:at] + noise + good[at + len(noise) :]):
        try:
            assert isinstance(read_cinc2018_arousal({"main": data}, FACTS), Scoring)
        except AnnotationError:
            continue
