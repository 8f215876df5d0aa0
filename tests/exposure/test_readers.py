"""Lists as people have them: four forms, odd encodings, and one clear line for what is no list."""

import json

import pytest

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.exposure import readers
from hypnos_bench.exposure.readers import read_list, read_lists

OSF = "patient_pretrain_train_ids.csv"


def written(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def told(file):
    return [(e.role, e.cohort, e.recording, e.person) for e in file.entries]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_osf(tmp_path, end, bom):
    text = end.join(["patient_id", "mros-visit2-AA0006", "", "10_20", "mros-visit2-aa0006", "strange"]) + end
    file = read_list(written(tmp_path, OSF, bom + text.encode()))
    assert (file.format, file.roles, file.repeated, file.unplaced) == ("osf", ("pretrain_train",), 1, ("strange",))
    assert told(file)[:2] == [
        ("pretrain_train", "mros", "mros-visit2-aa0006", "aa0006"),
        ("pretrain_train", "nchsdb", "10_20", "10"),
    ]
    assert file.source.name == OSF
    assert file.source.size == len(bom + text.encode())


def test_osf_role_comes_from_the_name(tmp_path):
    file = read_list(written(tmp_path, "Patient_Downstream_VALID_ids.csv", "patient_id\nshhs1-200001\n"), role="other")
    assert file.roles == ("downstream_valid",)


def test_sleepfm(tmp_path):
    lists = {"pretrain": ["mesa/mesa-sleep-0001.hdf5"], "temporal_test": [], "test": ["SHHS/shhs1/shhs1-200852.hdf5"]}
    file = read_list(written(tmp_path, "dataset_split.json", json.dumps(lists)))
    assert file.format == "sleepfm"
    assert told(file) == [("pretrain", "mesa", "mesa-sleep-0001", "0001"), ("test", "shhs", "shhs1-200852", "200852")]


def test_tables(tmp_path):
    text = "Recording;site;COHORT;role\nmros-visit1-aa0001;x;;seen\n100;y;mitdb;held\n"
    file = read_list(written(tmp_path, "mine.csv", text))
    assert told(file) == [("seen", "mros", "mros-visit1-aa0001", "aa0001"), ("held", "mitdb", "100", "100")]
    file = read_list(written(tmp_path, "persons.tsv", "person\tage\nAA0001\t70\n"), cohort="mros")
    assert told(file) == [("pretrain", "mros", None, "aa0001")]
    file = read_list(written(tmp_path, "own_name.csv", "patient_id\nmros-visit1-aa0001\n"), role="seen")
    assert told(file) == [("seen", "mros", "mros-visit1-aa0001", "aa0001")]


def test_text(tmp_path):
    text = "# seen by us\nmros-visit1-aa0001.edf  # first\n\nn1\n"
    file = read_list(written(tmp_path, "seen.txt", text.encode("utf-16")), cohort="cap")
    # --cohort speaks for ids that do not tell; those that do keep theirs.
    assert told(file) == [("pretrain", "mros", "mros-visit1-aa0001", "aa0001"), ("pretrain", "cap", "n1", "n1")]
    assert read_list(written(tmp_path, "seen.txt", text)).unplaced == ("n1",)


def test_a_stated_cohort_holds_for_ids_that_are_written_otherwise(tmp_path):
    text = "recording,cohort\nshhs1-200001,shhs\nAA0006,mros\nx/AA0007.edf,mros\n10_20,mros\n"
    expected = [("mros", name, name) for name in ("aa0006", "aa0007", "10_20")]
    assert [entry[1:] for entry in told(read_list(written(tmp_path, "a.csv", text)))[1:]] == expected
    file = read_list(written(tmp_path, "a.txt", "AA0006\n200001\nmros-visit1-aa0001\n"), cohort="mros")
    assert [entry[1:] for entry in told(file)] == [
        ("mros", "aa0006", "aa0006"), ("mros", "200001", "200001"), ("mros", "mros-visit1-aa0001", "aa0001")
    ]  # fmt: skip
    assert not file.unplaced


BROKEN = [
    (OSF, "patient\nshhs1-200001\n", ":1: expected the one column patient_id, found patient"),
    (OSF, "patient_id,age\nshhs1-200001,3\n", ":1: expected the one column patient_id, found patient_id, age"),
    (OSF, "patient_id\nshhs1-200001\nshhs1-200002,9\n", ":3: expected one id, found 2 columns"),
    (OSF, "", ":1: expected the one column patient_id, found nothing"),
    (OSF, "patient_id\n", "holds no id"),
    (OSF, b"patient_id\nshhs1-200001\n\xe4\n", ":3: not UTF-8 text"),
    (OSF, b"patient_id\nshhs1-\x00\n", ":2: holds a zero byte"),
    (OSF, 'patient_id\n"shhs1', "not a readable table"),
    (OSF, "patient_id\n" + "x" * 301 + "\n", ":2: an id of 301 characters"),
    ("a.csv", "name\nx\n", ":1: expected one column 'recording' or one column 'person'"),
    ("a.csv", "recording,person\nx,y\n", "found recording, person"),
    ("a.csv", "recording,recording\nx,y\n", "found recording, recording"),
    ("a.csv", "recording,role\nx\n", ":2: 1 columns, the header has 2"),
    ("a.csv", "recording,role\nx,a\n,b\n", ":3: the id is empty"),
    ("a.csv", "recording,cohort\nx,mross\n", ":2: unknown cohort 'mross'. Did you mean 'mros'?"),
    (
        "a.csv",
        "recording,cohort\nshhs1-200001,mros\n",
        ":2: 'shhs1-200001' is an id of shhs, but stands there as one of",
    ),
    ("a.csv", "recording,cohort\n/,mros\n", ":2: '/' is no id"),
    ("a.csv", "person\naa0001\n", ":2: whose person is 'aa0001'?"),
    ("a.txt", "a\nb, c\n", ":2: one id per line"),
    ("a.xlsx", "x", ".xlsx is no list of ids"),
    ("a.json", '{"pretrain": [\n"x",]}', ":2: not JSON"),
    ("a.json", "[" * 100_000, "not a list of ids"),
    ("a.json", "[]", "expected a JSON object"),
    ("a.json", '{"pretrian": []}', "unknown list 'pretrian'. Did you mean 'pretrain'?"),
    ("a.json", '{"BAS": ["C3"]}', "unknown list 'BAS'"),
    ("a.json", '{"test": "x"}', "test is not a list"),
    ("a.json", '{"test": ["x", 3]}', "test, entry 2: expected a path, found '3'"),
    ("a.json", '{"test": [], "test": ["x"]}', "'test' is there twice"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_list_gets_one_line(tmp_path, name, content, message):
    path = written(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        read_list(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_missing_files_folders_and_giants(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="gone.csv: cannot be read"):
        read_list(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="is not a file"):
        read_list(tmp_path)
    monkeypatch.setattr(readers, "MAX_BYTES", 20)
    with pytest.raises(DataError, match="too many for a list"):
        read_list(written(tmp_path, OSF, "patient_id\nshhs1-200001\n"))
    with pytest.raises(UsageError, match="--cohort: unknown cohort 'mross'"):
        read_list(tmp_path / "a.csv", cohort="mross")


def test_of_a_folder_only_what_is_named_as_a_list(tmp_path):
    written(tmp_path, f"osf/{OSF}", "patient_id\nshhs1-200001\n")
    written(tmp_path, "sleepfm/dataset_split.json", '{"test": ["mesa-sleep-0001"]}')
    written(tmp_path, "sleepfm/channel_groups.json", '{"BAS": ["C3"]}')
    found = read_lists(tmp_path)
    assert [file.format for file in found.files] == ["osf", "sleepfm"]
    assert [path.name for path in found.paths] == [OSF, "dataset_split.json"]
    assert [path.name for path in found.passed_over] == ["channel_groups.json"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no patient_..._ids.csv"):
        read_lists(tmp_path / "empty")


def test_the_shared_lists_hold_what_the_sheets_say(shared_data):
    files = read_lists(shared_data / "splits").files
    assert not any(file.unplaced or file.repeated for file in files)
    counts = {role: sum(e.role == role for f in files for e in f.entries) for f in files for role in f.roles}
    assert counts == {
        "pretrain_train": 11826, "pretrain_valid": 1478, "pretrain_test": 1478,
        "downstream_train": 5360, "downstream_valid": 670, "downstream_test": 670,
        "pretrain": 5087, "train": 435, "validation": 28, "test": 436, "external_validation": 2000,
    }  # fmt: skip
