"""Lists beside the results: found again as they were put there, and refused when altered."""

import json

import pytest

from hypnos_bench.errors import DataError, IntegrityError, UsageError
from hypnos_bench.exposure import load_lists
from hypnos_bench.exposure.entries import ROLES, exposure_list
from hypnos_bench.exposure.readers import read_list
from hypnos_bench.exposure.shelf import SCHEMA, all_lists, counts, list_path, remove_list, save_list
from hypnos_bench.spec import digest


@pytest.fixture
def made(tmp_path):
    def make(
        encoder="osf", name="patient_pretrain_train_ids.csv", ids=("mros-visit2-AA0006", "x", "mros-visit1-AA0006")
    ):
        path = tmp_path / name
        path.write_text("patient_id\n" + "".join(f"{one}\n" for one in ids))
        return exposure_list(read_list(path), encoder)

    return make


def test_a_list_is_found_again(tmp_path, made):
    one, other = made(), made("mine", "patient_downstream_test_ids.csv")
    path = save_list(tmp_path, one)
    first = path.read_bytes()
    assert path == list_path(tmp_path, "osf", "patient_pretrain_train_ids")
    assert save_list(tmp_path, one).read_bytes() == first
    save_list(tmp_path, other)
    assert load_lists(tmp_path, "osf") == (one,)
    assert all_lists(tmp_path) == (other, one)
    assert load_lists(tmp_path, "sleepfm") == load_lists(tmp_path / "nowhere", "osf") == ()
    assert counts(one) == {"pretrain_train": {"?": 1, "mros": 2}}
    stored = json.loads(first)
    assert (stored["date"], stored["source"]["name"]) == (None, "patient_pretrain_train_ids.csv")
    assert str(tmp_path) not in first.decode()


def test_entries_are_sorted_so_that_order_in_the_file_is_nothing(made):
    assert made(ids=("shhs1-200002", "shhs1-200001")).entries == made(ids=("shhs1-200001", "shhs1-200002")).entries


def test_another_file_does_not_take_a_lists_name(tmp_path, made):
    save_list(tmp_path, made())
    with pytest.raises(UsageError, match="another file is there; choose another --name"):
        save_list(tmp_path, made(ids=("mros-visit2-AA0007",)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["entries"].pop(), "does not match its own SHA-256"),
        (lambda c: c["levels"].update(pretrain_train="not seen"), "does not match its own SHA-256"),
        (lambda c: c.pop("levels"), "not a list of this suite"),
        (lambda c: c.update(schema=SCHEMA + 1), "this version reads 1"),
        (lambda c: c.update(entries={}), "wrong type"),
    ],
)
def test_an_altered_list_is_refused(tmp_path, made, change, message):
    path = save_list(tmp_path, made())
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(IntegrityError, match=message):
        load_lists(tmp_path, "osf")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("entries", [["a", "pretrain_train", None, None]], "entries are not"),
        ("entries", [["a", "pretrain_train", None, 3, None]], "entries are not"),
        ("entries", [["a", "other", None, None, None]], "a role has no meaning"),
        ("levels", {"pretrain_train": "perhaps"}, "unknown meaning"),
        ("source", {}, "entries are not"),
    ],
)
def test_a_list_made_by_somebody_else_is_looked_over(tmp_path, made, field, value, message):
    path = save_list(tmp_path, made())
    content = {**json.loads(path.read_text()), field: value}
    content["sha256"] = digest({k: v for k, v in content.items() if k != "sha256"})
    path.write_text(json.dumps(content))
    with pytest.raises(IntegrityError, match=message):
        load_lists(tmp_path, "osf")


def test_half_a_file_is_refused_and_can_be_removed(tmp_path, made):
    path = save_list(tmp_path, made())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(IntegrityError, match="remove it"):
        load_lists(tmp_path, "osf")
    assert remove_list(tmp_path, "patient_pretrain_train_ids") == path
    assert load_lists(tmp_path, "osf") == ()


def test_remove(tmp_path, made):
    for encoder in ("osf", "mine"):
        save_list(tmp_path, made(encoder))
    with pytest.raises(UsageError, match="a list of mine, osf: say which"):
        remove_list(tmp_path, "patient_pretrain_train_ids")
    remove_list(tmp_path, "patient_pretrain_train_ids", "mine")
    assert [one.encoder for one in all_lists(tmp_path)] == ["osf"]
    with pytest.raises(UsageError, match=r"no list named 'patient_pretrain'\. Did you mean"):
        remove_list(tmp_path, "patient_pretrain")
    with pytest.raises(UsageError, match="There is none"):
        remove_list(tmp_path / "nowhere", "x")


def test_roles_that_nobody_has_explained_are_asked_for(tmp_path):
    path = tmp_path / "lists.csv"
    path.write_text("recording,role\nshhs1-200001,train\nshhs1-200002,test\n")
    file = read_list(path)
    with pytest.raises(UsageError, match="--seen train; roles here: train, test"):
        exposure_list(file, "mine")
    assert exposure_list(file, "mine", seen=["train"]).levels == {"train": "seen", "test": "not seen"}


def test_seen_replaces_what_is_known_but_for_the_held_out(tmp_path):
    lists = {"pretrain": ["mesa-sleep-0001"], "train": ["mesa-sleep-0002"], "test": ["mesa-sleep-0003"]}
    (tmp_path / "dataset_split.json").write_text(json.dumps(lists))
    file = read_list(tmp_path / "dataset_split.json")
    assert exposure_list(file, "sleepfm").levels == {"pretrain": "seen", "train": "not seen", "test": "not seen"}
    tuned = exposure_list(file, "stager", name="mine", seen=["pretrain", "train"])
    assert (tuned.name, tuned.levels) == ("mine", {"pretrain": "seen", "train": "seen", "test": "not seen"})
    (tmp_path / "patient_pretrain_test_ids.csv").write_text("patient_id\nshhs1-200001\n")
    held = read_list(tmp_path / "patient_pretrain_test_ids.csv")
    assert (
        exposure_list(held, "osf").levels
        == exposure_list(held, "osf", seen=["x"]).levels
        == {"pretrain_test": "held out"}
    )


def test_a_disk_that_refuses_is_told(tmp_path, made):
    (tmp_path / "exposure").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        save_list(tmp_path, made())


def test_what_the_roles_of_the_two_publications_mean():
    osf = ROLES["osf"]
    assert {role for role in osf if osf[role] == "seen"} == {"pretrain_train", "pretrain_valid"}
    assert {role for role in osf if osf[role] == "held out"} == {"pretrain_test"}
    assert {role for role, level in ROLES["sleepfm"].items() if level != "not seen"} == {"pretrain"}
