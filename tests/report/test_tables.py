"""Printed tables, word by word."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.metrics.catalogue import Metric
from hypnos_bench.report.comparison import comparisons, printed, rank
from hypnos_bench.report.notes import letter
from hypnos_bench.report.tables import display_width, escape, markdown_table, terminal_tables
from hypnos_bench.spec import SplitSpec


def table(cells, width=110, color=False):
    return terminal_tables(cells, color=color, width=width)


def line(text, start):
    found = [line for line in text.splitlines() if line.startswith(start)]
    assert found, f"no line starts with {start!r} in\n{text}"
    return found[0]


def test_whole_table_for_one_budget(make):
    cells = [make(seed=s, kappa=0.7 + 0.02 * s, simulated=True) for s in range(3)]
    cells += [make("hypnos-untrained", seed=s, kappa=0.3, marks=("untrained",), simulated=True) for s in range(3)]
    assert table(cells) == "\n".join([
        "staging · demo (simulated) · linear head · hold-out of 20 % of persons",
        "",
        "kappa                         1%",
        "features                      0.720* ± 0.020 [0.670, 0.770]",
        "hypnos-untrained (untrained)  0.300+ ± 0.000 [0.250, 0.350]",
        "",
        "shots  encoder                       macro-f1",
        "1%     features                      0.620* ± 0.020",
        "1%     hypnos-untrained (untrained)  0.200+ ± 0.000",
        "",
        "! simulated: no person was ever recorded; these numbers say nothing about people",
        "! untrained: random weights, a control and no trained model",
        "1% = 1 of 29 training persons",
        "tested on 12 persons, 12 recordings, 12,000 epochs",
        "± is the sd over seeds (few-shot draws; initialisations of heads that draw), 1%: 3; [ ] is the 95 % bootstrap",
        "  interval over test persons (1000 resamples, mean of the seeds' bounds); intervals of the other metrics are",
        "  in the report; *: best, +: second",
        f"6 cells, hash {comparisons(cells)[0].hash}",
    ])  # fmt: skip


def test_budgets_stand_in_columns_by_size(make):
    text = table(make.few_shot()[::-1])
    assert line(text, "kappa").split() == ["kappa", "1%", "10%", "100%"]
    expected = "features  0.420* ± 0.020 [0.370, 0.470]  0.520* ± 0.020 [0.470, 0.570]  0.600* [0.550, 0.650]"
    assert line(text, "features") == expected
    assert "1% = 1 of 29 training persons; 10% = 3 of 29; 100% = 29 of 29" in text


def test_colour_marks_best_bold_and_second_underlined_and_changes_no_width(make):
    cells = make.few_shot()
    colored = table(cells, color=True, width=300)
    assert "\x1b[1m0.420\x1b[0m ± 0.020" in colored
    assert "\x1b[4m0.270\x1b[0m ± 0.020" in colored
    assert "bold: best, underlined: second" in colored
    assert "*: best" not in colored
    plain = re.sub(r"\x1b\[\d+m", "", colored)
    starts = {row.index("0.") for row in plain.splitlines() if row.startswith(("features", "hypnos"))}
    assert len(starts) == 1


def test_equal_printed_digits_are_both_best_and_leave_no_second(make):
    text = table([make("a", kappa=0.70012), make("b", kappa=0.69996), make("c", kappa=0.5)])
    assert [line(text, e).split()[1] for e in "abc"] == ["0.700*", "0.700*", "0.500"]


def test_two_seconds_share_their_place(make):
    text = table([make("a", kappa=0.9), make("b", kappa=0.5), make("c", kappa=0.5)])
    assert [line(text, e).split()[1] for e in "abc"] == ["0.900*", "0.500+", "0.500+"]


def test_lower_is_better_where_the_cell_says_so(make):
    text = table([make("a", kappa=0.9, higher=False), make("b", kappa=0.1, higher=False)])
    assert [line(text, e).split()[1] for e in "ab"] == ["0.900+", "0.100*"]


def test_one_encoder_is_not_best_of_one(make):
    text = table([make(seed=s) for s in range(2)])
    assert "0.700 ±" in text
    assert "best" not in text
    assert not re.search(r"0\.\d+[*+]", text)


def test_one_seed_has_no_plus_minus(make):
    assert "±" not in table([make("a", shots="100%"), make("b", shots="100%", kappa=0.2)])


def test_failures_stay_in_the_table_with_their_message(make):
    cells = [make("a"), make("b", status="failed", message="all rows have one class")]
    text = table(cells)
    assert line(text, "b").split() == ["b", "–", "(a)"]
    assert "(a) b at 1%: failed: all rows have one class" in text


def test_mean_over_fewer_seeds_is_shown_but_not_ranked(make):
    cells = [make("a", seed=s, kappa=0.5) for s in range(3)]
    cells += [
        make("b", seed=0, kappa=0.9),
        make("b", seed=1, kappa=0.9),
        make("b", seed=2, status="failed", message="no"),
    ]
    text = table(cells)
    assert line(text, "a ").split()[1] == "0.500"
    assert line(text, "b ").split()[1] == "0.900"
    assert "(a) b at 1%: mean of 2 of 3 seeds, not ranked; 1 of 3 seeds failed: no" in text


def test_rows_that_lost_the_same_seed_are_compared(make):
    cells = [make(e, seed=s, kappa=k) for e, k in (("a", 0.5), ("b", 0.9)) for s in range(2)]
    cells += [make(e, seed=2, status="failed", message="one class") for e in "ab"]
    text = table(cells)
    assert line(text, "b ").split()[1] == "0.900*"
    assert "(a) a at 1%, b at 1%: mean of 2 of 3 seeds; 1 of 3 seeds failed: one class" in text


def test_many_messages_are_shortened_and_counted(make):
    cells = [make(seed=s, status="failed", message=f"reason {s // 2}") for s in range(10)]
    text = " ".join(table(cells, width=1000).split())
    assert "10 of 10 seeds failed: reason 0 (2 x); reason 1 (2 x); reason 2 (2 x); and 2 more" in text
    assert "tested on nothing: every cell failed" in text


def test_cells_nobody_computed_and_undefined_scores_are_explained(make):
    text = table([make("a"), make("a", shots="10%"), make("b", kappa=None)], width=200)
    assert line(text, "b ").split() == ["b", "–", "(a)", "–", "(c)"]
    assert "(a) b at 1%: kappa is undefined in 1 of 1 seeds" in text
    assert "(c) b at 10%: not computed" in text


def test_same_encoder_with_other_weights_gets_its_own_row_and_a_footnote(make):
    text = table([make("hypnos", weights="b" * 64, kappa=0.9), make("hypnos", weights="c" * 64, kappa=0.1)])
    rows = [row for row in text.splitlines() if row.startswith("hypnos#") and "[" in row]
    assert sorted(row.split()[1] for row in rows) == ["0.100+", "0.900*"]
    assert re.search(r"^hypnos#[0-9a-f]{6}: weights b{12}$", text, re.M)
    assert re.search(r"^hypnos#[0-9a-f]{6}: weights c{12}$", text, re.M)


def test_other_cohort_data_is_another_table_never_ranked_against_the_first(make):
    text = table([make("a", kappa=0.9), make("b", kappa=0.1, fingerprint="b" * 64)], width=200)
    titles = [row for row in text.splitlines() if row.startswith("staging · demo")]
    assert len(titles) == 2
    assert all(re.search(r" · #[0-9a-f]{6}$", title) for title in titles)
    assert "they differ in cohort fingerprint and must not be compared" in text
    assert "best" not in text


def test_rows_tested_on_other_recordings_are_called_out(make):
    fair = [make("a"), make("b")]
    assert "not scored on the same recordings" not in table(fair)
    text = table([make("a"), make("b", test=11, split_hash="6" * 64)])
    assert "! the rows are not scored on the same recordings" in text
    assert "tested on a: 12 persons, 12 recordings, 12,000 epochs; b: 11 persons" in text
    assert "not scored on the same recordings" in table([make("a"), make("b", split_hash="6" * 64)])


@pytest.mark.parametrize(("test", "total", "warned"), [(3, 3, True), (9, 41, True), (10, 41, False), (10, 9, True)])
def test_few_persons_are_no_result(make, test, total, warned):
    assert ("far too few persons for a result" in table([make(test=test, total=total)])) is warned


def test_cross_validation_says_per_fold(make):
    text = table([make(split=SplitSpec("cv5"), train=1, train_max=2, available=4)])
    assert "grouped 5-fold cross-validation over persons" in text
    assert "1% = 1–2 of 4 training persons in each fold" in text


def test_fewer_persons_than_folds_give_fewer_folds_and_the_title_says_so(make):
    text = table([make(split=SplitSpec("cv5"), n={"folds": [{}, {}, {}]})])
    assert "grouped 3-fold cross-validation over persons" in text


def test_exclusions_give_the_first_reasons_and_count_the_rest(make):
    excluded = [(f"r{i}", "no EDF") for i in range(5)]
    text = table([make("a", excluded=excluded), make("b", excluded=[*excluded, ("x", "flat EEG")])], width=200)
    assert "excluded: 6 recordings: r0: no EDF; r1: no EDF; r2: no EDF; and 3 more" in text
    assert "excluded: 1 recording: x: flat EEG (b)" in table([make("a"), make("b", excluded=[("x", "flat EEG")])])


def test_units_left_out_are_counted(make):
    assert "epochs left out: 1,200 unlabelled" in table([make(dropped={"unlabelled": 1200, "mixed": 0})])


def test_simulated_is_said_even_when_every_cell_failed(make):
    text = table([make(simulated=True, status="failed", message="no")])
    assert text.count("simulated") >= 2


@pytest.mark.parametrize("width", [30, 60, 110, 200])
def test_wide_tables_continue_below_and_nothing_is_lost(make, width):
    cells = make.few_shot()
    text = table(cells, width=width)
    assert len(re.findall(r"0\.\d{3}[*+]? ± \d\.\d{3} \[", text)) == 4
    assert text.count("0.600* [0.550, 0.650]") == 1
    if width >= 60:
        assert max(map(len, text.splitlines())) <= max(width, 70)  # the title may be longer


def test_order_of_cells_does_not_change_the_text(make):
    cells = [
        *make.few_shot(),
        make(seed=9, status="failed"),
        make(fingerprint="b" * 64),
        make("hypnos", weights="b" * 64),
    ]
    expected = table(cells)
    for seed in range(3):
        assert table(random.Random(seed).sample(cells, len(cells))) == expected


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.booleans())
def test_rank_best_is_never_beaten_and_always_there(values, higher):
    places = rank(values, Metric("m", "", "", higher_is_better=higher).merit)
    keys = [float(printed(v)) * (1 if higher else -1) for v in values]
    assert 1 in places
    assert all((place == 1) == (key == max(keys)) for place, key in zip(places, keys))
    assert 2 not in places or places.count(1) == 1


def test_minus_zero_is_zero():
    assert printed(-0.0004) == "0.000"
    assert printed(-0.0006) == "-0.001"


def test_letters_go_on_after_z():
    assert [letter(i) for i in (0, 25, 26, 51, 52)] == ["a", "z", "aa", "az", "ba"]


def test_display_width_counts_terminal_columns():
    assert display_width("±–") == 2
    assert display_width("睡眠") == 4
    assert display_width("e\u0301") == 1


def test_markdown_escapes_what_would_be_markup():
    assert escape("a|b *c* <d>\n#e") == r"a\|b \*c\* \<d\> \#e"
    assert markdown_table(["x", "y"], [["a", "b"]]) == "| x | y |\n| --- | ---: |\n| a | b |"
