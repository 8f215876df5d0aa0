from __future__ import annotations

import ast
import math
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.record_labels import (
    CINC2017_LABELS,
    CINC2017_VERSIONS,
    MAX_TABLE_BYTES,
    parse_reference,
    parse_scp_codes,
    read_cinc2017_reference,
    read_scp_codes,
    reference_version,
)
from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.writers.ecg_sets import write_reference

FACTS = Facts(duration_s=30.0)


def test_rows_with_and_without_a_folder():
    assert parse_reference(b"\xef\xbb\xbfA00/A00001,N\r\nA00002,~\r\n\r\n A00/A00003 , A \n") == {
        "A00001": "N",
        "A00002": "~",
        "A00003": "A",
    }


def test_an_unknown_label_is_refused_with_its_line():
    with pytest.raises(AnnotationError, match="line 2: unknown label 'AF' of A00002; expected N, A, O or ~"):
        parse_reference(b"A00001,N\nA00/A00002,AF\n")
    assert parse_reference(b"A00002,AF\n", {"AF": "A"}) == {"A00002": "A"}


def test_a_record_with_two_labels_is_refused_and_a_repeated_row_is_not():
    assert parse_reference(b"A00/A00001,N\nA00001,N\n") == {"A00001": "N"}
    with pytest.raises(AnnotationError, match="line 2: A00001 is O here and N above"):
        parse_reference(b"A00001,N\nA00/A00001,O\n")


@pytest.mark.parametrize("row", ["A00001", "A00/,N", ",N", "A00001;N"])
def test_other_rows_are_refused(row):
    with pytest.raises(AnnotationError, match="line 1: .* is no row of the form A00/A00001,N"):
        parse_reference(row.encode())


@pytest.mark.parametrize("version", CINC2017_VERSIONS)
def test_versions_are_told_by_their_counts(version):
    codes = [code for code, n in zip(CINC2017_LABELS, CINC2017_VERSIONS[version]) for _ in range(n)]
    labels = {f"A{i:05d}": code for i, code in enumerate(codes, 1)}
    assert len(labels) == 8528
    assert reference_version(labels) == version
    labels.popitem()
    assert reference_version(labels) is None


def test_the_label_of_one_record_says_where_it_comes_from():
    files = {"main": b"A00/A00001,N\nA00/A00002,A\n"}
    scoring = read_cinc2017_reference(files, FACTS, record="A00002")
    assert (scoring.record, scoring.notes) == (("A",), ("label from a reference of 2 records",))
    with pytest.raises(AnnotationError, match="the reference table of 2 records does not list A00009"):
        read_cinc2017_reference(files, FACTS, record="A00009")
    codes = [code for code, n in zip(CINC2017_LABELS, CINC2017_VERSIONS["v3"]) for _ in range(n)]
    whole = "\n".join(f"A{i:05d},{code}" for i, code in enumerate(codes, 1)).encode()
    scoring = read_cinc2017_reference({"main": whole}, FACTS, record="A08528")
    assert (scoring.record, scoring.notes) == (("~",), ("label from version v3 of the reference",))
    assert read_cinc2017_reference({"main": b"A1,AF"}, FACTS, {"AF": "A"}, record="A1").record == ("A",)


def test_the_real_reference(shared_data):
    labels = parse_reference((shared_data / "cinc2017-6/REFERENCE.csv").read_bytes())
    assert labels == {"A00001": "N", "A00002": "N", "A00004": "A", "A00005": "A", "A00008": "O", "A00013": "O"}


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.from_regex(r"A\d{5}", fullmatch=True), st.sampled_from(CINC2017_LABELS), max_size=20))
def test_a_written_reference_is_read_back(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("reference") / "REFERENCE.csv"
    for folder in ("", "A00"):
        write_reference(path, labels, folder=folder)
        assert parse_reference(path.read_bytes()) == labels


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_random_bytes_are_read_or_refused(data):
    try:
        labels = parse_reference(data)
    except AnnotationError:
        return
    assert set(labels.values()) <= set(CINC2017_LABELS)


def test_size_is_bounded():
    with pytest.raises(AnnotationError, match="above the limit"):
        parse_reference(b" " * (MAX_TABLE_BYTES + 1))


def test_a_statement_holds_whatever_its_likelihood():
    cell = "{'NORM': 100.0, 'LVOLT': 0.0, \"SR\": 0}"
    assert parse_scp_codes(cell) == {"NORM": 100.0, "LVOLT": 0.0, "SR": 0.0}
    assert read_scp_codes({"main": cell}, FACTS).record == ("NORM", "LVOLT", "SR")
    assert read_scp_codes({"main": cell}, FACTS, {"LVOLT": "NORM"}).record == ("NORM", "SR")


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "NORM",
        "['NORM']",
        "{'NORM'}",
        "{'NORM': }",
        "{'NORM': 100.0",
        "{'NORM': 1.0}}",
        "{'NORM': 1.0 'SR': 0.0}",
        "{'NORM': 1.0; 'SR': 0.0}",
        "{'NORM': --1}",
        "{'NORM': 1e999}",
        "{'NORM': __import__('os')}",
        "{'NORM\": 1.0}",
        "{" * 5000 + "}" * 5000,
    ],
)
def test_anything_else_is_refused(cell):
    with pytest.raises(AnnotationError, match="scp_codes: "):
        parse_scp_codes(cell)


def test_a_statement_given_twice_is_refused():
    with pytest.raises(AnnotationError, match="NORM is given twice"):
        parse_scp_codes("{'NORM': 1.0, 'NORM': 2.0}")


names = st.text(string.ascii_uppercase + string.digits + "_/() ", min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, st.floats(0, 100) | st.integers(0, 100), max_size=6))
def test_cells_equal_the_literal_parser(codes):
    cell = repr(codes)
    assert parse_scp_codes(cell) == ast.literal_eval(cell) == codes


@settings(max_examples=100, deadline=None)
@given(st.text("{}'\":,.0123456789eE+-AB \\\n", max_size=40))
def test_random_cells_are_read_or_refused(cell):
    try:
        codes = parse_scp_codes(cell)
    except AnnotationError:
        return
    assert all(code and math.isfinite(value) for code, value in codes.items())
