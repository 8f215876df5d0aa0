from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.csv_hypnogram import read_csv_hypnogram
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.annotations.text import MAX_TEXT_BYTES
from hypnos_bench.cohorts.base import Scoring


def read(text: str | bytes, duration_s: float = 600.0, words: dict[str, str] | None = None) -> Scoring:
    return read_csv_hypnogram({"main": text.encode() if isinstance(text, str) else text}, Facts(duration_s), words)


def codes(text: str | bytes, duration_s: float) -> list[int]:
    return hypnogram(read(text, duration_s).stages, duration_s).codes.tolist()


def stretches(names: list[str], step_s: int = 5) -> str:
    rows = [f"{i * step_s},{(i + 1) * step_s},{name},9,{i}" for i, name in enumerate(names)]
    return "\n".join(["Start,Stop,StageName,StageNumber,EmbeddingNumber", *rows]) + "\n"


def test_rows_are_epochs_in_order() -> None:
    assert codes("stage\nW\nN1\nS2\nN3\nS4\nREM\n?\nR\n", 240.0) == [0, 1, 2, 3, 3, 4, -1, 4]
    assert len(read("stage\nW\nW\nN2\n", 90.0).stages) == 2


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_byte_order_mark_and_case(separator: str) -> None:
    text = f"\ufeffNote{separator}Stage\r\nx{separator}wake\r\ny{separator} n2 \r\nz{separator}Sleep stage R\r\n"
    assert codes(text, 90.0) == [0, 2, 4]


def test_odd_bytes_are_read_as_windows_1252() -> None:
    assert codes("note,stage\nDonn\xe9e \x96,W\n".encode("latin-1"), 30.0) == [0]
    assert codes(b"note,stage\n\x81\xff,W\n", 30.0) == [0]


def test_start_s_places_a_row() -> None:
    assert codes("start_s,stage\n60,N2\n0.0,W\n", 120.0) == [0, -1, 2, -1]


def test_epoch_counts_from_zero() -> None:
    assert codes("epoch,stage\n0,W\n2,R\n", 90.0) == [0, -1, 4]
    with pytest.raises(AnnotationError, match="does not begin at 0"):
        read("epoch,stage\n1,W\n2,R\n")


@settings(max_examples=30, deadline=None)
@given(
    stages=st.lists(st.sampled_from(["W", "N1", "N2", "N3", "R", "?"]), min_size=1, max_size=30), random=st.randoms()
)
def test_placed_rows_may_come_in_any_order(stages: list[str], random: object) -> None:
    rows = [f"{epoch},{stage}" for epoch, stage in enumerate(stages)]
    ordered = codes("\n".join(["epoch,stage", *rows]), 30.0 * len(stages))
    random.shuffle(rows)  # type: ignore[attr-defined]
    assert codes("\n".join(["epoch,stage", *rows]), 30.0 * len(stages)) == ordered
    assert ordered == [("W", "N1", "N2", "N3", "R", "?").index(stage) if stage != "?" else -1 for stage in stages]


@pytest.mark.parametrize("cell", ["5", "4", "0", "N5", ""])
def test_numbers_and_unknown_words_are_refused_with_the_line(cell: str) -> None:
    with pytest.raises(AnnotationError, match=rf"line 3: unknown sleep stage '{cell}'"):
        read(f"stage,x\nW,1\n{cell},1\n")


def test_a_user_may_say_what_a_number_means() -> None:
    assert [run.code for run in read("stage\n5\n0\n", 60.0, {"5": "R", "0": "W"}).stages] == [4, 0]


@pytest.mark.parametrize("cell", ["-30", "nan", "soon", ""])
def test_a_start_that_is_no_time_is_refused(cell: str) -> None:
    with pytest.raises(AnnotationError, match="line 2: start_s"):
        read(f"start_s,stage\n{cell},W\n")


def test_two_rows_for_one_epoch_are_refused() -> None:
    for second in "WR":
        with pytest.raises(AnnotationError, match="line 3: overlaps line 2"):
            codes(f"epoch,stage\n0,W\n0,{second}\n", 60.0)


def test_more_rows_than_signal_are_refused() -> None:
    with pytest.raises(AnnotationError, match="up to 90 s, but the signals last 60 s"):
        codes("stage\nW\nW\nW\n", 60.0)


@pytest.mark.parametrize("text", ["", "W\nN1\n", "Start,Stop,Stages\n0,5,W\n"])
def test_a_file_without_the_column_says_what_it_has(text: str) -> None:
    with pytest.raises(AnnotationError, match="no column 'stage', .* found: "):
        read(text)


def test_a_short_row_is_an_unknown_stage() -> None:
    with pytest.raises(AnnotationError, match="line 2: unknown sleep stage ''"):
        read("epoch,stage\n0\n")
    with pytest.raises(AnnotationError, match="line 3: epoch is ''"):
        read("stage,epoch\nW,0\nW\n")


def test_no_rows_is_no_stage() -> None:
    with pytest.raises(AnnotationError, match="no sleep stage"):
        codes("stage\n", 60.0)


def test_size_is_bounded() -> None:
    with pytest.raises(AnnotationError, match="above the limit"):
        read(b"x" * (MAX_TEXT_BYTES + 1))


def test_an_epoch_of_short_rows_has_a_stage_when_all_agree() -> None:
    names = ["Stage 2"] * 6 + ["Stage 2"] * 5 + ["REM"] + ["Wake"] * 6 + ["Unknown"] * 6 + ["REM"] * 3
    scoring = read(stretches(names), 150.0)
    assert hypnogram(scoring.stages, 150.0).codes.tolist() == [2, -1, 0, -1, -1]
    assert scoring.notes == (
        "1 of 5 epochs have rows of different stages and count as unscored",
        "1 epochs are scored in part and count as unscored",
    )


def test_rows_of_any_length_are_cut_into_epochs() -> None:
    text = "Stop;StageName;Start\n90;Stage 4;0\n97.5;Stage 1;90\n120;Stage 1;97.5\n"
    scoring = read(text, 120.0)
    assert hypnogram(scoring.stages, 120.0).codes.tolist() == [3, 3, 3, 1]
    assert scoring.notes == ()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("0,5,Wake\n4,9,Wake", "line 3: overlaps line 2"),
        ("0,5,Wake\n5,5,Wake", "line 3: stops at 5 s, but starts at 5 s"),
        ("0,5,Wake\n5,x,Wake", "line 3: stop is 'x'"),
        ("0,5,Wake\n5,10,Stage 5", "line 3: unknown sleep stage 'Stage 5'"),
        ("0,90,Wake", "line 2: sleep is scored up to 90 s, but the signals last 60 s"),
    ],
)
def test_bad_stretches_are_refused_with_the_line(rows: str, words: str) -> None:
    with pytest.raises(AnnotationError, match=words):
        read(f"Start,Stop,StageName\n{rows}\n", 60.0)


def test_unscored_stretches_past_the_signals_say_nothing() -> None:
    assert codes("Start,Stop,StageName\n0,60,Wake\n60,1e12,Unknown\n", 60.0) == [0, 0]


def test_the_real_sleepfm_file(shared_data: Path) -> None:
    path = shared_data / "hypnograms-misc/sleepfm_demo_psg.csv"
    with path.open() as lines:
        names = [row["StageName"] for row in csv.DictReader(lines)]
    by_epoch = [set(names[first : first + 6]) for first in range(0, 1740, 6)]
    scoring = read(path.read_bytes(), 8715.0)
    mixed = sum(len(found) > 1 for found in by_epoch)
    assert scoring.notes == (f"{mixed} of 290 epochs have rows of different stages and count as unscored",)
    expected = [{"Wake": 0, "REM": 4}.get(min(f), -1) if len(f) == 1 else -1 for f in by_epoch]
    assert hypnogram(scoring.stages, 8715.0).codes.tolist() == expected


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=80), at=st.integers(0, 90), cut=st.integers(0, 8), noise=st.binary(max_size=6))
def test_any_bytes_are_read_or_refused(data: bytes, at: int, cut: int, noise: bytes) -> None:
    good = (b"epoch,stage\n0,W\n1,N2\n", stretches(["Wake", "REM", "Stage 1"], 30).encode(), b"stage\n" + data)
    for text in (data, *(g[:at] + noise + g[at + cut :] for g in good)):
        try:
            message = str(read(text).notes)
        except AnnotationError as error:
            message = str(error)
        assert "\n" not in message
