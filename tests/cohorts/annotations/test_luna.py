from __future__ import annotations

import random
from datetime import time
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.luna import read_luna_annot, read_luna_eannot
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.annotations.text import MAX_TEXT_BYTES, STAGES_ONLY
from hypnos_bench.cohorts.base import Event, Scoring
from hypnos_bench.cohorts.writers.luna import write_luna_annot, write_luna_eannot

KINDS = ("arousal", "obstructive-apnea", "central-apnea", "mixed-apnea", "hypopnea", "rera", "desaturation", "odd-one")
START = time(22, 15, 30)


def annot(*rows: str, duration_s: float = 600.0, start: time | None = START, **words: str) -> Scoring:
    text = "\n".join(["# a | about", "class\tinstance\tchannel\tstart\tstop\tmeta", *rows])
    return read_luna_annot({"main": text.encode()}, Facts(duration_s, start), words)


def row(name: str, start: object = 0, stop: object = 30) -> str:
    return f"{name}\t.\t.\t{start}\t{stop}\t."


def eannot(text: str, duration_s: float, coding: Literal["words", "mnc", "mnc-dhc"] = "words") -> list[int]:
    scoring = read_luna_eannot({"main": text.encode()}, Facts(duration_s), coding=coding)
    return hypnogram(scoring.stages, duration_s).codes.tolist()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stages=st.lists(st.integers(-1, 4), min_size=1, max_size=40),
    events=st.lists(st.builds(Event, st.sampled_from(KINDS), st.integers(0, 1200), st.integers(0, 60)), max_size=6),
    start=st.sampled_from([None, time(22, 15, 30), time(23, 59, 0), time(0, 0, 0), time(12, 0, 1)]),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_read_back_in_any_order_and_across_midnight(
    tmp_path: Path, stages: list[int], events: list[Event], start: time | None, seed: int
) -> None:
    path, duration_s = tmp_path / "apples-130001.annot", len(stages) * 30.0
    write_luna_annot(path, stages, events, start=start)
    lines = path.read_text().splitlines(keepends=True)
    rows = lines[2:]
    random.Random(seed).shuffle(rows)
    scoring = read_luna_annot({"main": "".join(lines[:2] + rows).encode()}, Facts(duration_s, start))
    assert hypnogram(scoring.stages, duration_s).codes.tolist() == stages
    assert scoring.events == (tuple(sorted(events, key=lambda e: (e.start_s, e.duration_s, e.kind))) or None)
    assert sum(scoring.unknown.values()) == sum(e.kind == "odd-one" for e in events)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stages=st.lists(st.integers(-1, 4), min_size=1, max_size=40),
    start=st.sampled_from([None, time(23, 50)]),
    extra_s=st.floats(0, 29.9),
)
def test_an_ellipsis_lasts_to_the_next_row_or_the_end(
    tmp_path: Path, stages: list[int], start: time | None, extra_s: float
) -> None:
    path, duration_s = tmp_path / "x.annot", len(stages) * 30.0 + extra_s
    write_luna_annot(path, stages, (), start=start, changes_only=True)
    scoring = read_luna_annot({"main": path.read_bytes()}, Facts(duration_s, start))
    assert hypnogram(scoring.stages, duration_s).codes.tolist() == stages


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *(("W", 0), ("wake", 0), ("N1", 1), ("NREM2", 2), ("N3", 3), ("N4", 3), ("NREM4", 3), ("R", 4), ("REM", 4)),
        *(("?", -1), ("unscored", -1), ("U", -1)),
    ],
)
def test_stage_classes(name: str, code: int) -> None:
    assert [run.code for run in annot(row(name)).stages] == [code]


@pytest.mark.parametrize("name", ["N5", "NREM7", "Stage 9", "S6"])
def test_an_unknown_class_that_looks_like_a_stage_is_refused(name: str) -> None:
    with pytest.raises(AnnotationError, match=rf"line 4 \('{name}'\): unknown sleep stage"):
        annot(row("W"), row(name, 30, 60))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("hypopnea", "hypopnea"),
        ("hypopnea_obstructive", "hypopnea"),
        ("hypopnea:central", "hypopnea"),
        ("apnea_obstructive", "obstructive-apnea"),
        ("apnea/central", "central-apnea"),
        ("apnea:mixed", "mixed-apnea"),
        ("Obstructive Apnea", "obstructive-apnea"),
        ("apnea", "apnea"),
        ("desat", "desaturation"),
        ("arousal", "arousal"),
        ("arousal_standard", "arousal"),
        ("arousal/spontaneous", "arousal"),
        ("arousal_new_kind", "arousal"),
        ("lml_arousal", "arousal"),
        ("RERA", "rera"),
    ],
)
def test_event_classes(name: str, kind: str) -> None:
    scoring = annot(row(name, 1.5, 4))
    assert (scoring.events, scoring.unknown) == ((Event(kind, 1.5, 2.5),), {})


SCORED = ("artifact_SpO2", "artifact", "plm_left", "LM", "arrhythmia/bradycardia", "periodic_breathing", "snoring")


@pytest.mark.parametrize(
    "name", [*SCORED, "tachycardia_narrowcomplex", "position:supine", "lights_off", "movement", "L", "notes"]
)
def test_what_is_no_event_of_interest_is_known_and_left_out_unread(name: str) -> None:
    scoring = annot(row(name, "?", "?"))
    assert (scoring.stages, scoring.events or (), scoring.unknown) == ((), (), {})


@pytest.mark.parametrize("name", [*SCORED, "tachycardia"])
def test_what_is_left_out_shows_that_events_were_scored(name: str) -> None:
    scoring = annot(row("W"), row(name, 30, 60))
    assert (scoring.events, scoring.notes) == ((), ())


@pytest.mark.parametrize(
    "name", ["N2", "position:supine", "lights_off", "movement", "M", "L", "notes", "startrecording"]
)
def test_a_file_of_stages_alone_has_no_scored_events(name: str) -> None:
    scoring = annot(row("W"), row(name, 30, 60))
    assert (scoring.events, scoring.notes) == (None, (STAGES_ONLY,))


def test_events_that_the_user_ignores_were_scored_all_the_same() -> None:
    assert annot(row("W"), row("hypopnea", 3, 9), hypopnea="ignore").events == ()
    assert annot(row("W"), row("odd_thing", 3, 9), odd_thing="ignore").events is None


def test_a_clock_that_was_changed_is_told() -> None:
    """The hour from 2 to 3 is missing: what is after it lies an hour late."""
    rows = [row("W", "00:30:00", "02:00:00"), row("N2", "03:00:00", "04:00:00"), row("desat", "03:10:00", "+9")]
    scoring = annot(*rows, duration_s=9000.0, start=time(0, 30))
    assert scoring.notes == ("stages span 12600 s of 9000 s of signals: check that the clock was not changed",)
    assert annot(rows[0], rows[2], duration_s=7200.0, start=time(0, 30)).notes == ()
    assert annot(row("W", 0, 30), row("desat", 3, 9), duration_s=9000.0).notes == ()  # no clock, no change


def test_an_unknown_class_is_counted_and_a_users_word_wins() -> None:
    rows = (row("odd_thing", 1, 2), row("odd/thing", 3, 4), row("arousal_x", 5, 6), row("lm_arousal", 7, 8))
    scoring = annot(*rows)
    assert [event.kind for event in scoring.events] == ["odd-thing", "odd-thing", "arousal"]
    assert scoring.unknown == {"odd thing": 2}
    scoring = annot(*rows, odd_thing="hypopnea", arousal_x="ignore", lm_arousal="arousal")
    assert [event.kind for event in scoring.events] == ["hypopnea", "hypopnea", "arousal"]
    assert scoring.unknown == {}
    assert annot(*rows, arousal="ignore", odd_thing="N2").events == ()


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        ("10.5", "12", (10.5, 1.5)),
        ("10.5", "+5", (10.5, 5.0)),
        ("10.5", ".", (10.5, 0.0)),
        ("0+00:01:30", "0+00:02:00", (90.0, 30.0)),
        ("22:15:40", "22:15:45.250", (10.0, 5.25)),
        ("22.15.40", "22.15.45", (10.0, 5.0)),
        ("22:15:40", "+7.5", (10.0, 7.5)),
        ("22:15:40", "25", (10.0, 15.0)),
        ("23:59:50", "00:00:10", (6260.0, 20.0)),
        ("22:15:20", "22:15:35", (-10.0, 15.0)),
    ],
)
def test_times(start: str, stop: str, expected: tuple[float, float]) -> None:
    (event,) = annot(row("hypopnea", start, stop), duration_s=7200.0).events
    assert (event.start_s, event.duration_s) == pytest.approx(expected)


def test_an_ellipsis_of_an_event_ends_with_the_signals() -> None:
    scoring = annot(row("hypopnea", 10, "..."), row("artifact", 25, 30), row("desat", 590, "..."), duration_s=601.5)
    assert scoring.events == (Event("hypopnea", 10.0, 15.0), Event("desaturation", 590.0, 11.5))


@pytest.mark.parametrize(
    "columns", ["{0}\t{1}\t{2}", "{0}\t.\t{1}\t{2}", "{0}\t.\t.\t{1}\t{2}", "{0}\t.\tC3\t{1}\t{2}\tx=1\ty"]
)
def test_short_and_long_rows(columns: str) -> None:
    data = columns.format("N2", 0, 30).encode()
    scoring = read_luna_annot({"main": b"\xef\xbb\xbf# x\r\n\r\n" + data + b"\r\n"}, Facts(30.0))
    assert [(run.code, run.duration_s, run.where) for run in scoring.stages] == [(2, 30.0, "line 3 ('N2')")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("N2\t0", "line 3: 2 columns, expected class"),
        (row("N2", "soon"), "line 3 .* 'soon' is neither seconds nor a time of day"),
        (row("N2", "e:2", "."), "'e:2' is not a time of day"),
        (row("N2", "25:00:00"), "'25:00:00' is not a time of day"),
        (row("N2", 30, 0), "from 30 to 0, it stops before it starts"),
        (row("N2", 30, "+-5"), "neither seconds"),
        (row("N2", 30, "+x"), "neither seconds"),
        (row("N2", "nan"), "neither seconds"),
    ],
)
def test_bad_rows_are_refused_with_the_line(line: str, words: str) -> None:
    with pytest.raises(AnnotationError, match=words):
        annot(line)


def test_times_of_day_need_the_start_of_the_signals() -> None:
    with pytest.raises(AnnotationError, match="do not say at what time they began"):
        annot(row("N2", "22:15:30", "22:16:00"), start=None)
    assert annot(row("N2"), start=None).stages[0].code == 2


def test_rows_of_one_stage_are_joined() -> None:
    rows = [row(name, 30 * i, 30 * i + 30) for i, name in enumerate(["W", "W", "N3", "N4", "R"])]
    assert [(run.code, run.duration_s) for run in annot(*rows).stages] == [(0, 60.0), (3, 60.0), (4, 30.0)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stages=st.lists(st.integers(-1, 4), min_size=1, max_size=60), coding=st.sampled_from(["words", "mnc", "mnc-dhc"])
)
def test_a_written_eannot_is_read_back(
    tmp_path: Path, stages: list[int], coding: Literal["words", "mnc", "mnc-dhc"]
) -> None:
    stages = [max(stage, 0) for stage in stages] if coding == "mnc-dhc" else stages
    write_luna_eannot(tmp_path / "x.eannot", stages, coding)
    assert eannot((tmp_path / "x.eannot").read_text(), len(stages) * 30.0, coding) == stages


def test_stage_4_is_n3_and_7_unscored_in_mnc() -> None:
    assert eannot("0\n1\n2\n3\n4\n5\n7\n", 210.0, "mnc") == [0, 1, 2, 3, 3, 4, -1]


def test_dhc_counts_down_from_wake() -> None:
    assert eannot("1\n0\n-1\n-2\n-3\n", 150.0, "mnc-dhc") == [0, 4, 1, 2, 3]


@pytest.mark.parametrize(
    ("text", "coding"), [("0\n6\n", "mnc"), ("1\n-4\n", "mnc-dhc"), ("N1\n2\n", "words"), ("N1\n\nN2", "words")]
)
def test_an_unknown_label_is_named(text: str, coding: Literal["words", "mnc", "mnc-dhc"]) -> None:
    with pytest.raises(AnnotationError, match="line 2: unknown sleep stage"):
        eannot(text, 60.0, coding)


@pytest.mark.parametrize(
    ("n_labels", "note"),
    [
        (9, "the last epoch of the signals has no label"),
        (10, None),
        (11, "the last label is past the end of the signals and left out"),
    ],
)
@pytest.mark.parametrize("extra_s", [0.0, 12.0])
def test_one_label_more_or_fewer_is_forgiven_and_told(n_labels: int, note: str | None, extra_s: float) -> None:
    duration_s = 300.0 + extra_s
    scoring = read_luna_eannot({"main": b"N2\r\n" * n_labels}, Facts(duration_s))
    assert scoring.notes == ((note,) if note else ())
    assert hypnogram(scoring.stages, duration_s).codes.tolist() == [2] * min(n_labels, 10) + [-1] * (
        10 - min(n_labels, 10)
    )


@pytest.mark.parametrize("n_labels", [0, 8, 12])
def test_two_labels_more_or_fewer_are_refused_with_both_counts(n_labels: int) -> None:
    with pytest.raises(AnnotationError, match=rf"{n_labels} labels, but the signals hold 10 epochs of 30 s"):
        eannot("N2\n" * n_labels, 300.0)


def test_a_real_list_of_labels(shared_data: Path) -> None:
    text = (shared_data / "hypnograms-misc/yasa_sub-02_hypno_30s.txt").read_text()
    names = text.split()
    expected = [{"W": 0, "N1": 1, "N2": 2, "N3": 3, "R": 4}[name] for name in names]
    assert eannot(text, 30.0 * len(names)) == expected


def test_size_is_bounded() -> None:
    for read in (read_luna_annot, read_luna_eannot):
        with pytest.raises(AnnotationError, match="above the limit"):
            read({"main": b"x" * (MAX_TEXT_BYTES + 1)}, Facts(60.0))


@settings(max_examples=120, deadline=None)
@given(data=st.binary(max_size=60), at=st.integers(0, 90), cut=st.integers(0, 8), noise=st.binary(max_size=6))
def test_any_bytes_are_read_or_refused(data: bytes, at: int, cut: int, noise: bytes) -> None:
    good = "\n".join([row("N2"), row("desat", "23:59:00", "..."), row("arousal", "0+00:00:01", "+3")]).encode()
    for text in (data, good[:at] + noise + good[at + cut :]):
        for read in (read_luna_annot, read_luna_eannot):
            try:
                message = repr(read({"main": text}, Facts(90.0, START)))
            except AnnotationError as error:
                message = str(error)
            assert "\n" not in message
