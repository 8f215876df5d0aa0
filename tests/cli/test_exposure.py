"""``hypnos-bench exposure``: lists are kept and shown, and leaks in published splits are printed."""

import json

import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.exposure import load_lists


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ask(capsys):
    def run(*words):
        code = run_command(["exposure", *map(str, words)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["", "add", "list", "remove", "check"])
def test_help_has_examples(ask, name):
    code, out, _ = ask(*filter(None, [name]), "--help")
    assert code == 0
    assert "Examples:" in out


def row(out, *first):
    return next(line.split() for line in out.splitlines() if line.split()[: len(first)] == [*first])


def test_the_leaks_of_the_published_splits_are_printed(ask, shared_data):
    code, out, err = ask("check", shared_data / "splits")
    assert code == 1
    assert row(out, "mros", "downstream_test", "381", "372", "downstream_train")[5:] == [
        "154",
        "40.4",
        "%",
        "154",
        "227",
    ]
    assert row(out, "shhs", "pretrain_test", "802", "777", "pretrain_train")[5:8] == ["378", "47.1", "%"]
    assert row(out, "mros", "downstream_test", "381", "372", "any")[-1] == "203"
    assert row(out, "all", "test", "436", "429", "pretrain")[-2] == "148"
    assert row(out, "all", "test", "436", "429", "train")[-2] == "7"
    assert "passed over, named as no list: channel_groups.json" in err


def test_leaks_as_json(ask, shared_data):
    code, out, _ = ask("check", shared_data / "splits", "--json")
    told = json.loads(out)
    assert (code, told["clean"]) == (1, False)
    found = {(o["cohort"], o["tested"], o["learned"]): o for one in told["published"] for o in one["overlaps"]}
    assert found["wsc", "pretrain_test", "pretrain_train"]["shared_recordings"] == 119
    assert found["all", "test", "pretrain"]["shared_persons"] == 148


def test_a_clean_split_gives_zero(ask, tmp_path):
    train, test = (
        write(tmp_path / "train.txt", "mros-visit1-aa0001"),
        write(tmp_path / "test.txt", "mros-visit1-aa0002", "x"),
    )
    code, out, err = ask("check", train, test)
    assert (code, "nobody is on both sides" in out) == (0, True)
    assert "lists: 2 files in" in err
    assert "1 ids tell no known cohort and stand for nobody: x" in err
    code, out, _ = ask("check", train, test, "--json")
    assert (code, json.loads(out)["clean"]) == (0, True)


def test_add_list_remove(ask, tmp_path):
    csv = write(tmp_path / "patient_pretrain_train_ids.csv", "patient_id", "mros-visit1-AA0001", "odd", "shhs1-200001")
    code, out, err = ask("add", csv, "--encoder", "osf", "--results", "r")
    assert code == 0
    assert row(out, "osf")[:4] == ["osf", "patient_pretrain_train_ids", "pretrain_train", "seen"]
    assert "1 ids tell no known cohort and stand for nobody: odd" in err
    (kept,) = load_lists(tmp_path / "r", "osf")
    assert kept.cohorts == ("mros", "shhs")
    assert ask("add", csv, "--encoder", "osf", "--results", "r")[0] == 0
    code, out, _ = ask("list", "--results", "r", "--json")
    (told,) = json.loads(out)
    assert (told["role"], told["cohorts"], told["persons"]) == ("pretrain_train", {"?": 1, "mros": 1, "shhs": 1}, 3)
    assert ask("list", "--results", "r", "--encoder", "sleepfm")[1].splitlines()[1:] == []
    code, _, err = ask("remove", "patient_pretrain_train_ids", "--results", "r")
    assert (code, "removed r" in err) == (0, True)
    assert load_lists(tmp_path / "r", "osf") == ()


def test_plain_lists_are_seen_unless_said_otherwise(ask, tmp_path):
    ids = write(tmp_path / "ids.txt", "n1", "n2")
    code, out, err = ask(
        "add", ids, "--encoder", "mine", "--cohort", "cap", "--name", "ours", "--role", "stage2", "--seen", "stage2"
    )
    assert code == 0
    assert "no registered encoder is called 'mine'" in err
    assert row(out, "mine") == ["mine", "ours", "stage2", "seen", "2", "2", "cap", "2"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["add", "gone.csv", "--encoder", "osf"], 3, "gone.csv: cannot be read"),
        (["add", "ids.txt"], 2, "--encoder"),
        (["add", "ids.txt", "--encoder", "osf"], 3, "not one of 2 ids tells its cohort (n1, n2); give --cohort"),
        (["add", "ids.txt", "--encoder", "osf", "--cohort", "capp"], 2, "unknown cohort 'capp'. Did you mean 'cap'?"),
        (["add", "ids.txt", "--encoder", "osf", "--cohort", "cap", "--seen", "x"], 2, "--seen x: no such role; there are pretrain"),
        (["add", "ids.txt", "--encoder", "osf", "--cohort", "cap", "--role", "x"], 2, "--seen x"),
        (["add", "ids.txt", "b/ids.txt", "--encoder", "osf", "--cohort", "cap"], 2, "two files of one name"),
        (["add", "ids.txt", "b/ids.txt", "--encoder", "osf", "--cohort", "cap", "--name", "n"], 2, "--name names one list"),
        (["remove", "nothing"], 2, "no list named 'nothing'"),
        (["check", "b/roles.csv"], 3, ":1: expected one column"),
        (["check", "."], 3, "holds no patient_..._ids.csv"),
        (["chek"], 2, "chek"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line(ask, tmp_path, words, code, message):
    (tmp_path / "b").mkdir()
    write(tmp_path / "ids.txt", "n1", "n2")
    write(tmp_path / "b" / "ids.txt", "n3")
    write(tmp_path / "b" / "roles.csv", "name", "n3")
    got, _, err = ask(*words)
    assert got == code
    assert message in err.strip().splitlines()[-1]
    assert not (tmp_path / "results").exists()


def test_bare_ids_of_a_given_cohort_are_kept(ask, tmp_path):
    ids = write(tmp_path / "ids.txt", "AA0006", "AA0007")
    code, out, _ = ask("add", ids, "--encoder", "osf", "--cohort", "mros", "--results", "r")
    assert (code, row(out, "osf")[-2:]) == (0, ["mros", "2"])
