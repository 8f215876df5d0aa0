"""Whole runs on cohort trees and on real recordings: files in, table out."""

import json
from pathlib import Path

import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.cohorts.writers.mros import ODDITIES, write_mros_tree


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch, undrawn):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def mros(tmp_path_factory):
    root = tmp_path_factory.mktemp("nsrr")
    write_mros_tree(root, n_persons=12, hours=0.2, seed=3, oddities=tuple(ODDITIES))
    return root


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """For what does not depend on how many there are."""
    root = tmp_path_factory.mktemp("few")
    write_mros_tree(root, n_persons=5, hours=0.2, seed=3)
    return root


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    from hypnos_bench.hypnos import write_random_bundle

    path = tmp_path_factory.mktemp("weights") / "hypnos.safetensors"
    write_random_bundle(path, seed=5)
    return path


def load_cells():
    return [json.loads(p.read_text()) for p in sorted(Path("results").glob("cells/**/*.json"))]


def reasons(cell):
    return {e["recording"]: e["reason"] for e in cell["n"]["excluded"]}


def test_mros_goes_from_files_to_a_table(mros, capsys):
    words = ["run", "staging", "--cohort", "mros", "--root", str(mros), "--shots", "1%", "--seeds", "2"]
    assert run_command([*words, "--encoder", "features", "--encoder", "hypnos-untrained"]) == 0
    out = capsys.readouterr().out
    assert "untrained" in out
    assert "mros" in out
    cells = load_cells()
    assert len(cells) == 4
    for cell in cells:
        out_of = reasons(cell)
        assert "wrong staging" in out_of["mros-visit1-aa2033"]
        assert "annotation" in out_of["mros-visit1-aa9006"]
        for person in ("aa9001", "aa9002", "aa9003"):
            assert (
                "sleep or wake only" in out_of[f"mros-visit1-{person}"]
                or "sleep/wake" in out_of[f"mros-visit1-{person}"]
            )
        assert "mros-visit1-aa9004" in out_of  # scored, but its EDF is missing
        # The pre-referenced file, visit-1 labels at visit 2, and both visits of everybody take part.
        assert cell["n"]["recordings_total"] == 2 * 12 + 4
        assert cell["n"]["persons_total"] == 12 + 4
        assert cell["n"]["persons_train"] == 1


def test_visits_of_one_person_never_part(mros):
    from hypnos_bench.cohorts.base import CohortOptions
    from hypnos_bench.runner import open_cohort
    from hypnos_bench.splits import folds

    cohort = open_cohort("mros", CohortOptions(root=mros))
    fold = folds("mros", [r.person for r in cohort.recordings], cohort.card.split)[0]
    both = {r.person for r in cohort.recordings if r.visit == "1"} & {
        r.person for r in cohort.recordings if r.visit == "2"
    }
    assert both
    assert not set(fold.train) & set(fold.test)


def test_alignment_covered_is_another_cell_with_other_numbers(mros, bundle, tmp_path):
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "staging-covered.toml").write_text('extends = "staging"\nid = "staging-covered"\nalignment = "covered"\n')
    words = ["--cohort", "mros", "--root", str(mros), "--encoder", "hypnos", "--weights", str(bundle)]
    assert run_command(["run", "staging", *words]) == 0
    assert run_command(["run", "staging-covered", *words, "--tasks-dir", str(tasks)]) == 0
    one, two = load_cells()
    assert one["scores"]["kappa"]["value"] != two["scores"]["kappa"]["value"]
    assert len(list(Path("results").glob("embeddings/mros/*"))) == 1  # embedded once


def test_modalities_each_averages_to_nearly_the_same(few, bundle):
    words = ["run", "staging", "--cohort", "mros", "--root", str(few), "--encoder", "hypnos", "--weights", str(bundle)]
    words += ["--split", "cv5"]
    assert run_command(words) == 0
    assert run_command([*words, "--per-modality"]) == 0
    one, two = (c["scores"]["accuracy"]["value"] for c in load_cells())
    assert one == pytest.approx(two, abs=0.05)


def test_missing_weights_end_with_exit_3_and_one_line(mros, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(Path.cwd()))
    assert run_command(["run", "staging", "--cohort", "mros", "--root", str(mros)]) == 3
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "--weights" in lines[0]
    assert not Path("results").exists()


def test_a_truncated_and_an_empty_edf_are_listed(mros, tmp_path, capsys):
    import shutil

    root = shutil.copytree(mros, tmp_path / "copy")
    edfs = root / "mros/polysomnography/edfs/visit1"
    whole = (edfs / "mros-visit1-aa0001.edf").read_bytes()
    (edfs / "mros-visit1-aa0001.edf").write_bytes(whole[: len(whole) // 2])
    (edfs / "mros-visit1-aa0002.edf").write_bytes(b"")
    xml = root / "mros/polysomnography/annotations-events-nsrr/visit1/mros-visit1-aa0003-nsrr.xml"
    xml.write_text(xml.read_text()[:-200])
    assert run_command(["run", "staging", "--cohort", "mros", "--root", str(root), "--encoder", "features"]) == 0
    out_of = reasons(load_cells()[0])
    for person in ("aa0001", "aa0002", "aa0003"):
        assert "\n" not in out_of[f"mros-visit1-{person}"]
    assert "truncated" in out_of["mros-visit1-aa0001"]


def test_two_workers_give_the_same_embeddings_as_one(few, bundle):
    words = ["embed", "--cohort", "mros", "--root", str(few), "--encoder", "hypnos", "--weights", str(bundle)]
    run_command([*words, "--results", "one", "--workers", "1"])
    run_command([*words, "--results", "two", "--workers", "2"])
    one, two = ({p.name: p.read_bytes() for p in Path(f).rglob("*.safetensors")} for f in ("one", "two"))
    assert one
    assert one == two


def test_real_atrial_fibrillation_records_go_through_the_core(shared_data, bundle, capsys):
    root = shared_data / "cpsc2021-af"
    words = ["run", "af", "--cohort", "cpsc2021", "--root", str(root), "--encoder", "hypnos", "--weights", str(bundle)]
    assert run_command(words) == 0
    out = capsys.readouterr().out
    assert "far too few persons for a result: 3 in all" in out
    assert "untrained" in out
    cell = load_cells()[0]
    assert (cell["n"]["persons_total"], cell["n"]["recordings_total"]) == (3, 8)
    assert "3 mixed" in reasons(cell)["data_101_6"]  # short, and in and out of AF all the time
    assert len(cell["n"]["folds"]) == 3
    assert all(0 <= cell["scores"][m]["value"] <= 1 for m in ("auroc", "auprc", "f1", "sensitivity", "specificity"))


def test_real_sleep_features_land_where_person_wise_staging_lands(shared_data, capsys):
    root = shared_data / "sleepedf-features20"
    words = ["run", "staging", "--cohort", "array-folder", "--root", str(root), "--encoder", "precomputed"]
    assert run_command([*words, "--person-pattern", r"^(SC4\d\d)"]) == 0
    cell = load_cells()[0]
    assert (cell["n"]["persons_total"], cell["n"]["recordings_total"]) == (5, 10)
    # Above 0.80 a person would have leaked into their own test set.
    assert 0.70 < cell["scores"]["kappa"]["value"] < 0.80
