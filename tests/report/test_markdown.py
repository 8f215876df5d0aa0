"""The written report: complete, reproducible, whole or not there."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from hypnos_bench.errors import DataError
from hypnos_bench.metrics.registry import METRICS
from hypnos_bench.report import SideFiles, sections, write_report
from hypnos_bench.report.figures import confusion_figure
from hypnos_bench.report.methods import chosen, code
from hypnos_bench.report.tables import escape


@pytest.fixture
def cells(make):
    given = {"simulated": True, "test": 8}
    return [
        *make.few_shot(("features",), excluded=[("r1", "no EDF"), ("r2", "a|b")], **given),
        *make.few_shot(("hypnos-untrained",), marks=("untrained",), excluded=[("r1", "no EDF")], **given),
        *(make(e, seed=7, status="failed", message="one class only", simulated=True) for e in ("features",)),
    ]


def report(cells, folder, store=None):
    paths = write_report(cells, folder, store)
    return paths, paths[0].read_text("utf-8")


def test_report_holds_tables_methods_exclusions_and_provenance(cells, stored, tmp_path):
    paths, text = report(cells, tmp_path / "reports", stored(cells))
    assert [p.name for p in paths] == [
        "staging-demo.md",
        *(f"staging-demo-linear-holdout-{k}.{e}" for k in ("few-shot", "confusion") for e in ("svg", "png")),
    ]
    for part in (
        "# staging on demo (*simulated*)",
        "| features | **0.420** ± 0.020 [0.370, 0.470] <sup>a</sup> |",
        "| hypnos-untrained *untrained* |",
        "1 of 4 seeds failed: one class only",
        "far too few persons for a result",
        "- 1% = 1 of 29 training persons; 10% = 3 of 29; 100% = 29 of 29",
        "- kappa (Cohen's kappa): ",
        "14 of 14 fits carry a certificate of convergence",
        "(newton\\_decrement; largest decrement 3e-12, largest tolerance 1e-08)",
        "| features | 1% | 3 | lambda 0.0001 to 0.01 | 1 | 0 | 3e-12 | 1e-09 | 7 |",
        "- r1: no EDF\n- r2: a\\|b (features)",
        f"Cohort fingerprint: `{'a' * 64}`",
        "Command: `hypnos-bench run staging --cohort demo`",
        "Versions: hypnos-bench 0.1.0, python 3.11.2",
    ):
        assert part in text, part


def test_every_picture_that_is_linked_was_written(cells, stored, tmp_path):
    paths, text = report(cells, tmp_path / "reports", stored(cells))
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert sorted(links) == sorted(p.name for p in paths[1:])
    assert all(p.stat().st_size > 1000 for p in paths[1:])


def test_every_table_row_has_as_many_columns_as_its_head(cells, tmp_path):
    _, text = report(cells, tmp_path)
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.M):
        counts = {len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}
        assert len(counts) == 1, block


def test_second_is_underlined(make, tmp_path):
    _, text = report(make.few_shot(shots=("1%",)), tmp_path)
    assert "| hypnos | <u>0.270</u> ± 0.020 [0.220, 0.320] |" in text


def test_same_cells_in_any_order_give_the_same_bytes(cells, stored, tmp_path):
    store = stored(cells)
    first = write_report(cells, tmp_path / "a", store)
    second = write_report(cells[::-1], tmp_path / "b", store)
    assert [p.name for p in first] == [p.name for p in second]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_bytes_do_not_depend_on_the_hash_seed(cells, stored, tmp_path):
    stored(cells)
    code = (
        "import sys, hashlib; from pathlib import Path; from hypnos_bench.report import write_report; "
        "from hypnos_bench.store.cells import CellStore; s = CellStore(Path(sys.argv[1])); "
        "print([hashlib.sha256(p.read_bytes()).hexdigest() for p in write_report(s.readable()[0], Path(sys.argv[2]), s)])"
    )
    results = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "results"), str(tmp_path / "out")],
            capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(results) == 1


def test_each_task_and_cohort_has_its_own_file_and_contexts_their_sections(make, tmp_path):
    cells = [make(), make(cohort="mros"), make(fingerprint="b" * 64)]
    paths = write_report(cells, tmp_path)
    assert [p.name for p in paths[:2]] == ["staging-demo.md", "staging-mros.md"]
    assert len(re.findall(r"^## ", paths[0].read_text("utf-8"), re.M)) == 2
    assert len({p.name for p in paths}) == len(paths) == 2 + 3 * 2


def test_confusion_is_summed_over_recordings_and_averaged_over_seeds(make, stored, tmp_path, monkeypatch):
    seen = {}

    def spy(comparison, shots, panels):
        seen.update(shots=shots, panels=panels)
        return confusion_figure(comparison, shots, panels)

    monkeypatch.setattr(sections, "confusion_figure", spy)
    matrix = np.arange(25).reshape(5, 5)
    cells = [*make.few_shot(("a",)), make("b", "10%")]
    write_report(cells, tmp_path / "reports", stored(cells, matrix, recordings=4))
    assert seen["shots"] == "10%"  # the budget at which both have results
    assert [panel.n_seeds for panel in seen["panels"]] == [3, 1]
    for panel in seen["panels"]:
        np.testing.assert_array_equal(panel.counts, 4.0 * matrix)


def test_without_side_files_the_report_says_so(make, stored, tmp_path):
    cells = [make("a"), make("b")]
    _, text = report(cells, tmp_path / "one")
    assert "side files, which hold the counts, were not given" in text
    store = stored(cells)
    store.side_path(cells[0]).unlink()
    paths, text = report(cells, tmp_path / "two", store)
    assert f"a: no confusion matrix (side file of cell {cells[0].key[:12]} is not there)" in text
    assert any("confusion" in p.name for p in paths)


def test_a_damaged_side_file_costs_its_row_and_is_named(make, stored, tmp_path):
    cells = [make("a"), make("b")]
    store = stored(cells)
    path = store.side_path(cells[0])
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 0xFF
    path.write_bytes(raw)
    sides = SideFiles(store)
    assert sides.problems == []
    paths, text = report(cells, tmp_path / "reports", sides)
    named = f"side file of cell {cells[0].key[:12]}"
    assert f"a: no confusion matrix ({named} is damaged)" in text
    assert f"not tested: {named} (a) is damaged" in text
    assert any("confusion" in p.name for p in paths)  # of the other row
    assert len(sides.problems) == 1
    assert "units.safetensors" in sides.problems[0]
    assert str(tmp_path) not in text


def test_a_folder_that_cannot_be_written_gives_one_line_and_names_the_right_option(make, tmp_path):
    (tmp_path / "reports").write_text("in the way")
    with pytest.raises(DataError, match=r"--reports DIR") as caught:
        write_report([make()], tmp_path / "reports")
    assert "--results" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_failed_still_makes_a_report(make, stored, tmp_path):
    cells = [make(s, status="failed", message="one class", simulated=True) for s in ("a", "b")]
    _, text = report(cells, tmp_path / "reports", stored(cells))
    assert "| a | – <sup>a</sup> |" in text
    assert "a: no confusion matrix (no result at 1%)" in text
    assert "No fit states a certificate of convergence" in text


def test_scores_per_recording_are_averaged_over_seeds(make, tmp_path):
    def scores(mean):
        each = {"mean": mean, "sd": 0.1, "median": None, "n": 16}
        return {"kappa": {"value": 0.5, "low": 0.4, "high": 0.6, "higher_is_better": True, "per_recording": each}}

    _, text = report([make(seed=0, scores=scores(0.6)), make(seed=1, scores=scores(0.7))], tmp_path)
    assert "| 1% | features |\n| --- | ---: |\n| kappa | mean 0.650, sd 0.100 (n 16) |\n| macro-f1 | – |" in text


def test_metrics_are_explained_in_the_words_of_their_own_room(make, tmp_path):
    one = {"value": 0.5, "low": 0.4, "high": 0.6, "higher_is_better": True, "n_boot": 990}
    cell = make(metrics=["auroc", "gone"], scores={"auroc": one, "gone": {**one, "n_boot": 1000}},
                task={"classes": ["non-AF", "AF"], "positive": "AF"})  # fmt: skip
    _, text = report([cell], tmp_path)
    assert f"- auroc (AUROC): {escape(METRICS['auroc'].definition)}" in text
    assert "- gone: not known to this version" in text
    assert "- The positive class is AF." in text
    assert "auroc is undefined in some resamples: its interval rests on 990 of 1000 at least" in text
    assert "gone is undefined" not in text


def test_chosen_hyper_parameters_are_ranges_and_counted_words():
    fits = [{"lambda": 1e-3, "rule": "cv"}, {"lambda": 1e-1, "rule": "prior"}, {"lambda": 1e-2, "rule": "cv"}]
    assert chosen(fits) == "lambda 0.001 to 0.1; rule cv (2 x), prior (1 x)"
    assert chosen([{"n_rows": 3, "certificate": {}, "folds_skipped": 0}]) == "–"


def test_code_spans_survive_backticks():
    assert code("a b") == "`a b`"
    assert code("a `b` ``c``") == "``` a `b` ``c`` ```"


def test_tests_say_that_fitted_models_are_taken_as_fixed(make, stored, tmp_path):
    cells = [make("a"), make("b")]
    _, text = report(cells, tmp_path / "given", stored(cells, recordings=12))
    assert "tests are over test persons, not over new training sets" in text
    assert "not over new training sets" not in report(cells, tmp_path / "none")[1]
