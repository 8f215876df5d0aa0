from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.kinds import KINDS, check_annotation, kind_of, reader
from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.base import LABEL_KINDS, Scoring
from hypnos_bench.cohorts.card import Annotation
from hypnos_bench.errors import UsageError


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_has_a_reader_of_the_agreed_form(name: str) -> None:
    parameters = list(inspect.signature(reader(KINDS[name])).parameters.values())
    assert [p.name for p in parameters[:3]] == ["files", "facts", "words"]
    assert parameters[2].default is None
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters[3:])
    assert KINDS[name].labels
    assert set(KINDS[name].labels) <= set(LABEL_KINDS)


def read_bytes(name: str, data: bytes) -> Scoring:
    options = {"coding": "isruc"} if name == "stage-list" else {}
    return reader(KINDS[name])({"main": data}, Facts(60.0, None, 100.0, 6000), **options)


OF_BYTES = [name for name, kind in KINDS.items() if kind.loading == "bytes"]


@pytest.mark.parametrize("name", OF_BYTES)
@pytest.mark.parametrize("data", [b"junk", b"\x00\xff" * 40])
def test_every_reader_of_bytes_refuses_junk_in_one_line(name: str, data: bytes) -> None:
    with pytest.raises(AnnotationError) as caught:
        read_bytes(name, data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", OF_BYTES)
def test_an_empty_file_holds_no_labels(name: str) -> None:
    try:
        scoring = read_bytes(name, b"")
    except AnnotationError:
        return
    assert (scoring.stages, scoring.rhythm, scoring.minutes, scoring.record) == ((), (), (), ())


def test_an_unknown_kind_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"^x: unknown kind 'nsr-xml'\. Did you mean 'nsrr-xml'\? Known: nsrr-xml, "):
        kind_of("nsr-xml", "x")


def test_a_right_annotation_passes() -> None:
    check_annotation(Annotation("nsrr-xml", "{stem}.xml"), "x")
    check_annotation(Annotation("nsrr-xml", "{stem}.xml", options={"unsure": "mixed-apnea"}, words={"a": "N2"}), "x")


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Annotation("nsrr", "x"), "x: unknown kind 'nsrr'"),
        (
            Annotation("nsrr-xml", "x", options={"unsur": "hypopnea"}),
            "x options: unknown key 'unsur'. Did you mean 'unsure'?",
        ),
        (
            Annotation("nsrr-xml", "x", options={"unsure": "hypopnoea"}),
            "x options: unsure = 'hypopnoea' is unknown. Did you mean 'hypopnea'?",
        ),
        (Annotation("rhythm", "x", options={"tail_s": "1"}), "x options: tail_s is '1', expected a number"),
        (Annotation("rhythm", "x", options={"tail_s": True}), "x options: tail_s is True, expected a number"),
        (Annotation("rhythm", "x", options={"codes": "AFIB"}), "x options: codes is 'AFIB', expected a list of text"),
        (Annotation("nsrr-xml", "x", options={"words": {}}), "x options: unknown key 'words'"),
        (Annotation("nsrr-xml", "x", words={"nap": "N5"}), "x: words: 'nap' = 'N5' is no meaning."),
    ],
)
def test_a_wrong_annotation_is_refused(annotation: Annotation, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_annotation(annotation, "x")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("kind", "words"), [("rhythm", {"(AF": "AFIB"}), ("apnea-minutes", {"B": "A"})])
def test_codes_of_formats_that_are_no_sleep_scoring_are_their_own(kind: str, words: dict[str, str]) -> None:
    check_annotation(Annotation(kind, "x", words=words), "x")


def test_a_kind_without_options_imports_no_reader() -> None:
    code = (
        "import sys; from hypnos_bench.cohorts.annotations.kinds import check_annotation\n"
        "from hypnos_bench.cohorts.card import Annotation\n"
        "check_annotation(Annotation('nsrr-xml', 'x'), 'x')\n"
        "sys.exit('hypnos_bench.cohorts.annotations.nsrr_xml' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
