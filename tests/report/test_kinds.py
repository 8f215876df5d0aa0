"""Pages of regression and survival tasks: what a reader must find on them, in the same bytes every time."""

import csv
import io
import re

import lifelines  # noqa: F401  # its import takes a second, which no test should be charged with
import pytest

from hypnos_bench.report import sections, terminal_tables, write_report
from hypnos_bench.report.methods import chosen, models
from hypnos_bench.report.predicted import predicted_figure
from hypnos_bench.spec import SplitSpec

ROWS = (("demographics", 8.0), ("hypnos", 4.0), ("hypnos+", 3.0))


def page(people, cells, folder, store=True):
    found = people.store(folder / "results", cells) if store else None
    paths = write_report(cells, folder / "reports", found)
    return paths, paths[0].read_text("utf-8")


def ages(people, **given):
    return [people.regression(row, noise=noise, **given) for row, noise in ROWS]


def deaths(people, **given):
    return [people.survival(row, noise=noise / 4, **given) for row, noise in ROWS]


def tables(text):
    return re.findall(r"(?:^\|.*\|\n)+", text, re.M)


def test_regression_page_shows_predictions_and_no_confusion(people, tmp_path):
    paths, text = page(people, ages(people), tmp_path)
    assert "Confusion" not in text
    assert "### Predicted and true\n\n![predicted and true](age-demo-ridge-holdout-predicted.svg)" in text
    for part in (
        "- label: age\n",
        "- + demographics: age, sex beside the embedding\n- demographics: age, sex, no signal\n",
        "- up to 3 missing demographics per fit are filled with the mean of the training persons",
        "- tested on 60 persons, 60 recordings\n",
        "- mae (MAE): Mean absolute error, in the unit of the quantity.",
        "- Task: age, a number (age), one row per person, pooled over the whole recording",
        "| row | shots | models | chosen | at edge | max. decrement | max. gradient | max. steps |",
        "| hypnos | 100% | 1 | lambda 0.1; rule cv-1se | 0 |",
        "| hypnos + demographics | 1 | none | none | embedding + age, sex |",
    ):
        assert part in text, part
    assert "classes" not in text
    assert sorted(re.findall(r"\]\(([^)]+)\)", text)) == sorted(p.name for p in paths[1:])


def test_bold_follows_the_merit_of_a_metric(people, tmp_path):
    cells = ages(people)
    _, text = page(people, cells, tmp_path)
    line = next(line for line in text.splitlines() if line.startswith("| bias |"))
    values = [abs(cell.scores["bias"]["value"]) for cell in cells]
    bold = ["**" in entry for entry in line.split("|")[2:-1]]
    assert bold.index(True) == values.index(min(values))
    line = [line for line in text.splitlines() if line.startswith("| mae |")][1]  # the first is the main table's head
    assert ["**" in entry for entry in line.split("|")[2:-1]] == [False, False, True]


def test_a_scatter_holds_no_ids_and_no_exact_values(people, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        sections, "predicted_figure", lambda c, w, p: seen.update(words=w, panels=p) or predicted_figure(c, w, p)
    )
    cells = [*ages(people), people.regression("hypnos", seed=1)]
    paths, text = page(people, cells, tmp_path)
    side = people.sides[
        next(c.key for c in cells if c.spec["encoder"]["id"] == "hypnos" and not c.spec["inputs"]["demographics"])
    ]
    hypnos = next(p for p in seen["panels"] if p.row.name == "hypnos")
    assert (hypnos.y_true.tolist(), hypnos.y_pred.tolist()) == (side.y_true.tolist(), side.y_pred.tolist())
    assert seen["words"] == "at 100%, seed 0"
    svg = next(p for p in paths if p.name.endswith("predicted.svg")).read_text()
    assert svg.count("<image ") == 3  # points are pixels
    assert "predicted age (years)" in svg
    assert "hypnos + demographics" in svg
    for name in ("r001", "p001"):
        assert name not in svg
        assert name not in text


def test_survival_page_shows_groups_hazard_ratios_and_calibration(people, tmp_path):
    cells = deaths(people)[1:]
    paths, text = page(people, cells, tmp_path)
    n = cells[0].n
    for part in (
        f"- label: death ({n['events']} events among {n['at_risk']} at risk, training and test)",
        "### Risk groups\n\n![Kaplan-Meier curves by risk group](mortality-demo-cox-holdout-risk-groups.svg)",
        "| row | group | n | events | hazard ratio | p | log-rank p |",
        "### Calibration\n\n![calibration](mortality-demo-cox-holdout-calibration.svg)",
        "| row | years | predicted risk | observed risk | E/O | ICI | slope of the risk |",
        "- auroc-5y (AUROC, 5 y): Cumulative/dynamic AUROC at 5 years",
        "- calibration-5y (E/O, 5 y): Expected over observed: mean predicted risk of an event within 5 years",
        "time to death, looked at 2, 5 years",
        "| hypnos | 100% | 1 | penalty 0.1; rule cv-1se; solver batched; ties efron | 1 | 0 |",
        "An outcome whose fit does not converge has no model and no score.",
    ):
        assert part in text, part
    assert "Confusion" not in text
    groups = next(t for t in tables(text) if t.startswith("| row | group |"))
    total = [line.split(" | ") for line in groups.splitlines() if "| per sd |" in line]
    assert [int(line[2]) for line in total] == [
        cell.outcomes[0]["n"]
        for cell in sorted(cells, key=lambda c: (c.spec["encoder"]["id"], bool(c.spec["inputs"]["demographics"])))
    ]
    assert {p.name.removeprefix("mortality-demo-cox-holdout-") for p in paths[1:]} == {
        f"{kind}.{e}" for kind in ("few-shot", "risk-groups", "calibration") for e in ("svg", "png")
    }


def test_calibration_numbers_are_the_cells_own(people, tmp_path):
    cells = deaths(people)[:2]
    _, text = page(people, cells, tmp_path, store=False)
    told = cells[1].outcomes[0]["calibration"][1]
    line = next(line for line in text.splitlines() if line.startswith("| hypnos | 5 | 0."))
    assert (
        f"| {told['predicted']:.3f} | {told['observed']:.3f} [{told['observed_low']:.3f}, {told['observed_high']:.3f}] |"
        in line
    )
    assert f"| {told['predicted'] / told['observed']:.2f} | {told['ici']:.3f} |" in line


def test_too_few_events_leave_reasons_and_no_numbers(people, tmp_path):
    _, text = page(people, deaths(people, persons=20, rate=0.005), tmp_path)
    assert "c-index is undefined in 1 of 1 seeds" in text
    assert "test events, fewer than 5" in text
    assert "not tested" in text
    assert "better than" not in text
    assert "nan" not in text.replace("nance", "")


def test_without_side_files_only_their_parts_are_missing(people, tmp_path):
    _, text = page(people, deaths(people)[1:], tmp_path, store=False)
    assert "side files, which hold the predicted risks, were not given" in text
    assert "Not tested: side files" in text
    assert "### Calibration\n\n![calibration]" in text  # cells hold it themselves
    _, text = page(people, ages(people)[1:], tmp_path / "ages", store=False)
    assert "side files, which hold the predictions, were not given" in text


def test_a_side_file_that_is_gone_costs_its_row_only(people, tmp_path):
    cells = deaths(people)[:2]
    store = people.store(tmp_path / "results", cells)
    store.side_path(cells[1]).unlink()
    text = write_report(cells, tmp_path / "reports", store)[0].read_text("utf-8")
    assert f"- hypnos: no risk groups (side file of cell {cells[1].key[:12]} is not there)" in text
    assert "side files of hypnos are not there" in text
    assert "| demographics | per sd |" in text


def phecodes(people, m=5, **given):
    names = [f"phe {k:02d}" for k in range(m)]
    return [
        people.survival(row, noise=noise / 4, outcomes=names, horizons=(), metrics=("c-index", "auroc-5y"), **given)
        for row, noise in ROWS
    ]


def test_outcomes_are_listed_by_name_with_mean_and_median(people, tmp_path):
    cells = phecodes(people)
    paths, text = page(people, cells, tmp_path)
    table = next(t for t in tables(text) if t.startswith("| outcome |"))
    lines = [[part.strip() for part in line.split("|")[1:-1]] for line in table.splitlines()]
    assert lines[0] == ["outcome", "events", "at risk", "demographics", "hypnos", "hypnos + demographics"]
    assert [line[0] for line in lines[2:7]] == [f"phe {k:02d}" for k in range(5)]
    told = cells[1].outcomes
    defined = [o["scores"]["c-index"]["value"] for o in told if o["scores"]["c-index"]["value"] is not None]
    assert 1 < len(defined) < 5
    assert lines[2][1:3] == [str(told[0]["events"]), str(told[0]["n"])]
    assert lines[2][4].startswith(f"{defined[0]:.3f} [")
    assert lines[7][4] == f"{sum(defined) / len(defined):.3f} (of {len(defined)})"
    assert lines[6][4] == "–"
    assert f"- hypnos: no c-index of {5 - len(defined)} of 5 outcomes: " in text
    assert "test events, fewer than 5" in text
    assert "Outcomes without a model, over all fits: 3 x none of 200 rows at risk has the event" in text
    assert "Of many outcomes a score is the unweighted mean over those in which it is defined." in text
    assert "mortality" not in " ".join(p.name for p in paths)
    assert not any("risk-groups" in p.name or "calibration" in p.name for p in paths)


def test_all_outcomes_are_in_a_csv_without_anybody_in_it(people, tmp_path):
    cells = [*phecodes(people), *phecodes(people, shots="10%")]
    paths, text = page(people, cells, tmp_path)
    path = next(p for p in paths if p.name == "phecodes-demo-cox-holdout-outcomes.csv")
    assert f"]({path.name})" in text
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert len(rows) == 3 * 2 * 5
    first = next(r for r in rows if (r["row"], r["shots"], r["outcome"]) == ("hypnos", "100%", "phe 00"))
    told = cells[1].outcomes[0]
    assert float(first["c-index"]) == told["scores"]["c-index"]["value"]
    assert float(first["auroc-5y_high"]) == told["scores"]["auroc-5y"]["high"]
    assert (int(first["n"]), int(first["events"])) == (told["n"], told["events"])
    last = next(r for r in rows if (r["row"], r["outcome"]) == ("hypnos", "phe 04"))
    assert (last["c-index"], last["status"]) == ("", "undefined")
    assert "fewer than 5" in last["reason"]
    assert "p001" not in path.read_text()


def test_of_many_outcomes_a_page_shows_the_best_and_a_csv_all_tests(people, tmp_path):
    cells = phecodes(people, m=42, persons=60, stored=True, bootstrap=60)
    paths, text = page(people, cells, tmp_path)
    table = next(t for t in tables(text) if t.startswith("| outcome |"))
    assert len(re.findall(r"^\| phe ", table, re.M)) == 20
    best = [
        max(float(x) for x in re.findall(r"(0\.\d{3}) \[", line)) for line in table.splitlines() if "| phe " in line
    ]
    assert best == sorted(best, reverse=True)
    rows = list(csv.DictReader(io.StringIO(next(p for p in paths if p.name.endswith("tests.csv")).read_text())))
    assert len(rows) == 3 * 42
    assert f"All {len(rows)} tests as CSV" in text
    assert "nan" not in "".join(v for r in rows for v in r.values())
    assert len(re.findall(r"^\| 100% \| phe ", text, re.M)) == 40


@pytest.mark.parametrize("build", [ages, deaths, phecodes])
def test_pages_are_the_same_bytes_in_any_order(people, tmp_path, build):
    cells = build(people, **({"horizons": ()} if build is deaths else {}))[:1]
    store = people.store(tmp_path / "results", cells)
    first = write_report(cells, tmp_path / "a", store)
    second = write_report(cells[::-1], tmp_path / "b", store)
    assert [p.name for p in first] == [p.name for p in second]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_a_terminal_table_of_persons_speaks_of_persons(people):
    text = terminal_tables(ages(people), color=False, width=200)
    assert "tested on 60 persons, 60 recordings\n" in text
    assert "label: age\n" in text
    assert "hypnos + demographics  " in text
    text = terminal_tables(
        [people.regression("hypnos", n={"units_dropped": {"later recordings of a person": 7}})], color=False, width=200
    )
    assert "\nleft out: 7 later recordings of a person\n" in text
    assert "there is no demographics-only row" in text


def test_rows_that_saw_other_demographics_are_told_apart(people):
    from hypnos_bench.spec import InputSpec

    other = people.regression("hypnos+", inputs=InputSpec("mean", ("age",)))
    text = terminal_tables([people.regression("hypnos+"), other], color=False, width=200)
    assert re.search(r"^hypnos \+ demographics#[0-9a-f]{6}: demographics age$", text, re.M)
    assert re.search(r"^hypnos \+ demographics#[0-9a-f]{6}: demographics age,sex$", text, re.M)


def test_a_leaky_split_is_called_out_and_not_tested(make, stored, tmp_path):
    cells = [make(e, "100%", split=SplitSpec("epoch"), marks=("leaky",), kappa=k) for e, k in (("a", 0.9), ("b", 0.5))]
    text = write_report(cells, tmp_path / "reports", stored(cells))[0].read_text("utf-8")
    assert (
        "> **leaky: units of one person are on both sides of the split; this shows what that does to a score**" in text
    )
    assert "LEAKY 5-fold split over single epochs" in text
    assert "persons are on both sides" in text
    assert "divided by person" not in text
    assert "- at 100%: not tested: units of one person are on both sides of this split" in text


def test_pre_training_on_the_cohort_is_called_out(make, tmp_path):
    from hypnos_bench.leakage import PRETRAINED_MARK

    cells = [make("a", marks=(PRETRAINED_MARK,)), make("b")]
    text = write_report(cells, tmp_path)[0].read_text("utf-8")
    assert f"> **{PRETRAINED_MARK}: the encoder has learnt from its recordings" in text
    assert f"| a *{PRETRAINED_MARK}* |" in text
    assert f"! {PRETRAINED_MARK}: " in terminal_tables(cells, color=False, width=200)


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        ({"lambda": 0.01, "rule": "cv", "training_r2": 0.4, "n_rows": 3, "constant_features": [1]}, "lambda 0.01; rule cv"),
        (
            {"rule": "early-stopping", "rule_reason": "", "passes": 1200, "passes_planned": 90, "best_pass": 7, "seed": 3,
             "training_loss": 0.1, "n_parameters": 999, "validation": [{"pass": 1}]},
            "best_pass 7; passes 1,200; rule early-stopping",
        ),
        ({"lambda": 1.0, "rule": "fixed", "demographics_filled": 12, "certificate": {}}, "lambda 1; rule fixed"),
    ],
)  # fmt: skip
def test_what_heads_chose_reads_well(fit, said):
    assert chosen(models([fit])[0]) == said


def test_a_fit_of_many_outcomes_is_a_model_for_each():
    outcomes = [
        {
            "name": "a",
            "fitted": True,
            "penalty": 0.1,
            "rule": "cv-1se",
            "at_edge": True,
            "loss": 3.0,
            "n": 9,
            "events": 4,
        },
        {
            "name": "b",
            "fitted": True,
            "penalty": 10.0,
            "rule": "prior",
            "at_edge": False,
            "loss": 3.0,
            "n": 9,
            "events": 4,
        },
        {"name": "c", "fitted": False, "penalty": None, "rule": None, "status": "no-events", "message": "none has it"},
    ]
    made, lost = models([{"ties": "efron", "statuses": {}, "penalty_scale": "per event", "outcomes": outcomes}])
    assert chosen(made) == "penalty 0.1 to 10; rule cv-1se (1 x), prior (1 x); ties efron"
    assert [o["name"] for o in lost] == ["c"]


def test_long_lists_of_excluded_recordings_are_counted_by_reason(make, tmp_path):
    excluded = [(f"r{i:04d}", "death: prevalent" if i % 3 else "no EDF") for i in range(300)]
    text = write_report([make(excluded=excluded)], tmp_path)[0].read_text("utf-8")
    assert "By reason:\n\n- 200 x death: prevalent\n- 100 x no EDF\n\nThe first 100 of 300:\n\n- r0000: no EDF" in text
    assert "r0101" not in text
