"""Whole-recording tasks end to end: labels from tables, embeddings from disk, inputs, baselines, cells and reports."""

import json
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.cohorts.base import CohortOptions
from hypnos_bench.cohorts.writers.trees import write_tree
from hypnos_bench.runner import open_cohort
from hypnos_bench.store.cells import CellStore

N_PERSONS = 40


@pytest.fixture(scope="module")
def shhs(tmp_path_factory):
    """A fake tree of SHHS and embeddings that know a person's age."""
    home = tmp_path_factory.mktemp("shhs")
    write_tree("shhs", home / "tree", n_persons=N_PERSONS, n_epochs=14)
    cohort = open_cohort("shhs", CohortOptions(root=home / "tree"))
    (home / "emb").mkdir()
    (home / "emb" / "card.json").write_text('{"start_s": 0, "step_s": 30, "pretrained_on": ["SHHS1"]}')
    rng = np.random.default_rng(0)
    for recording in cohort.recordings:
        age = (recording.covariates.get("age", 60) - 60) / 20
        np.savez(home / "emb" / f"{recording.id}.npz", X=(rng.normal(size=(14, 6)) + age).astype(np.float32))
    return home


@pytest.fixture
def run(shhs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def command(task, *words):
        fixed = ["--cohort", "shhs", "--root", str(shhs / "tree"), "--embeddings", str(shhs / "emb")]
        return run_command(["run", task, *fixed, "--encoder", "precomputed", "--split", "cv5", *words])

    return command


def cells(task):
    found = [json.loads(path.read_text()) for path in sorted(Path("results").glob(f"cells/shhs/{task}/*/*.json"))]
    return {
        (c["spec"]["encoder"]["id"], c["spec"]["inputs"]["pooling"], bool(c["spec"]["inputs"]["demographics"])): c
        for c in found
    }


def test_a_number_is_asked_of_embedding_demographics_and_both(run, capsys):
    assert run("age") == 0
    found = cells("age")
    assert set(found) == {
        ("precomputed", "mean", False), ("precomputed", "mean", True), ("demographics", "mean", True),
    }  # fmt: skip
    cell = found["precomputed", "mean", False]
    assert cell["n"]["persons_test"] == cell["n"]["recordings_test"] == N_PERSONS  # second visits are left out
    assert cell["n"]["units_dropped"] == {"later recordings of a person": N_PERSONS}
    assert cell["n"]["column"] == "age"
    assert found["demographics", "mean", True]["spec"]["inputs"]["demographics"] == ["sex", "bmi"]  # never the label
    mae = {key: c["scores"]["mae"]["value"] for key, c in found.items()}
    assert mae["precomputed", "mean", False] < 5 < mae["demographics", "mean", True]
    out = capsys.readouterr().out
    assert "precomputed + demographics" in out
    page = Path("reports/age-shhs.md").read_text()
    assert "Which is better" in page
    assert "pre-trained on this cohort" in page


def test_mean_and_sd_is_another_cell_of_twice_the_width(run):
    assert run("age", "--pooling", "mean", "--pooling", "mean-sd", "--inputs", "embedding") == 0
    found = cells("age")
    assert ("precomputed", "mean-sd", False) in found
    assert ("precomputed", "mean", True) not in found
    assert ("demographics", "mean", True) in found  # always beside them


def test_survival_counts_events_and_keeps_who_was_at_risk(run):
    assert run("stroke") == 0
    cell = cells("stroke")["precomputed", "mean", False]
    outcome = cell["outcomes"][0]
    assert outcome["name"] == "stroke"
    assert 0 < cell["n"]["events"] == outcome["events"] < cell["n"]["at_risk"] <= N_PERSONS
    assert any("prevalent" in reason for reason in cell["n"]["units_dropped"]) or cell["n"]["excluded"]
    side = CellStore(Path("results")).load_side(next(Path("results").glob("cells/shhs/stroke/precomputed/*.json")))
    assert side.outcomes == ["stroke"]
    assert int(side.at_risk.sum()) == cell["n"]["at_risk"]


def test_all_outcomes_at_once_with_replicates_for_paired_tests(run):
    assert run("phecodes", "--inputs", "embedding") == 0
    cell = cells("phecodes")["precomputed", "mean", False]
    names = [outcome["name"] for outcome in cell["outcomes"]]
    assert {"death", "stroke", "mi"} <= set(names)
    by_name = {outcome["name"]: outcome for outcome in cell["outcomes"]}
    assert by_name["cabg"]["status"] != "ok"  # nobody has it as an event: said, not invented
    assert by_name["cabg"]["scores"]["c-index"]["value"] is None
    side = CellStore(Path("results")).load_side(next(Path("results").glob("cells/shhs/phecodes/precomputed/*.json")))
    assert side.replicates.shape == (len(names), 1000)


def test_a_disease_is_named_by_the_user(run, capsys):
    assert run("disease-prevalent") == 2
    assert "--column" in capsys.readouterr().err
    assert run("disease-prevalent", "--column", "prevalent_stroke_or_so") == 2
    assert "prevalent_stroke_or_so" in capsys.readouterr().err
    assert run("disease-prevalent", "--column", "mi", "--inputs", "embedding") == 0
    assert cells("disease-prevalent")["precomputed", "mean", False]["n"]["column"] == "mi"
    assert run("age", "--column", "bmi") == 2
    assert run("staging", "--column", "bmi") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["age", "--head", "linear"], "head linear answers classification tasks, age is one of regression"),
        (["age", "--split", "epoch"], "--split epoch divides epochs"),
        (["age", "--split", "recording"], "has one recording of each"),
        (["staging", "--pooling", "mean-sd"], "--pooling is for tasks about whole recordings"),
        (["desaturation"], "desaturation"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(run, capsys, words, said):
    assert run(*words) in (2, 3)
    assert said in capsys.readouterr().err
    assert not Path("results/cells").exists()


def test_seeded_heads_take_the_cells_seed_and_several_of_them(run):
    assert run("age", "--head", "mlp-regression", "--inputs", "embedding", "--seeds", "2") == 0
    found = sorted(Path("results").glob("cells/shhs/age/precomputed/mlp-regression-100pct-s*.json"))
    scores = [json.loads(path.read_text())["scores"]["mae"]["value"] for path in found]
    assert len(scores) == 2
    assert scores[0] != scores[1]
    assert "seed" not in json.loads(found[0].read_text())["spec"]["head"]["settings"]


def test_a_changed_covariate_is_another_cell_but_the_same_embedding(run, shhs, tmp_path):
    import shutil

    tree = tmp_path / "tree"
    shutil.copytree(shhs / "tree", tree)
    assert run("age", "--inputs", "embedding") == 0
    table = next(path for path in tree.rglob("shhs1-dataset*.csv"))
    text = table.read_text("latin-1")
    header, first, *rest = text.splitlines()
    place = header.split(",").index("age_s1")
    fields = first.split(",")
    fields[place] = "71"
    table.write_text("\n".join([header, ",".join(fields), *rest]) + "\n", "latin-1")
    assert run("age", "--inputs", "embedding", "--root", str(tree)) == 0
    assert len(list(Path("results").glob("cells/shhs/age/precomputed/*.json"))) == 2
    assert len(list(Path("results").glob("embeddings/shhs/*"))) == 1
