"""Published lists as a split: whose they are, what they divide, and what of them is missing."""

import pytest

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.exposure import read_split_lists


@pytest.fixture
def lists(tmp_path):
    def write(**ids):
        for name, several in ids.items():
            (tmp_path / f"patient_{name}_ids.csv").write_text("patient_id\n" + "\n".join(several))
        return read_split_lists([tmp_path], "osf")

    return write


def test_cohorts_of_pretraining_and_downstream(lists):
    made = lists(
        pretrain_train=["shhs1-200001"], pretrain_test=["shhs1-200002"], pretrain_valid=["shhs1-200003"],
        downstream_train=["mros-visit1-aa0001"], downstream_test=["mros-visit2-aa0001", "odd"],
    )  # fmt: skip
    assert made.cohorts == ("mros", "shhs")
    shhs, mros = made.sides("shhs"), made.sides("mros")
    assert shhs.side == {"shhs1-200001": "train", "shhs1-200002": "test", "shhs1-200003": "neither"}
    assert (mros.side["mros-visit2-aa0001"], mros.learned, mros.rest_trains) == ("test", {"aa0001"}, False)
    assert mros.role["mros-visit2-aa0001"] == "downstream_test"


def test_what_does_not_divide_a_cohort_is_refused(lists):
    made = lists(downstream_train=["mros-visit1-aa0001"], downstream_valid=["mesa-sleep-0001"])
    with pytest.raises(UsageError, match="shhs: not in the osf lists .*they divide mesa, mros"):
        made.sides("shhs")
    with pytest.raises(UsageError, match="mros: no test side in .*give the file with downstream_test too"):
        made.sides("mros")
    with pytest.raises(UsageError, match="mesa: .* in 0 ways"):
        made.sides("mesa")
    made = lists(pretrain_train=["mros-visit1-aa0002"], pretrain_test=["mros-visit1-aa0003"])
    with pytest.raises(UsageError, match="mros: .* in 2 ways, not one"):
        made.sides("mros")


def test_a_recording_on_two_sides_is_refused(lists):
    made = lists(downstream_train=["mros-visit1-aa0001"], downstream_test=["MrOS-visit1-AA0001.edf"])
    with pytest.raises(DataError, match="mros-visit1-aa0001 is in downstream_test and in downstream_train"):
        made.sides("mros")


def test_no_list_of_this_source(tmp_path, lists):
    lists(downstream_test=["mros-visit1-aa0001"])
    with pytest.raises(
        DataError, match=r"no sleepfm list .*there: patient_downstream_test_ids.csv\); expected dataset_split"
    ):
        read_split_lists([tmp_path], "sleepfm")


def test_the_digest_is_that_of_the_files(tmp_path, lists):
    one = lists(downstream_train=["mros-visit1-aa0001"], downstream_test=["mros-visit1-aa0002"])
    path = tmp_path / "patient_downstream_test_ids.csv"
    assert read_split_lists([tmp_path, path, path], "osf") == one
    elsewhere = tmp_path / "else"
    elsewhere.mkdir()
    for name in ("train", "test"):
        (elsewhere / f"patient_downstream_{name}_ids.csv").write_bytes(
            (tmp_path / f"patient_downstream_{name}_ids.csv").read_bytes()
        )
    assert read_split_lists([elsewhere], "osf").digest == one.digest
    assert read_split_lists([path], "osf").digest != one.digest
    assert lists(downstream_test=["mros-visit1-aa0003"]).digest != one.digest
