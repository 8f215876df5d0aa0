from __future__ import annotations

import pytest

from hypnos_bench.cohorts.annotations.csv_hypnogram import MAX_CSV_CHARACTERS, read_csv_stages
from hypnos_bench.cohorts.annotations.runs import AnnotationError


def test_rows_are_epochs_in_order() -> None:
    assert read_csv_stages("stage\nW\nN1\nS2\nN3\nS4\nREM\n?\nR\n", 240.0).tolist() == [0, 1, 2, 3, 3, 4, -1, 4]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_byte_order_mark_and_case(separator: str) -> None:
    text = f"\ufeffNote{separator}Stage\r\nx{separator}wake\r\ny{separator} n2 \r\n"
    assert read_csv_stages(text, 60.0).tolist() == [0, 2]


def test_start_s_places_a_row() -> None:
    assert read_csv_stages("start_s,stage\n60,N2\n0.0,W\n", 120.0).tolist() == [0, -1, 2, -1]


def test_epoch_counts_from_zero() -> None:
    assert read_csv_stages("epoch,stage\n0,W\n2,R\n", 90.0).tolist() == [0, -1, 4]
    with pytest.raises(AnnotationError, match="does not begin at 0"):
        read_csv_stages("epoch,stage\n1,W\n2,R\n", 90.0)


@pytest.mark.parametrize("cell", ["5", "4", "0", "N5", ""])
def test_numbers_and_unknown_words_are_refused_with_the_line(cell: str) -> None:
    with pytest.raises(AnnotationError, match=r"line 3: unknown stage .*Accepted: W, Wake, N1"):
        read_csv_stages(f"stage,x\nW,1\n{cell},1\n", 60.0)


@pytest.mark.parametrize("cell", ["-30", "nan", "soon", ""])
def test_a_start_that_is_no_time_is_refused(cell: str) -> None:
    with pytest.raises(AnnotationError, match="line 2: start_s"):
        read_csv_stages(f"start_s,stage\n{cell},W\n", 60.0)


def test_two_rows_for_one_epoch_are_refused() -> None:
    with pytest.raises(AnnotationError, match="line 3: overlaps line 2"):
        read_csv_stages("epoch,stage\n0,W\n0,R\n", 60.0)


def test_more_rows_than_signal_are_refused() -> None:
    with pytest.raises(AnnotationError, match="up to 90 s, but the signals last 60 s"):
        read_csv_stages("stage\nW\nW\nW\n", 60.0)


@pytest.mark.parametrize("text", ["", "W\nN1\n", "Start,Stop,StageName\n0,5,W\n"])
def test_a_file_without_the_column_says_what_it_has(text: str) -> None:
    with pytest.raises(AnnotationError, match="no column 'stage'"):
        read_csv_stages(text, 60.0)


def test_a_short_row_is_an_unknown_stage() -> None:
    with pytest.raises(AnnotationError, match="line 2: unknown stage None"):
        read_csv_stages("epoch,stage\n0\n", 60.0)


def test_no_rows_is_no_stage() -> None:
    with pytest.raises(AnnotationError, match="no sleep stage"):
        read_csv_stages("stage\n", 60.0)


def test_size_is_bounded() -> None:
    with pytest.raises(AnnotationError, match="above the limit"):
        read_csv_stages("x" * (MAX_CSV_CHARACTERS + 1), 60.0)
