from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.runs import AnnotationError, hypnogram
from hypnos_bench.cohorts.annotations.stage_list import (
    MAX_EXTRA_EPOCHS,
    Coding,
    read_stage_list,
)
from hypnos_bench.cohorts.annotations.text import MAX_TEXT_BYTES
from hypnos_bench.cohorts.base import Scoring, StageRun
from hypnos_bench.cohorts.writers.stage_list import write_stage_list
from hypnos_bench.errors import UsageError

CODINGS: tuple[Coding, ...] = get_args(Coding)


def read(data: bytes | str, coding: Coding, n_epochs: float = 1000, words: dict[str, str] | None = None) -> Scoring:
    data = data.encode() if isinstance(data, str) else data
    return read_stage_list({"main": data}, Facts(n_epochs * 30.0), words, coding=coding)


def codes(scoring: Scoring) -> list[int]:
    return [run.code for run in scoring.stages for _ in range(round(run.duration_s / 30))]


def real(shared_data: Path, name: str) -> bytes:
    path = shared_data / "hypnograms-misc" / name
    if not path.is_file():
        pytest.skip(f"no {name} beside the checkout")
    return path.read_bytes()


@pytest.mark.parametrize("coding", CODINGS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stages=st.lists(st.integers(-1, 4), min_size=1, max_size=30), rk=st.booleans(), newline=st.booleans())
def test_what_is_written_is_read_back(
    tmp_path: Path, coding: Coding, stages: list[int], rk: bool, newline: bool
) -> None:
    if coding == "isruc":
        stages = [max(code, 0) for code in stages]
    write_stage_list(tmp_path / "x.txt", stages, coding, rk=rk)
    data = (tmp_path / "x.txt").read_bytes()
    scoring = read(data.replace(b"\n", b"\r\n") if newline else data, coding, len(stages))
    found = hypnogram(scoring.stages, len(stages) * 30.0, page_s=scoring.page_s, pad_s=scoring.pad_s)
    assert found.codes.tolist() == stages
    assert found.start_s.tolist() == [30.0 * i for i in range(len(stages))]
    assert scoring.notes == ()


def test_isruc_5_is_rem() -> None:
    assert codes(read("0\n1\n2\n3\n5\n", "isruc")) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("label", ["4", "-1", "W", "x", "5.0", "\u0663"])
def test_isruc_has_no_other_label(label: str) -> None:
    with pytest.raises(AnnotationError, match=r"line 2: unknown sleep stage .*words = "):
        read(f"0\n{label}\n", "isruc")


def test_isruc_runs_on_after_the_signals_and_is_cut(tmp_path: Path) -> None:
    stages = [0, 1, 2, 3, 4, 4]
    write_stage_list(tmp_path / "1_1.txt", stages, "isruc", extra=30)
    data = (tmp_path / "1_1.txt").read_bytes()
    assert data.endswith(b"\n\n\n")  # as the real files end
    scoring = read(data, "isruc", n_epochs=6.5)
    assert codes(scoring) == stages
    assert scoring.notes == ("30 epochs beyond the end of the signals are left out",)


def test_far_too_many_isruc_labels_are_another_recordings() -> None:
    labels = "2\n" * (10 + MAX_EXTRA_EPOCHS)
    assert len(codes(read(labels, "isruc", 10))) == 10
    with pytest.raises(AnnotationError, match="71 stages for signals of 10 epochs: 61 more"):
        read(labels + "2\n", "isruc", 10)


@pytest.mark.parametrize("coding", ["yasa-words", "aasm"])
def test_only_isruc_is_cut(coding: Coding) -> None:
    scoring = read("N2\n" * 3 if coding == "yasa-words" else "2\n" * 3, coding, 1)
    with pytest.raises(AnnotationError, match="scored up to 90 s, but the signals last 30 s"):
        hypnogram(scoring.stages, 30.0)


def test_blank_lines_may_end_a_list_but_not_interrupt_it() -> None:
    assert codes(read("0\n2\n\n  \n\x1a", "isruc")) == [0, 2]
    with pytest.raises(AnnotationError, match="line 2: blank line among stages"):
        read("0\n\n2\n", "isruc")


def test_dreams_codes_are_those_of_its_readme(shared_data: Path) -> None:
    readme = real(shared_data, "DREAMS_excerpts_readme.txt").decode()
    for said, label, code in [
        ("5=wake", "5", 0),
        ("4=REM stage", "4", 4),
        ("3=sleep stage S1", "3", 1),
        ("2=sleep stage S2", "2", 2),
        ("1=sleep stage S3", "1", 3),
        ("0=sleep stage S4", "0", 3),
        ("-1=sleep stage movement", "-1", -1),
        ("-2 or -3 =unknow sleep stage", "-2", -1),
        ("-2 or -3 =unknow sleep stage", "-3", -1),
    ]:
        assert said in readme
        assert codes(read("[Hypnogram]\n" + f"{label}\n" * 6, "dreams")) == [code]


def test_dreams_epochs_whose_six_labels_differ_are_unscored() -> None:
    labels = ["2"] * 6 + ["2"] * 5 + ["1"] + ["1", "0"] * 3 + ["5"] * 4
    scoring = read("[Hypnogram]\n" + "\n".join(labels), "dreams")
    assert codes(scoring) == [2, -1, 3]  # S3 and S4 agree: both are N3
    assert scoring.notes == (
        "1 of 3 epochs hold more than one stage and count as unscored",
        "the last 20 s of the list are no whole epoch and are left out",
    )


def test_dreams_without_its_header_is_refused() -> None:
    with pytest.raises(AnnotationError, match=r"line 1: '5', expected '\[Hypnogram\]'"):
        read("5\n" * 6, "dreams")


def test_real_dreams_excerpts(shared_data: Path) -> None:
    table = {5: 0, 4: 4, 3: 1, 2: 2, 1: 3, 0: 3, -1: -1, -2: -1, -3: -1}
    for name in ("DREAMS_Hypnogram_excerpt1.txt", "DREAMS_Hypnogram_excerpt2.txt"):
        data = real(shared_data, name)
        by_page = np.array([table[int(x)] for x in data.split()[1:]]).reshape(60, 6)
        agreed = (by_page == by_page[:, :1]).all(axis=1)
        scoring = read(data, "dreams", 60)
        assert codes(scoring) == np.where(agreed, by_page[:, 0], -1).tolist()
        assert len(scoring.notes) == int(not agreed.all())


def test_real_elan_equals_yasas_words_for_the_same_night(shared_data: Path) -> None:
    elan = read(real(shared_data, "Elan_sub-02.hyp"), "elan", 98)
    words = read(real(shared_data, "yasa_sub-02_hypno_30s.txt"), "yasa-words", 98)
    assert len(codes(words)) == 98
    assert codes(elan) == codes(words)
    assert elan.notes == words.notes == ()


def test_a_real_elan_file_that_contradicts_itself_is_refused(shared_data: Path) -> None:
    # It was written with one value per 0.99 s: at one per second its stages would end 219 s late.
    data = real(shared_data, "yasa_data_full_6hrs_100Hz_hypno.hyp")
    with pytest.raises(AnnotationError, match="21829 stages, but epoch_nb is 21610"):
        read(data, "elan", 720)


def test_real_yasa_numbers_under_a_header_that_states_them(shared_data: Path) -> None:
    numbers = read(real(shared_data, "yasa_data_full_6hrs_100Hz_hypno_30s.txt"), "aasm", 720)
    assert np.bincount(codes(numbers)).tolist() == [43, 22, 318, 182, 155]  # counted by sort and uniq
    assert (numbers.stages[0], numbers.notes) == (StageRun(0, 0.0, 330.0, "line 3"), ())


def test_elan_step_is_its_time_base() -> None:
    text = "time_base {}\nsampling_period 0.001\nepoch_nb 3\nepoch_list\n5\n4\n0\n"
    assert codes(read(text.format("30.000"), "elan")) == [4, 3, 0]
    assert codes(read(text.format("10.0"), "elan")) == [-1]
    for wrong in ("20", "60", "0", "-30", "nan", "inf", "1e-300"):
        with pytest.raises(AnnotationError, match="epochs of 30 s are no whole number of these"):
            read(text.format(wrong), "elan")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\n0\n", "no line 'epoch_list'"),
        ("time_base 1\nepoch_list\n0\n", "time_base '1' and epoch_nb None"),
        ("time_base x\nepoch_nb 1\nepoch_list\n0\n", "time_base 'x' and epoch_nb '1'"),
        ("time_base 30\nepoch_nb 3\nepoch_list\n0\n0\n", "2 stages, but epoch_nb is 3"),
        ("time_base 30\nepoch_nb 1\nepoch_list\n9\n", "line 4: unknown sleep stage '9'"),
    ],
)
def test_a_broken_elan_file_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read(text, "elan")


def test_yasa_words_in_any_case() -> None:
    assert codes(read("W\nwake\nN1\nn2\nN3\nR\nREM\nArt\nUNS\n", "yasa-words")) == [0, 0, 1, 2, 3, 4, 4, -1, -1]


def test_numbers_are_stages_only_when_the_coding_says_aasm() -> None:
    text = "# 0: Wake, 1: N1, 2: N2, 3: N3, 4: REM\n0\n4\n"
    assert codes(read(text, "aasm")) == [0, 4]
    with pytest.raises(AnnotationError, match="line 2: unknown sleep stage '0'"):
        read(text, "yasa-words")


def test_a_header_that_states_another_code_is_refused() -> None:
    with pytest.raises(AnnotationError, match="line 2: the file says that 4 is N4, but coding 'aasm' has it as R"):
        read("# stages\n# 0: Wake, 3: N3, 4: N4, 5: REM\n0\n", "aasm")


@pytest.mark.parametrize(
    ("said", "n"), [("per 30 seconds", 6), ("per 10 s", 2), ("per second", 0), ("per subject, 30 seconds each", 6)]
)
def test_a_header_may_state_the_step(said: str, n: int) -> None:
    assert len(codes(read(f"# 1 value {said}\n" + "2\n" * 6, "aasm"))) == n


def test_users_words_win() -> None:
    assert codes(read("0\n4\n2\n", "isruc", words={"4": "N3", "2": "unscored"})) == [0, 3, -1]
    with pytest.raises(UsageError, match="is no meaning"):
        read("0\n", "isruc", words={"4": "N5"})


def test_equal_epochs_are_one_run_named_after_its_first_line() -> None:
    assert read("# x\nW\nW\nN2\n", "yasa-words").stages == (
        StageRun(0, 0.0, 60.0, "line 2"),
        StageRun(2, 60.0, 30.0, "line 4"),
    )


def test_nothing_scored_is_refused_when_epochs_are_made() -> None:
    for text in ("", "\n\n", "# only a comment\n"):
        with pytest.raises(AnnotationError, match="no sleep stage"):
            hypnogram(read(text, "aasm").stages, 30.0)


def test_size_is_bounded() -> None:
    with pytest.raises(AnnotationError, match="above the limit"):
        read(b"0\n" * (MAX_TEXT_BYTES // 2 + 1), "isruc")


@pytest.mark.parametrize("coding", CODINGS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=40), at=st.integers(0, 60), drop=st.integers(0, 10))
def test_odd_bytes_are_read_or_refused(tmp_path: Path, coding: Coding, noise: bytes, at: int, drop: int) -> None:
    write_stage_list(tmp_path / "x.txt", [0, 2, 3, 4], coding)
    good = (tmp_path / "x.txt").read_bytes()
    for data in (noise, good[:at] + noise + good[at + drop :]):
        try:
            outcome: Scoring | AnnotationError = read(data, coding)
        except AnnotationError as error:
            outcome = error
        assert isinstance(outcome, Scoring) or "\n" not in str(outcome)


def test_the_writer_refuses_what_the_format_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stage code -1 at epoch 1"):
        write_stage_list(tmp_path / "x.txt", [0, -1], "isruc")
