"""Who was seen in pre-training: told in cells, told anew when more is known, left out when asked; published splits."""

import dataclasses
import json
from pathlib import Path

import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.cohorts.writers.mros import write_mros_tree
from hypnos_bench.exposure import Exposure
from hypnos_bench.probe.exposed import is_stamped
from hypnos_bench.runner.seen import restamp
from hypnos_bench.store.cells import CellStore

TOY = "toys.py:Montage"


@pytest.fixture(scope="module")
def mros(tmp_path_factory):
    root = tmp_path_factory.mktemp("nsrr")
    write_mros_tree(root, n_persons=8, hours=0.1, seed=3)
    return root


@pytest.fixture
def run(place, no_pages, mros):
    def command(*more, split="cv5"):
        fixed = ["--cohort", "mros", "--root", str(mros), "--encoder", TOY, "--head", "lda", "--split", split]
        return run_command(["run", "staging-wake", *fixed, *more])

    return command


def write_list(name, *ids, folder="lists"):
    Path(folder).mkdir(exist_ok=True)
    path = Path(folder) / f"patient_{name}_ids.csv"
    path.write_text("\n".join(["patient_id", *ids]) + "\n")
    return str(path)


def person(k, visit=1):
    return f"mros-visit{visit}-aa{k:04d}"


def add(path):
    assert run_command(["exposure", "add", path, "--encoder", "toy-montage"]) == 0


def only(toy):
    (cell,) = toy.cells().values()
    return cell


def test_a_list_added_later_is_said_in_saved_cells_without_computing(run, toy, capsys):
    assert run() == 0
    before = only(toy)
    assert before["n"]["exposure"]["status"] == "clean"  # its card says that nothing was learned
    assert before["n"]["exposure"]["persons_test"] == 8
    add(write_list("pretrain_train", person(1), person(2, visit=2)))
    capsys.readouterr()
    assert run() == 0
    said = capsys.readouterr().err
    assert "1 cells: what is known of exposure has changed and is said anew" in said
    assert "nothing to do" in said
    after = only(toy)
    assert (after["n"]["exposure"]["status"], after["n"]["exposure"]["persons"]) == ("person seen", 2)
    assert after["n"]["exposure"]["roles"] == {"pretrain_train": 2}
    assert "pre-trained on this cohort" in after["n"]["marks"]
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"n", "sha256"}
    assert run() == 0
    assert "said anew" not in capsys.readouterr().err


def test_clean_only_tests_nobody_whom_any_encoder_has_seen(run, toy, capsys):
    add(write_list("pretrain_train", person(1), person(2, visit=2)))
    assert run() == 0
    assert run("--clean-only") == 0
    cells = {bool(c["spec"]["sample"]["untested"]): c for c in toy.cells().values()}
    assert (cells[False]["n"]["persons_test"], cells[True]["n"]["persons_test"]) == (8, 6)
    assert (cells[True]["n"]["untested"]["persons"], cells[True]["n"]["untested"]["who"]) == (2, ["aa0001", "aa0002"])
    assert cells[True]["n"]["untested"]["recordings"] == 4
    assert cells[True]["n"]["exposure"]["status"] != "person seen"
    train = [[fold["recordings_train"] for fold in cell["n"]["folds"]] for cell in cells.values()]
    assert train[0] == train[1]
    assert cells[True]["provenance"]["split_hash"] == cells[False]["provenance"]["split_hash"]


def test_clean_only_without_anybody_left_is_refused(run, capsys):
    add(write_list("pretrain_train", *(person(k) for k in range(1, 9))))
    assert run("--clean-only") == 2
    assert "have seen all 8 persons of mros" in capsys.readouterr().err
    assert not list(Path("results").glob("cells/**/*.json"))


def test_clean_only_needs_to_know_whom(run, capsys):
    source = Path("toys.py").read_text()
    Path("toys.py").write_text(source.replace("pretrained_on=()", 'pretrained_on=("MrOS",)'))
    assert run("--clean-only") == 2
    assert "hypnos-bench exposure add FILE --encoder toy-montage" in capsys.readouterr().err
    add(write_list("downstream_train", person(1)))  # of heads: of pre-training it says nothing
    assert run("--clean-only") == 2
    assert "toy-montage was pre-trained on mros, but nothing here says on whom" in capsys.readouterr().err
    assert not list(Path("results").glob("cells/**/*.json"))
    add(write_list("pretrain_valid", person(2)))
    assert run("--clean-only") == 0


def test_a_failed_cell_keeps_what_it_knew_of_who_would_be_tested(run, toy, monkeypatch):
    specs = []
    monkeypatch.setattr("hypnos_bench.runner.loop.restamp", lambda store, several, exposure: specs.extend(several) or 0)
    assert run() == 0
    (path,) = toy.cells()
    store = CellStore(Path("results"))
    ok = store.load(path)
    path.unlink()
    store.save(dataclasses.replace(ok, status="failed", message="did not converge", scores={}), None)
    known = Exposure("toy-montage", "mros", {"aa0001": ("pretrain",)}, cohort_seen=True, known=True)
    assert not is_stamped(only(toy)["n"], known)
    assert restamp(store, specs, known) == 0
    assert only(toy)["n"]["exposure"] == ok.n["exposure"]
    assert only(toy)["n"]["exposure"]["persons_test"] == 8


@pytest.fixture
def lists(place):
    """Persons 1 to 5 are learned from, the second visits of 4 and 5 tested, with both visits of 6 to 8."""
    write_list("downstream_train", *(person(k) for k in range(1, 6)))
    write_list("downstream_test", *(person(k, 2) for k in (4, 5)), *(person(k, v) for k in (6, 7, 8) for v in (1, 2)))
    return ["--split-lists", "lists"]


def test_a_published_split_leaks_by_recording_and_not_by_person(run, toy, lists, capsys):
    assert run(*lists, split="osf-recording") == 0
    assert (
        "mros: 2 of 8 test recordings are of persons who are also in train; 8 are on the test side"
        in capsys.readouterr().err
    )
    assert run(*lists, split="osf-person") == 0
    said = capsys.readouterr().err
    assert "2 of 8 test recordings are of persons who are also in train; 6 are on the test side, before labels" in said
    cells = {c["spec"]["split"]["kind"]: c for c in toy.cells().values()}
    leaky, honest = cells["osf-recording"], cells["osf-person"]
    assert (leaky["n"]["recordings_test"], leaky["n"]["persons_test"]) == (8, 5)
    assert (honest["n"]["recordings_test"], honest["n"]["persons_test"]) == (6, 3)
    assert [("leaky" in c["n"]["marks"]) for c in (leaky, honest)] == [True, False]
    for cell in cells.values():
        assert cell["n"]["listed"]["overlap"]["recordings_in_train"] == 2
        assert "2 of 8 test recordings" in cell["n"]["overlap"]["text"]
        assert cell["n"]["recordings_train"] == cell["n"]["persons_train"] == 5
        assert cell["spec"]["split"]["lists"]


def test_few_shots_are_persons_of_the_published_training_side(run, toy, lists):
    assert run(*lists, "--shots", "2p", "--seeds", "2", split="osf-recording") == 0
    for cell in toy.cells().values():
        assert cell["n"]["persons_train"] == cell["n"]["recordings_train"] == 2
        assert cell["n"]["recordings_test"] == 8


def test_other_lists_are_another_cell_and_other_places_are_not(run, toy, lists):
    assert run(*lists, split="osf-person") == 0
    Path("lists").rename("moved")
    assert run("--split-lists", "moved", split="osf-person") == 0
    assert len(toy.cells()) == 1
    write_list("downstream_valid", person(1, 2), folder="moved")
    assert run("--split-lists", "moved", split="osf-person") == 0
    assert len(toy.cells()) == 2


def test_files_that_are_not_of_the_splits_source_are_no_part_of_the_cell(run, toy, lists):
    assert run(*lists, split="osf-person") == 0
    (Path("lists") / "dataset_split.json").write_text(json.dumps({"train": ["mros/" + person(7)]}))
    (Path("lists") / "notes.txt").write_text("mine")
    assert run(*lists, split="osf-person") == 0
    assert len(toy.cells()) == 1


def test_a_recording_split_of_persons_is_refused(run, lists, mros, capsys):
    for split in ("osf-recording", "sleepfm-recording"):
        words = ["--cohort", "mros", "--root", str(mros), "--encoder", TOY, "--split", split, *lists]
        assert run_command(["run", "age", *words]) == 2
        assert f"--split {split} ignores persons; age has one recording of each" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "split", "said"),
    [
        ([], "osf-person", "add --split-lists"),
        (["--split-lists", "lists"], "cv5", "goes with a split that is named after them"),
        (["--split-lists", "lists"], "sleepfm-person", "no sleepfm list"),
        (["--split-lists", "lists", "--shots", "20p"], "osf-person", "20 training persons"),
    ],
)
def test_lists_that_do_not_fit_are_refused(run, lists, capsys, words, split, said):
    assert run(*words, split=split) in (2, 3)
    assert said in capsys.readouterr().err
    assert not list(Path("results").glob("cells/**/*.json"))


def test_stamps_are_json(run, toy):
    assert run() == 0
    json.dumps(only(toy)["n"]["exposure"], allow_nan=False)
