"""The terms of a comparison: exposure, losses, alignment; and names of masked rows."""

import pytest

from hypnos_bench.report.comparison import comparisons
from hypnos_bench.report.markdown import write_report
from hypnos_bench.report.notes import exclusions, shots_line
from hypnos_bench.report.tables import terminal_tables
from hypnos_bench.report.terms import alignment_lines, clean_only_line, exposure, exposure_lines
from hypnos_bench.spec import InputSpec, SplitSpec


def block(status, persons=0, tested=12, sources=("card",)):
    return {"exposure": {"status": status, "persons": persons, "persons_test": tested, "roles": {}, "sources": sources}}


def only(cells):
    (found,) = comparisons(cells)
    return found


def shown(cells):
    table = only(cells)
    return {row.name: exposure(table, row) for row in table.rows}


def test_every_row_says_what_its_encoder_has_seen(make):
    cells = [
        make("osf", n=block("person seen", 5, sources=("osf pre-training",))),
        make("sleepfm", n=block("cohort seen")),
        make("hypnos", n=block("not known")),
        make("features", n=block("clean")),
    ]
    assert shown(cells) == {
        "features": "clean", "hypnos": "not known", "osf": "person seen (5 of 12)", "sleepfm": "cohort seen"
    }  # fmt: skip
    text = terminal_tables(cells, color=False, width=200)
    head = next(line for line in text.splitlines() if line.startswith("kappa"))
    assert head.split()[-1] == "exposure"
    assert next(line for line in text.splitlines() if line.startswith("osf")).endswith("person seen (5 of 12)")
    assert "EXPOSED: person seen" in text
    assert "osf (by osf pre-training)" in text


def test_the_worst_of_a_rows_cells_is_shown(make):
    cells = [make("osf", "10p", 0, n=block("cohort seen")), make("osf", "10p", 1, n=block("person seen", 2, 9))]
    assert shown(cells) == {"osf": "person seen (2 of 9)"}


def test_cells_without_the_block_show_no_column(make):
    text = terminal_tables([make()], color=False, width=120)
    assert "exposure" not in text
    mixed = [make("features"), make("osf", n=block("clean"))]
    assert shown(mixed) == {"features": "–", "osf": "clean"}


def test_a_failed_cell_says_it_too(make):
    cells = [make("osf", status="failed", n=block("person seen", 1))]
    assert shown(cells) == {"osf": "person seen (1 of 12)"}


def test_losses_are_told_per_encoder_beside_what_is_in_common(make):
    common = {"common": {"recordings": 38, "units": 35120}}
    nothing = {"recordings": 0, "units": 0, "reasons": {}}
    some = {"recordings": 2, "units": 14, "reasons": {"no usable channel": 1, "shorter than a window": 1}}
    cells = [make("features", n={**common, "lost": nothing}), make("osf", n={**common, "lost": some})]
    text = " ".join(terminal_tables(cells, color=False, width=100).split())
    assert "all rows: 38 recordings and 35,120 epochs in common" in text
    assert "lost: by osf 2 recordings, 14 epochs" in text
    assert "1 x no usable channel" in text


def test_alignment_is_told_per_encoder_where_it_differs(make):
    cells = [make("features", n={"alignment": "one row per 30 s"}), make("hypnos", n={"alignment": "one row per 1 s"})]
    (line,) = alignment_lines(only(cells))
    assert "features: one row per 30 s; hypnos: one row per 1 s" in line
    assert alignment_lines(only([make()])) == []


def test_masked_rows_are_named_apart(make):
    cells = [
        make("hypnos", kappa=0.7),
        make("hypnos", kappa=0.6, settings={"keep": ["eeg", "eog"]}),
        make("hypnos", kappa=0.5, inputs=InputSpec(tested_on=("eeg", "eog"))),
    ]
    names = [row.name for row in only(cells).rows]
    assert names == ["hypnos", "hypnos [eeg, eog at test only]", "hypnos [eeg, eog]"]


def test_the_page_holds_column_legend_and_alignment(make, tmp_path):
    n = {**block("person seen", 3), "alignment": "one row per 30 s"}
    page = write_report([make("osf", n=n)], tmp_path)[0].read_text()
    assert "| exposure |" in page
    assert "person seen (3 of 12)" in page
    assert "Alignment to the label grid: one row per 30 s" in page


@pytest.mark.parametrize("status", ["person seen", "cohort seen", "not known", "clean"])
def test_every_status_is_explained(make, status):
    (line,) = exposure_lines(only([make("osf", n=block(status, 1))]))
    assert status in line
    assert "osf (by card)" in line


def test_a_row_without_result_is_no_part_of_all_rows(make):
    common = {"common": {"recordings": 12, "units": 80}}
    lost = {"lost": {"recordings": 12, "units": 0, "reasons": {"no usable channel": 12}}}
    cells = [make("raw-psd", n={**common, "lost": {"recordings": 0, "units": 0, "reasons": {}}})]
    cells.append(make("osf", status="failed", n={**common, **lost}))
    text = " ".join(terminal_tables(cells, color=False, width=120).split())
    assert "raw-psd: 12 recordings and 80 epochs in common; lost: by osf 12 recordings (12 x no usable" in text
    assert "all rows:" not in text


def test_a_recording_that_was_lost_stands_once_with_its_reason(make):
    cells = [
        make("osf", excluded=[("r1", "no usable channel")]),
        make("features", excluded=[("r1", "not embedded by osf: no usable channel"), ("r2", "no labels")]),
    ]
    assert exclusions(only(cells)) == ["r1: no usable channel (osf)", "r2: no labels (features)"]


@pytest.mark.parametrize(
    ("persons", "words"), [(0, "has seen any of the persons"), (1, "1 person, 2 rec"), (3, "3 persons, 2 rec")]
)
def test_clean_only_says_how_many(make, persons, words):
    assert words in clean_only_line(only([make(n={"untested": {"persons": persons, "recordings": 2}})]))


def test_listed_splits_have_no_folds(make):
    assert "in each fold" not in shots_line(only([make(split=SplitSpec("osf-person"))]))
    assert "in each fold" in shots_line(only([make(split=SplitSpec("cv5"))]))
