from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.rhythm import (
    af_type_of,
    read_cpsc2021,
    read_rhythm,
    seconds_of,
)
from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.base import Scoring, Span
from hypnos_bench.signals.wfdb_annotations import encode_annotations

BEATS = [(30, "N", ""), (900, "N", "")]
FACTS = Facts(duration_s=10.0, rate_hz=100.0, n_samples=1000)


def read(annotations, facts=FACTS, words=None, beats=None, **options) -> Scoring:
    files = {"main": encode_annotations(annotations)}
    if beats is not None:
        files["beats"] = encode_annotations(beats)
    return read_rhythm(files, facts, words, **options)


def test_a_rhythm_holds_until_the_next_change_and_before_and_after_are_unlabelled():
    annotations = [*BEATS, (200, "+", "(AFIB"), (600, "+", "(N")]
    assert read(annotations).rhythm == (Span("AFIB", 2.0, 6.0), Span("N", 6.0, 9.0))


def test_before_first_labels_the_start():
    spans = read([*BEATS, (200, "+", "(AFIB")], before_first="N").rhythm
    assert spans == (Span("N", 0.0, 2.0), Span("AFIB", 2.0, 9.0))


def test_beats_alone_are_one_span_of_before_first():
    assert read(BEATS, before_first="N").rhythm == (Span("N", 0.0, 9.0),)
    assert read(BEATS).rhythm == ()


def test_a_short_tail_counts_as_annotated_and_a_long_one_does_not():
    annotations = [*BEATS, (0, "+", "(N")]
    assert read(annotations, tail_s=1.0).rhythm == (Span("N", 0.0, 10.0),)
    assert read(annotations, tail_s=0.9).rhythm == (Span("N", 0.0, 9.0),)


def test_shdb_af_has_its_rhythm_in_comments():
    annotations = [(0, '"', "(AFL\x00"), (250, '"', ""), (500, '"', "")]
    assert read(annotations).rhythm == (Span("AFL", 0.0, 5.0),)


def test_shdb_af_n_is_not_annotated():
    annotations = [(0, '"', "(N"), (200, '"', "(AFIB"), (400, '"', "(N"), (600, '"', "(AT"), (800, '"', "")]
    spans = read(annotations, not_annotated=("N",), codes=("AFIB", "AT")).rhythm
    assert spans == (Span("AFIB", 2.0, 4.0), Span("AT", 6.0, 8.0))


def test_a_code_on_every_beat_is_one_span():
    annotations = [(at, '"', "(AFIB" if at < 500 else "(N") for at in range(0, 1000, 100)]
    assert read(annotations).rhythm == (Span("AFIB", 0.0, 5.0), Span("N", 5.0, 9.0))


def test_afdb_was_annotated_as_far_as_its_beats_go():
    """Its .atr holds changes alone: without the .qrs the last rhythm would have no length."""
    changes = [(0, "+", "(N"), (300, "+", "(AFIB")]
    assert read(changes).rhythm == (Span("N", 0.0, 3.0),)
    assert read(changes, beats=[(30, "N", ""), (820, "N", "")]).rhythm[-1] == Span("AFIB", 3.0, 8.2)
    assert read(changes, beats=[(30, "N", ""), (1200, "N", "")]).rhythm[-1] == Span("AFIB", 3.0, 10.0)
    assert read(changes, beats=[]).rhythm == (Span("N", 0.0, 3.0),)


def test_ltafdb_closing_comment_says_nothing_of_time():
    """It stands in every file, of record 30 hours past the end, and must not move the last annotation."""
    annotations = [(0, "+", "(N"), (600, "N", "")]
    for sample in (1000, 4_198_064):
        scoring = read([*annotations, (sample, '"', "\x01 Aux")])
        assert scoring.rhythm == (Span("N", 0.0, 6.0),)


def test_a_record_without_an_opening_rhythm_is_unlabelled_there_and_says_so():
    facts = Facts(duration_s=100.0, rate_hz=100.0, n_samples=10_000)
    scoring = read([(30, "N", ""), (2000, "+", "(AFIB"), (9000, "N", "")], facts)
    assert scoring.rhythm == (Span("AFIB", 20.0, 90.0),)
    assert scoring.notes == ("no rhythm is given before 20.0 s", "nothing is annotated after 90.0 s of 100.0 s")


def test_other_texts_open_no_rhythm_and_are_told():
    scoring = read([(0, "+", "(N"), (100, '"', "MISSB"), (150, '"', "PSE"), (160, '"', "PSE"), (200, "N", "None")])
    assert scoring.rhythm == (Span("N", 0.0, 2.0),)
    assert scoring.notes == (
        "nothing is annotated after 2.0 s of 10.0 s",
        "3 texts name no rhythm: 'MISSB' (1), 'PSE' (2)",
    )


def test_unknown_codes_are_counted_and_kept():
    annotations = [(0, "+", "(AFIB"), (200, "+", "(WOW"), (400, "+", "(N"), (500, "+", "(WOW"), (900, "N", "")]
    scoring = read(annotations, codes=("AFIB", "N"))
    assert scoring.unknown == {"WOW": 2}
    assert [span.code for span in scoring.rhythm] == ["AFIB", "WOW", "N", "WOW"]
    assert read(annotations).unknown == {}


def test_what_the_user_says_of_a_code_wins():
    annotations = [(0, "+", "(AF"), (200, "+", "(noise"), (400, "+", "(AFIB"), (600, "+", "(X"), (900, "N", "")]
    words = {"af": "AFIB", "NOISE": "unscored", "x": "ignore"}
    scoring = read(annotations, words=words, codes=("AFIB",))
    assert scoring.rhythm == (Span("AFIB", 0.0, 2.0), Span("AFIB", 4.0, 9.0))
    assert scoring.unknown == {}


def test_a_change_on_the_last_sample_leaves_no_empty_span():
    assert read([(0, "+", "(AFIB"), (1000, "+", "(N")]).rhythm == (Span("AFIB", 0.0, 10.0),)


def test_times_in_ticks_of_the_file():
    annotations = [(0, '"', "## time resolution: 1000"), (1000, "+", "(AFIB"), (9000, "N", "")]
    assert read(annotations).rhythm == (Span("AFIB", 1.0, 9.0),)
    with pytest.raises(AnnotationError, match="the record has 10000 samples"):
        read([*annotations, (10_001, "N", "")])


@pytest.mark.parametrize("sample", [-1, 1001])
def test_an_annotation_outside_the_record_is_refused(sample):
    with pytest.raises(AnnotationError, match=f"at sample {sample}: the record has 1000 samples"):
        read([(sample, "+", "(N"), (5, "N", "")])


def test_a_change_to_nothing_is_refused():
    with pytest.raises(AnnotationError, match="sample 7 names no rhythm"):
        read([(7, "+", "(")])


def test_damage_is_refused_by_name():
    with pytest.raises(AnnotationError, match="holds no annotation at all"):
        read([])
    with pytest.raises(AnnotationError, match="^truncated"):
        read_rhythm({"main": b"\x01"}, FACTS)
    with pytest.raises(AnnotationError, match="companion 'beats': truncated"):
        read_rhythm({"main": encode_annotations(BEATS), "beats": b"\x01"}, FACTS)
    with pytest.raises(AnnotationError, match="the header gives no sampling frequency"):
        read(BEATS, Facts(duration_s=10.0))


changes = st.lists(
    st.tuples(st.integers(0, 1000), st.sampled_from(["+", "N", '"']), st.sampled_from(["(AFIB", "(N", ""])), min_size=1
)


@settings(max_examples=60, deadline=None)
@given(changes, st.sampled_from([None, "N"]))
def test_spans_never_overlap_and_stay_inside(annotations, before):
    spans = read(annotations, before_first=before, tail_s=1.0).rhythm
    edges = [edge for span in spans for edge in (span.start_s, span.stop_s)]
    assert edges == sorted(edges)
    assert all(span.start_s < span.stop_s <= 10.0 for span in spans)
    assert all(a.code != b.code for a, b in pairwise(spans))
    if before is not None and spans:
        assert seconds_of(spans, ["AFIB", "N"]) == pytest.approx(spans[-1].stop_s)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 1000), unique=True, min_size=1, max_size=20), st.randoms())
def test_the_order_in_the_file_does_not_matter(samples, source: random.Random):
    annotations = [(at, "+", f"({source.choice(['AFIB', 'N', 'AFL'])}") for at in samples]
    shuffled = source.sample(annotations, len(annotations))
    in_order = encode_annotations(annotations)
    out_of_order = encode_annotations(shuffled, ordered=False)
    assert read_rhythm({"main": in_order}, FACTS) == read_rhythm({"main": out_of_order}, FACTS)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 60))
def test_damaged_files_are_read_or_refused(noise, at):
    good = encode_annotations([*BEATS, (200, "+", "(AFIB"), (600, "+", "(N")])
    for data in (noise, noise + b"\0\0", good[:at] + noise + good[at:], good[:at] + noise + good[at + len(noise) :]):
        for reader, facts in ((read_rhythm, FACTS), (read_cpsc2021, facts_of("paroxysmal"))):
            try:
                assert isinstance(reader({"main": data, "beats": data}, facts), Scoring)
            except AnnotationError:
                continue


# CPSC2021


def facts_of(af_type: str, n_samples: int = 20_000) -> Facts:
    comments = (f"{af_type} atrial fibrillation", "unnecessary comment")
    return Facts(duration_s=n_samples / 200, rate_hz=200.0, n_samples=n_samples, comments=comments)


HOLDS = {
    "non": [(30, "N", ""), (19_800, "N", "")],
    "paroxysmal": [(30, "N", ""), (4000, "+", "(AFIB"), (8000, "+", "(N"), (19_800, "N", "")],
    "persistent": [(0, "+", "(AFIB"), (30, "N", ""), (20_000, "+", "(N")],
}


def test_cpsc2021_time_outside_episodes_is_n():
    scoring = read_cpsc2021({"main": encode_annotations(HOLDS["paroxysmal"])}, facts_of("paroxysmal"))
    assert scoring.rhythm == (Span("N", 0.0, 20.0), Span("AFIB", 20.0, 40.0), Span("N", 40.0, 100.0))
    assert scoring.record == ("paroxysmal",)
    assert scoring.unknown == {}


def test_cpsc2021_without_a_rhythm_change_is_n_throughout():
    scoring = read_cpsc2021({"main": encode_annotations(HOLDS["non"])}, facts_of("non"))
    assert (scoring.rhythm, scoring.record) == ((Span("N", 0.0, 100.0),), ("non",))


def test_cpsc2021_flutter_keeps_its_code_and_counts_as_an_episode():
    annotations = [(0, "+", "(AFL"), (30, "N", ""), (19_900, "+", "(N")]
    scoring = read_cpsc2021({"main": encode_annotations(annotations)}, facts_of("persistent"))
    assert scoring.rhythm == (Span("AFL", 0.0, 99.5), Span("N", 99.5, 100.0))


@pytest.mark.parametrize("holds", HOLDS)
@pytest.mark.parametrize("says", HOLDS)
def test_cpsc2021_header_and_episodes_must_agree(holds, says):
    files = {"main": encode_annotations(HOLDS[holds])}
    if holds == says:
        assert read_cpsc2021(files, facts_of(says)).record == (says,)
        return
    with pytest.raises(AnnotationError, match=f"the header says '{says}' atrial fibrillation, but .* of 100.0 s"):
        read_cpsc2021(files, facts_of(says))


def test_cpsc2021_needs_its_comment():
    with pytest.raises(AnnotationError, match="no comment that says non, paroxysmal or persistent"):
        read_cpsc2021({"main": encode_annotations(BEATS)}, FACTS)
    assert af_type_of(["", " Persistent atrial fibrillation"]) == "persistent"


def test_cpsc2021_time_after_the_last_beat_is_unlabelled():
    scoring = read_cpsc2021({"main": encode_annotations([(30, "N", ""), (2000, "N", "")])}, facts_of("non"))
    assert scoring.rhythm == (Span("N", 0.0, 10.0),)


def real_record(shared_data: Path, name: str, set_name: str = "cpsc2021-af") -> tuple[dict[str, bytes], Facts]:
    folder = shared_data / set_name
    lines = (folder / f"{name}.hea").read_text("ascii").splitlines()
    comments = tuple(line[1:].strip() for line in lines if line.startswith("#"))
    first = next(line for line in lines if not line.startswith("#")).split()
    rate_hz, n = float(first[2]), int(first[3])
    return {"main": (folder / f"{name}.atr").read_bytes()}, Facts(n / rate_hz, None, rate_hz, n, comments)


def test_real_cpsc2021_records(shared_data):
    """Samples read from the .atr by hand; 101_6 ends its last episode on the last sample."""
    names = sorted(path.stem for path in (shared_data / "cpsc2021-af").glob("*.hea"))
    scorings = {name: read_cpsc2021(*real_record(shared_data, name)) for name in names}
    assert len(scorings) == 9
    types = {"101": ("paroxysmal",), "21": ("non",), "84": ("persistent",)}
    assert all(scoring.record == types[name.split("_")[1]] for name, scoring in scorings.items())
    assert all(scoring.unknown == {} for scoring in scorings.values())
    edges = [0, 3132, 5639, 8468, 9100, 11121, 16050, 21303, 22355]
    codes = ["N", "AFIB"] * 4
    assert scorings["data_101_6"].rhythm == tuple(
        Span(code, a / 200, b / 200) for code, a, b in zip(codes, edges[:-1], edges[1:], strict=True)
    )
    assert scorings["data_101_9"].rhythm[1] == Span("AFIB", 3134 / 200, 8312 / 200)
    assert scorings["data_21_7"].rhythm == (Span("N", 0.0, 47201 / 200),)
    assert scorings["data_84_3"].rhythm[0] == Span("AFIB", 0.0, 39512 / 200)


def test_real_mitdb_records(shared_data):
    codes = ("AB", "AFIB", "AFL", "B", "BII", "IVR", "N", "NOD", "P", "PREX", "SBR", "SVTA", "T", "VFL", "VT")
    files, facts = real_record(shared_data, "100", "ecg-non-af/mitdb")
    assert read_rhythm(files, facts, codes=codes).rhythm == (Span("N", 18 / 360, 649991 / 360),)
    paced = read_rhythm(*real_record(shared_data, "102", "ecg-non-af/mitdb"), codes=codes)
    assert [span.code for span in paced.rhythm] == ["P", "N", "P", "N", "P"]
    assert paced.unknown == {}
