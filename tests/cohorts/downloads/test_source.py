from __future__ import annotations

import re
from dataclasses import fields

import pytest

from hypnos_bench.cohorts.downloads.source import Download, load_source, parse_download, source_ids
from hypnos_bench.cohorts.downloads.steps import instructions, page, terms
from hypnos_bench.errors import UsageError

OPEN = [
    "sleep-edf",
    "hmc",
    "dod-o",
    "dod-h",
    "cap",
    "ucddb",
    "slpdb",
    "afdb",
    "ltafdb",
    "shdb-af",
    "cpsc2021",
    "cinc2017",
    "mitdb",
    "ptb-xl",
    "apnea-ecg",
    "physionet-2018",
]
NSRR = [
    "mros",
    "shhs",
    "mesa",
    "cfs",
    "chat",
    "ccshs",
    "sof",
    "wsc",
    "stages",
    "homepap",
    "nchsdb",
    "mnc",
    "apples",
    "abc",
]
BY_HAND = ["hsp", "mass", "isruc"]

GOOD = {"kind": "physionet", "url": "https://x/", "licence": "l", "citation": "c", "recordings": r"^(?P<id>\d+)\."}


def test_every_cohort_has_a_source_of_its_kind() -> None:
    assert source_ids() == sorted([*OPEN, *NSRR, *BY_HAND])
    assert [name for name in source_ids() if load_source(name).open] == sorted(OPEN)
    assert {load_source(name).kind for name in NSRR} == {"nsrr"}
    assert {load_source(name).kind for name in BY_HAND} == {"agreement"}


@pytest.mark.parametrize("name", [*OPEN, *NSRR, *BY_HAND])
def test_every_source_shows_licence_and_citation(name: str) -> None:
    licence, citation = terms(load_source(name))
    assert len(licence) > 8
    assert len(citation) > 40
    assert page(load_source(name)).startswith("https://")


@pytest.mark.parametrize(
    ("name", "path", "recording"),
    [
        ("sleep-edf", "sleep-cassette/SC4001E0-PSG.edf", "SC4001"),
        ("sleep-edf", "sleep-cassette/SC4001EC-Hypnogram.edf", "SC4001"),
        ("sleep-edf", "sleep-telemetry/ST7011JP-Hypnogram.edf", "ST7011"),
        ("sleep-edf", "SC-subjects.xls", None),
        ("hmc", "recordings/SN001_sleepscoring.edf", "SN001"),
        ("dod-o", "dodo/0d79f4b1-e74f-4e87-8e42-f9dd7112ada5.h5", "0d79f4b1-e74f-4e87-8e42-f9dd7112ada5"),
        ("dod-h", "dodh/63b799f6.h5", "63b799f6"),
        ("cap", "nfle12.edf", "nfle12"),
        ("cap", "n1.txt", "n1"),
        ("cap", "gender-age.xlsx", None),
        ("ucddb", "ucddb002_stage.txt", "ucddb002"),
        ("ucddb", "ucddb002.rec", "ucddb002"),
        ("ucddb", "SubjectDetails.xls", None),
        ("slpdb", "slp67x.dat", "slp67x"),
        ("slpdb", "slp01a.st", "slp01a"),
        ("afdb", "04015.atr", "04015"),
        ("ltafdb", "00.dat", "00"),
        ("ltafdb", "100.dat", "100"),
        ("shdb-af", "001.atr", "001"),
        ("shdb-af", "AdditionalData.csv", None),
        ("cpsc2021", "Training_set_II/data_54_3.dat", "data_54_3"),
        ("cinc2017", "training/A00/A00001.mat", "A00001"),
        ("cinc2017", "training/A00001.mat", "A00001"),
        ("mitdb", "201.atr", "201"),
        ("ptb-xl", "records100/00000/00001_lr.dat", "00001"),
        ("ptb-xl", "records500/00000/00001_hr.hea", "00001"),
        ("ptb-xl", "ptbxl_database.csv", None),
        ("apnea-ecg", "a01.apn", "a01"),
        ("apnea-ecg", "additional-information.txt", None),
        ("physionet-2018", "training/tr03-0005/tr03-0005-arousal.mat", "tr03-0005"),
        ("physionet-2018", "age-sex.csv", None),
    ],
)
def test_files_belong_to_their_recording_and_are_wanted(name: str, path: str, recording: str | None) -> None:
    source = load_source(name)
    match = re.search(source.recordings, path)
    assert (match["id"] if match else None) == recording
    assert not source.include or any(re.search(p, path) for p in source.include)
    assert not any(re.search(p, path) for p in source.exclude)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("afdb", "old/04015.atr"),
        ("apnea-ecg", "a01er.dat"),
        ("apnea-ecg", "a01r.hea"),
        ("cinc2017", "validation/A00001.mat"),
        ("cinc2017", "training2017.zip"),
        ("mitdb", "x_mitdb/x_108.dat"),
        ("physionet-2018", "test/te03-0001/te03-0001.mat"),
        ("physionet-2018", "new-arousals.zip"),
        ("sleep-edf", "index.html"),
        ("ucddb", "ucddb002_lifecard.edf"),
    ],
)
def test_what_nothing_reads_is_left_out(name: str, path: str) -> None:
    source = load_source(name)
    included = not source.include or any(re.search(p, path) for p in source.include)
    assert not included or any(re.search(p, path) for p in source.exclude)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"licens": "x"}, "Did you mean 'licence'?"),
        ({"kind": "physionets"}, "Did you mean 'physionet'?"),
        ({"kind": None}, "kind is 'None'"),
        ({"url": ""}, "'url' is missing"),
        ({"steps": ["a"]}, "'steps' does not go with kind 'physionet'"),
        ({"include": "abc"}, "include must be a list of strings"),
        ({"recordings": "("}, "is no regex"),
        ({"recordings": "a"}, "has no group named 'id'"),
        ({"about_gb": "8"}, "about_gb must be a positive number"),
        ({"about_gb": True}, "about_gb must be a positive number"),
        ({"url": 3}, "url must be a string"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(change: dict[str, object], message: str) -> None:
    table = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(UsageError) as caught:
        parse_download(table, "card.toml [download]")
    assert str(caught.value).startswith("card.toml [download]: ")
    assert message in str(caught.value)


def test_a_good_table_keeps_every_value() -> None:
    source = parse_download({**GOOD, "include": ["a", "b"], "into": "x", "about_gb": 2}, "t")
    assert source == Download(**{**GOOD, "include": ("a", "b"), "into": "x", "about_gb": 2})
    assert {f.name for f in fields(Download)} >= set(GOOD)


def test_an_unknown_cohort_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="Did you mean 'sleep-edf'"):
        load_source("sleepedf")


@pytest.mark.parametrize("name", NSRR)
def test_nsrr_steps_name_account_request_token_folders_and_the_command(name: str, tmp_path) -> None:
    text = "\n".join(instructions(load_source(name), name, tmp_path))
    for word in (
        "account",
        f"https://sleepdata.org/datasets/{name}",
        "token",
        f"nsrr download {name}\n",
        f"cd {tmp_path}",
    ):
        assert word in text
    assert text.endswith(f"--cohort {name} --root {tmp_path} (tasks: hypnos-bench list tasks)")


def test_nsrr_steps_are_the_folders_that_are_read() -> None:
    text = "\n".join(instructions(load_source("mros"), "mros", None))
    for folder in ("edfs/visit1", "edfs/visit2", "annotations-events-nsrr/visit1", "annotations-events-nsrr/visit2"):
        assert f"nsrr download mros/polysomnography/{folder};" in text
    assert "nsrr download mros/datasets" in text
    assert "--root DIR" in text


def test_folders_with_blanks_are_quoted() -> None:
    text = "\n".join(instructions(load_source("stages"), "stages", None))
    assert "nsrr download 'stages/original/STAGES PSGs';" in text


@pytest.mark.parametrize("name", BY_HAND)
def test_steps_by_hand_point_to_the_page_and_name_the_folder(name: str, tmp_path) -> None:
    text = "\n".join(instructions(load_source(name), name, tmp_path))
    assert "dataset page" in text
    assert f"under {tmp_path}" in text
    assert "{root}" not in text
