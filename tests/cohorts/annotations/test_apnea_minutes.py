from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.apnea_minutes import read_apnea_minutes
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.rhythm import seconds_of
from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.base import Scoring, Span
from hypnos_bench.cohorts.grid import span_shares
from hypnos_bench.cohorts.writers.wfdb_sleep import write_apn
from hypnos_bench.signals.wfdb_annotations import decode_annotations, encode_annotations

FACTS = Facts(duration_s=270.0, rate_hz=100.0, n_samples=27_000)


def read(marks: list[tuple[int, str]], words: dict[str, str] | None = None, ordered: bool = True) -> Scoring:
    data = encode_annotations([(sample, symbol, "") for sample, symbol in marks], ordered=ordered)
    return read_apnea_minutes({"main": data}, FACTS, words)


def test_a_symbol_describes_the_minute_that_starts_there():
    assert read([(0, "N"), (6000, "A"), (12_000, "A")]).minutes == (
        Span("N", 0.0, 60.0),
        Span("A", 60.0, 120.0),
        Span("A", 120.0, 180.0),
    )


def test_missing_minutes_stay_unlabelled():
    minutes = read([(0, "N"), (12_000, "A")]).minutes
    assert minutes == (Span("N", 0.0, 60.0), Span("A", 120.0, 180.0))
    apnea, labelled = span_shares(minutes, 60.0 * np.arange(4), 60.0, ("A",))
    assert (apnea.tolist(), labelled.tolist()) == ([0, 0, 1, 0], [1, 0, 1, 0])


def test_a_last_minute_that_the_signals_end_within_is_cut_short():
    assert read([(24_000, "A")]).minutes == (Span("A", 240.0, 270.0),)


def test_minutes_after_the_signals_are_refused():
    with pytest.raises(AnnotationError, match="annotation 'A' at sample 30000: the signals last 270 s"):
        read([(0, "N"), (30_000, "A")])


def test_minutes_that_overlap_are_refused():
    with pytest.raises(AnnotationError, match="'N' at sample 6000: less than a minute after the one before"):
        read([(0, "N"), (6000, "A"), (6000, "N")])


def test_other_symbols_are_refused_unless_the_user_says_what_they_mean():
    with pytest.raises(AnnotationError, match=r"annotation '\|' at sample 6000: expected 'A' .* a file of beats\?"):
        read([(0, "N"), (6000, "|")])
    scoring = read([(0, "V"), (6000, "|"), (12_000, "N")], {"|": "unscored", "V": "A"})
    assert [(span.code, span.start_s) for span in scoring.minutes] == [("A", 0.0), ("N", 120.0)]
    assert scoring.notes == ("1 minutes are unscored",)


def test_an_empty_file_is_refused():
    with pytest.raises(AnnotationError, match="holds no minute at all"):
        read([])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["A", "N", ""]), min_size=1, max_size=30).filter(any), st.randoms())
def test_what_is_written_is_read_back(tmp_path_factory, codes, source):
    path = tmp_path_factory.mktemp("apn") / "x01.apn"
    write_apn(path, codes)
    facts = Facts(duration_s=60.0 * len(codes), rate_hz=100.0, n_samples=6000 * len(codes))
    scoring = read_apnea_minutes({"main": path.read_bytes()}, facts)
    assert scoring.minutes == tuple(Span(c, 60.0 * i, 60.0 * (i + 1)) for i, c in enumerate(codes) if c)
    annotations = decode_annotations(path.read_bytes())
    shuffled = encode_annotations(source.sample(annotations, len(annotations)), ordered=False)
    assert read_apnea_minutes({"main": shuffled}, facts) == scoring


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 12))
def test_damaged_files_are_read_or_refused(noise, at):
    good = encode_annotations([(0, "N", ""), (6000, "A", "")])
    for data in (noise, noise + b"\0\0", good[:at] + noise + good[at:]):
        try:
            assert isinstance(read_apnea_minutes({"main": data}, FACTS), Scoring)
        except AnnotationError:
            continue


@pytest.mark.parametrize(
    ("record", "n_samples", "apnea", "normal"), [("a01", 2_957_000, 470, 19), ("a02", 3_182_000, 420, 108)]
)
def test_real_records(shared_data, record, n_samples, apnea, normal):
    """Counts of minutes as the wfdb package gives them; class A has at least 100 minutes of apnea."""
    data = (shared_data / f"apneaecg-rr70/wfdb/{record}.apn").read_bytes()
    facts = Facts(duration_s=n_samples / 100, rate_hz=100.0, n_samples=n_samples)
    minutes = read_apnea_minutes({"main": data}, facts).minutes
    assert len(minutes) == apnea + normal
    assert seconds_of(minutes, ["A"]) == 60 * apnea
    assert minutes[-1].stop_s == 60.0 * (apnea + normal)
    beats = (shared_data / "apneaecg-rr70/wfdb/a02.qrs").read_bytes()
    with pytest.raises(AnnotationError, match="a minute after|a file of beats"):
        read_apnea_minutes({"main": beats}, facts)
