"""Ids in lists: the forms that the world writes, and agreement with how this suite names recordings and persons."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.base import CohortOptions
from hypnos_bench.cohorts.registry import CARD_IDS, COHORTS
from hypnos_bench.cohorts.writers.trees import TREES, write_tree
from hypnos_bench.exposure.ids import ENDINGS, FOLDERS, NAMED, OWN_IDS, Place, place

FORMS = [
    ("shhs1-200001", "shhs", "shhs1-200001", "200001"),
    ("shhs2-200001", "shhs", "shhs2-200001", "200001"),
    ("SHHS/shhs1/shhs1-200852.hdf5", "shhs", "shhs1-200852", "200852"),
    ("mros-visit1-AA0021", "mros", "mros-visit1-aa0021", "aa0021"),
    ("mros/visit2/mros-visit2-aa3170.hdf5", "mros", "mros-visit2-aa3170", "aa3170"),
    ("mesa/mesa-sleep-5179.hdf5", "mesa", "mesa-sleep-5179", "5179"),
    ("wsc-visit1-10119", "wsc", "wsc-visit1-10119-nsrr", "10119"),
    ("polysomnography/wsc-visit3-10119-nsrr.edf", "wsc", "wsc-visit3-10119-nsrr", "10119"),
    ("chat-baseline-300001", "chat", "chat-baseline-300001", "300001"),
    ("chat-followup-300001", "chat", "chat-followup-300001", "300001"),
    ("chat-baseline-nonrandomized-300506", "chat", "chat-baseline-nonrandomized-300506", "300506"),
    ("sof-visit-8-00020", "sof", "sof-visit-8-00020", "00020"),
    ("cfs-visit5-800002", "cfs", "cfs-visit5-800002", "800002"),
    ("cfs-visit5-800002-famID12.edf", "cfs", "cfs-visit5-800002", "800002"),
    ("ccshs-trec-1800001", "ccshs", "ccshs-trec-1800001", "1800001"),
    ("10000_17728", "nchsdb", "10000_17728", "10000"),
    ("homepap-lab-split-1600001", "homepap", "homepap-lab-split-1600001", "1600001"),
    ("abc-month09-900001", "abc", "abc-month09-900001", "900001"),
    ("apples-130001", "apples", "apples-130001", None),  # its tables say who is who
    ("ssc/ssc_1558_2-nsrr.edf", "mnc", "ssc_1558_2-nsrr", "ssc_1558"),
    ("GSSA00001", "stages", "gssa00001", "gssa00001"),
    ("SC4001E0-PSG.edf", "sleep-edf", "sc4001", "sc400"),
    ("tr03-0005.mat", "physionet-2018", "tr03-0005", "tr03-0005"),
    ("shhs1-200001-nsrr.xml", "shhs", "shhs1-200001", "200001"),
    ("shhs1-200001-profusion.xml", "shhs", "shhs1-200001", "200001"),
    ("emb/mros-visit1-aa0021_emb.npy", "mros", "mros-visit1-aa0021", "aa0021"),
    ("SC4001E0_embeddings.h5", "sleep-edf", "sc4001", "sc400"),
    (r"C:\data\mros-visit1-aa0021.EDF", "mros", "mros-visit1-aa0021", "aa0021"),
]


@pytest.mark.parametrize(("text", "cohort", "recording", "person"), FORMS, ids=[form[0] for form in FORMS])
def test_forms_of_the_world(text, cohort, recording, person):
    assert place(text) == place(text, cohort) == Place(cohort, recording, person)


@settings(max_examples=60, deadline=None)
@given(
    form=st.sampled_from([form for form in FORMS if "/" not in form[0] and "\\" not in form[0]]),
    folders=st.lists(st.sampled_from(["data", "Visit 1", "a.b", "x-1"]), max_size=3),
    suffix=st.sampled_from(["", ".h5", ".HDF5", ".npy", ".edf.gz", ".safetensors"]),
    change=st.sampled_from([str, str.upper, str.lower]),
    blanks=st.sampled_from(["", " ", "\t"]),
)
def test_folders_suffixes_case_and_blanks_change_nothing(form, folders, suffix, change, blanks):
    text = "/".join([*folders, change(form[0].partition(".")[0])]) + suffix
    assert place(f"{blanks}{text}{blanks}") == place(form[0])


@pytest.mark.parametrize(
    "text",
    ["", " ", "/", "mros/", "aa0021", "mros-visit3-aa0021", "shhs1-20001", "shhs1-2000011", "a01", "100", "n1", "nobody",
     "mros-visit1-aa0021x", "xshhs1-200001", "10000-17728", "mesa-sleep-५179"],
)  # fmt: skip
def test_what_fits_no_rule_is_not_placed(text):
    assert place(text) is None


def test_ids_that_could_be_of_many_cohorts_need_theirs():
    assert place("a01", "apnea-ecg") == Place("apnea-ecg", "a01", None)  # tables say who is who
    assert place("100.hea", "mitdb") == Place("mitdb", "100", "100")
    assert place("N12", "mnc") == Place("mnc", "n12-nsrr", "n12")
    assert place("mros-visit1-aa0021", "shhs") is None
    assert place("sub/Night 3.edf", "edf-folder") == Place("edf-folder", "night 3", None)


@pytest.mark.parametrize("cohort", sorted(TREES))
def test_the_suites_own_recordings_are_placed_as_the_cohort_says(cohort, tmp_path):
    write_tree(cohort, tmp_path, n_persons=1)
    recordings = COHORTS.load(cohort).open(CohortOptions(root=tmp_path)).recordings
    assert recordings
    for recording in recordings:
        found = place(recording.id, cohort)
        assert (found.cohort, found.recording) == (cohort, recording.id.casefold())
        assert found.person in (recording.person, None)
        path = getattr(recording.signals, "path", None)
        if cohort in NAMED and cohort != "mnc":
            assert place(recording.id) == found
            assert place(str(path)) == found


def test_the_tables_speak_of_packaged_cards():
    assert {*NAMED, *ENDINGS, *FOLDERS, *OWN_IDS} <= {*CARD_IDS}
    assert len(set(NAMED)) == len(NAMED)
