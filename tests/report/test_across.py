"""The page across cohorts: complete tables only, each cohort once, and nothing where there is too little."""

import re

import pytest

from hypnos_bench.report import write_across, write_report
from hypnos_bench.report.comparison import comparisons
from hypnos_bench.spec import HeadSpec, InputSpec, SampleSpec, SplitSpec

COHORTS = ("cfs", "mesa", "mros", "shhs")


def grid(make, cohorts=COHORTS, rows=("features", "hypnos"), shots=("100%",), **given):
    return [
        make(row, s, cohort=c, kappa=0.5 + 0.1 * k + 0.01 * i, **given)
        for i, c in enumerate(cohorts) for k, row in enumerate(rows) for s in shots
    ]  # fmt: skip


def across(cells, folder):
    paths = write_across(cells, folder)
    return paths, paths[0].read_text("utf-8") if paths else ""


def test_page_holds_values_ranks_tests_and_a_figure(make, tmp_path):
    paths, text = across(grid(make), tmp_path)
    assert [p.name for p in paths] == [
        "staging-across-cohorts.md",
        *(f"staging-linear-across-cohorts.{e}" for e in ("svg", "png")),
    ]
    for part in (
        "# staging across cohorts\n\n## staging · linear head · kappa at 100%",
        "| cohort | split | test persons | features | hypnos |",
        "| mros | hold-out of 20 % of persons | 12 | 0.520 [0.470, 0.570] | **0.620** [0.570, 0.670] |",
        "| *average rank* |  |  | 2.00 | 1.00 |",
        "- 4 cohorts and 2 rows at 100%",
        "Friedman chi-squared(1) = 4.00, p = 0.046; all cohorts rank the rows alike",
        "Nemenyi's critical difference of average ranks at 0.05: 0.98",
        "![critical-difference figure](staging-linear-across-cohorts.svg)",
        "| hypnos | features | 1.00 | yes | 0.12 | 0.12 | 0.12 |",
    ):
        assert part in text, part
    assert "simulated" not in text


def test_write_report_adds_the_page_and_every_link_leads_somewhere(make, tmp_path):
    cells = grid(make)
    paths = write_report(cells, tmp_path)
    assert [p.name for p in paths[:5]] == [*(f"staging-{c}.md" for c in COHORTS), "staging-across-cohorts.md"]
    names = {p.name for p in paths}
    for path in paths[:5]:
        assert set(re.findall(r"\]\(([^)]+)\)", path.read_text("utf-8"))) <= names
    assert write_report(cells[::-1], tmp_path / "b")[4].read_bytes() == paths[4].read_bytes()


@pytest.mark.parametrize(
    "cells",
    [
        lambda make: grid(make, COHORTS[:2]),
        lambda make: grid(make, rows=("hypnos",)),
        lambda make: grid(make, COHORTS[:2]) + grid(make, COHORTS[2:], head=HeadSpec("mlp", {})),
        lambda make: grid(make, COHORTS[:2]) + grid(make, COHORTS[2:], task={"alignment": "covered"}),
        lambda make: grid(make, split=SplitSpec("epoch"), marks=("leaky",)),
        lambda make: grid(make, COHORTS[:2]) + grid(make, COHORTS[2:], status="failed"),
    ],
)
def test_too_little_gives_no_page(make, tmp_path, cells):
    assert across(cells(make), tmp_path) == ([], "")


def test_best_is_where_the_metric_says(make, tmp_path):
    """A metric with a target ranks by distance."""

    def scores(value):
        return {"bias": {"value": value, "low": None, "high": None, "higher_is_better": False, "target": 0.0}}

    cells = [
        make(row, "100%", cohort=c, metrics=["bias"], scores=scores(v), task={"kind": "regression", "classes": []})
        for c in COHORTS for row, v in (("far", -5.0), ("near", 1.0))
    ]  # fmt: skip
    _, text = across(cells, tmp_path)
    assert "| cfs | hold-out of 20 % of persons | 12 | -5.000 | **1.000** |" in text
    assert "| near | far | 1.00 |" in text


def test_incomplete_cohorts_and_rows_are_left_out_and_named(make, tmp_path):
    cells = [*grid(make), *grid(make, ("cfs",), ("sleepfm",)), *grid(make, ("wsc",), ("hypnos",))]
    _, text = across(cells, tmp_path)
    assert "4 cohorts and 2 rows" in text
    assert "- Left out: sleepfm: it has a value on 1 cohorts only" in text
    assert "- Left out: wsc: not every row has a value there" in text


def test_a_row_that_few_cohorts_have_does_not_cost_the_page(make, tmp_path):
    """Three rows share two cohorts; without the third there are four."""
    cells = [*grid(make), *grid(make, (*COHORTS[:2], "wsc"), ("sleepfm",))]
    _, text = across(cells, tmp_path)
    assert "4 cohorts and 2 rows" in text
    assert "sleepfm: it has a value on 3 cohorts only" in text


def test_the_largest_budget_that_all_share_is_taken(make, tmp_path):
    cells = [*grid(make, shots=("1%", "10%")), *grid(make, COHORTS[:3])]
    assert "kappa at 10%" in across(cells, tmp_path)[1]
    assert "kappa at 100%" in across([*cells, *grid(make, COHORTS[3:])], tmp_path)[1]


def test_simulated_cohorts_count_only_beside_too_few_real_ones(make, tmp_path):
    mixed = [*grid(make), *grid(make, ("demo",), simulated=True)]
    _, text = across(mixed, tmp_path / "a")
    assert "| demo" not in text
    assert "Left out: demo: simulated, beside real cohorts" in text
    few = [*grid(make, COHORTS[:2]), *grid(make, ("demo",), simulated=True)]
    paths, text = across(few, tmp_path / "b")
    assert "| demo *simulated* |" in text
    assert "> **simulated: no person was ever recorded" in text
    assert "simulated" in paths[1].read_text()


def test_a_cohort_counts_once_with_its_fullest_table(make, tmp_path):
    cells = [*grid(make), *grid(make, ("mros",), ("features",), split=SplitSpec("cv5"))]
    _, text = across(cells, tmp_path)
    assert "| mros | hold-out" in text
    assert "Left out: staging · mros · linear head · grouped 5-fold cross-validation over persons" in text


def test_each_head_has_its_section(make, tmp_path):
    paths, text = across([*grid(make), *grid(make, head=HeadSpec("mlp", {}))], tmp_path)
    assert re.findall(r"^## (.*)$", text, re.M) == [
        "staging · linear head · kappa at 100%",
        "staging · mlp head · kappa at 100%",
    ]
    assert len({p.name for p in paths}) == len(paths) == 5


def test_two_definitions_of_a_head_do_not_share_a_figure(make, tmp_path):
    paths, text = across([*grid(make), *grid(make, head=HeadSpec("linear", {"penalty": "none"}))], tmp_path)
    assert len({p.name for p in paths}) == len(paths) == 5
    assert len(re.findall(r"^## ", text, re.M)) == 2
    assert len(comparisons(grid(make))) == 4


def test_marks_of_single_cells_stand_in_the_table_below_it_and_in_the_figure(make, tmp_path):
    cells = [c for c in grid(make) if not (c.spec["cohort"]["id"] == "shhs" and c.spec["encoder"]["id"] == "hypnos")]
    cells += [make("hypnos", "100%", cohort="shhs", kappa=0.8, marks=("pre-trained on this cohort",))]
    cells += grid(make, rows=("hypnos-untrained",), marks=("untrained",))
    paths, text = across(cells, tmp_path)
    row = next(line for line in text.splitlines() if line.startswith("| shhs"))
    assert row.count("<sup>") == 2
    assert "0.800** [0.750, 0.850] <sup>a</sup> |" in row
    mros = next(line for line in text.splitlines() if line.startswith("| mros"))
    assert mros.count("<sup>") == mros.count("<sup>b</sup>") == 1
    for line in ("hypnos on shhs: pre-trained on this cohort", "hypnos-untrained on all cohorts: untrained"):
        assert f"</sup> {line}" in text
        assert line in paths[1].read_text("utf-8")
    assert "> **pre-trained on this cohort: the encoder has learnt" in text
    assert "> **untrained: random weights" in text
    assert "leaky" not in text


def test_rows_of_one_name_are_told_apart_in_a_legend(make, tmp_path):
    cells = [c for w in ("a", "b") for c in grid(make, rows=("hypnos",), weights=w * 64)]
    paths, text = across(cells, tmp_path)
    names = re.findall(r"^- (hypnos\\#[0-9a-f]{6}): weights (a{12}|b{12})$", text, re.M)
    assert sorted(w for _, w in names) == ["a" * 12, "b" * 12]
    assert all(f"| {name} |" in text for name, _ in names)
    assert all(f"{name.replace(chr(92), '')}: weights {w}" in paths[1].read_text("utf-8") for name, w in names)


def test_rows_masked_at_test_are_rows_of_their_own(make, tmp_path):
    masked = InputSpec(tested_on=("eeg",))
    cells = [
        make("osf", "100%", cohort=c, kappa=k, inputs=inputs)
        for c in COHORTS for k, inputs in ((0.8, InputSpec()), (0.3, masked))
    ]  # fmt: skip
    _, text = across([*cells, *(make("features", "100%", cohort=c, kappa=0.6) for c in COHORTS)], tmp_path)
    (line,) = [line for line in text.splitlines() if line.startswith("| mros |")]
    assert [part.split()[0].strip("*<u>/") for part in line.split("|")[4:7]] == ["0.600", "0.800", "0.300"]


def test_the_table_with_most_persons_stands_for_a_cohort_and_clean_ones_stand_apart(make, tmp_path):
    full = grid(make)
    few = grid(make, test=3, sample=SampleSpec(common="c" * 64), shots=("100%",))
    _, text = across([*full, *few], tmp_path)
    assert "| mros | hold-out of 20 % of persons | 12 |" in text
    assert text.count("the cohort has a table with more test persons") == len(COHORTS)
    _, text = across([*full, *grid(make, ("cfs",), sample=SampleSpec(untested="u" * 64))], tmp_path / "b")
    assert "more test persons" not in text
