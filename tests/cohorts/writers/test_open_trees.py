from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from datetime import time
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cohorts.annotations.dreem import read_dreem_hypnogram
from hypnos_bench.cohorts.annotations.edf_plus import read_edf_plus
from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.remlogic import read_remlogic
from hypnos_bench.cohorts.annotations.runs import hypnogram
from hypnos_bench.cohorts.annotations.stage_list import read_stage_list
from hypnos_bench.cohorts.annotations.ucddb import read_ucddb
from hypnos_bench.cohorts.base import Scoring
from hypnos_bench.cohorts.writers import open_trees
from hypnos_bench.cohorts.writers.synthetic import Written
from hypnos_bench.signals.edf import EdfFile, read_edf_annotations
from hypnos_bench.signals.hdf5_files import Hdf5File, load_hypnogram

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
WRITERS: Mapping[str, Callable[..., tuple[Written, ...]]] = {
    name: getattr(open_trees, name) for name in open_trees.__all__
}


def names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def labels_and_rates(path: Path) -> dict[str, float]:
    """As pyedflib sees them."""
    pyedflib = pytest.importorskip("pyedflib")
    with pyedflib.EdfReader(str(path)) as reader:
        return dict(zip(reader.getSignalLabels(), reader.getSampleFrequencies().tolist(), strict=True))


def annotations(path: Path) -> list[tuple[float, float, str]]:
    """As pyedflib sees them; -1 is no duration."""
    pyedflib = pytest.importorskip("pyedflib")
    with pyedflib.EdfReader(str(path)) as reader:
        return list(zip(*(column.tolist() for column in reader.readAnnotations()), strict=True))


def facts(path: Path) -> Facts:
    file = EdfFile(path)
    return Facts(file.duration_s(), file.start_clock())


def codes(scoring: Scoring, duration_s: float) -> tuple[int, ...]:
    found = hypnogram(scoring.stages, duration_s, page_s=scoring.page_s, pad_s=scoring.pad_s)
    return tuple(found.codes.tolist())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("name", WRITERS)
def test_equal_seeds_give_equal_trees_and_recordings_differ(name: str, tmp_path: Path) -> None:
    first, again, other = (WRITERS[name](tmp_path / str(i), 1, 12, seed) for i, seed in enumerate((3, 3, 4)))
    assert first == again
    assert [w.stages for w in first] != [w.stages for w in other]
    assert len({w.id for w in first}) == len({w.stages for w in first}) == len(first)
    assert all({0, 1, 2, 3, 4} <= set(w.stages) for w in first)
    if "dod" not in name:  # HDF5 holds times
        for path in names(tmp_path / "0"):
            assert (tmp_path / "0" / path).read_bytes() == (tmp_path / "1" / path).read_bytes()


@pytest.mark.parametrize("name", WRITERS)
def test_short_nights_are_written_and_empty_ones_refused(name: str, tmp_path: Path) -> None:
    for n_epochs in (1, 3):
        (first, *_) = WRITERS[name](tmp_path / str(n_epochs), 1, n_epochs)
        assert n_epochs * 30.0 <= first.duration_s
    with pytest.raises(ValueError, match="0 epochs, expected at least 1"):
        WRITERS[name](tmp_path / "0", 1, 0)


@pytest.mark.parametrize("folder", ["dodo", "dodh"])
def test_dod_as_h5py_reads_it(folder: str, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    write = open_trees.write_dod_o_tree if folder == "dodo" else open_trees.write_dod_h_tree
    written = write(tmp_path)
    patterns = (
        rf"{folder}/{UUID}\.h5",
        rf"__MACOSX/{folder}/\._{UUID}\.h5",
        rf"scorers/{folder}/scorer_[1-5]/{UUID}\.json",
    )
    counts = [sum(re.fullmatch(pattern, name) is not None for name in names(tmp_path)) for pattern in patterns]
    assert counts == [2, 2, 10]
    assert sum(counts) == len(names(tmp_path))
    for w, unit in zip(written, ("uV", "V")):
        path = tmp_path / folder / f"{w.id}.h5"
        with h5py.File(path) as file:
            assert set(file["signals"]) == {"eeg", "eog", "emg"}
            assert {"EMG", "ECG"} == set(file["signals/emg"])
            assert ("C4_M1" in file["signals/eeg"]) == (folder == "dodo")
            assert file["signals/eeg/C3_M2"].shape == (14 * 30 * 250,)
            assert file["hypnogram"][:].tolist() == list(w.stages)
        file = Hdf5File(path)
        assert file.duration_s() == w.duration_s == 420.0
        assert file.read("signals/eog/EOG1").unit == unit
        assert codes(read_dreem_hypnogram({"main": load_hypnogram(path)}, Facts(420.0)), 420.0) == w.stages
        scorer = (tmp_path / f"scorers/{folder}/scorer_1/{w.id}.json").read_bytes()
        assert codes(read_dreem_hypnogram({"main": scorer}, Facts(420.0)), 420.0) == w.stages


def test_sleep_edf_has_two_nights_per_person_and_the_scorers_letter(tmp_path: Path) -> None:
    written = open_trees.write_sleep_edf_tree(tmp_path, n_persons=2)
    examples = {"sleep-cassette/SC4001E0-PSG.edf", "sleep-cassette/SC4001EC-Hypnogram.edf"}
    examples |= {"sleep-telemetry/ST7011J0-PSG.edf", "sleep-telemetry/ST7011JP-Hypnogram.edf"}
    assert examples <= names(tmp_path)
    assert [(w.id, w.person, w.visit) for w in written[:3]] == [
        ("SC4001", "SC400", "1"),
        ("SC4002", "SC400", "2"),
        ("SC4011", "SC401", "1"),
    ]
    assert len(written) == 8
    assert {path.name[7] for path in tmp_path.rglob("SC*-Hypnogram.edf")} == {"C", "H"}
    for w in written:
        (psg,), (scored,) = (list(tmp_path.rglob(f"{w.id}*-{what}.edf")) for what in ("PSG", "Hypnogram"))
        found = labels_and_rates(psg)
        assert found["EEG Fpz-Cz"] == found["EOG horizontal"] == 100.0
        assert found["EMG submental"] == (1.0 if w.id.startswith("SC") else 100.0)
        texts = annotations(scored)
        assert texts[-1][2] == "Sleep stage ?"
        assert {"Sleep stage 3", "Sleep stage 4", "Sleep stage R", "Movement time"} <= {text for *_, text in texts}
        scoring = read_edf_plus({"main": read_edf_annotations(scored)}, facts(psg))
        assert codes(scoring, w.duration_s) == w.stages
        assert facts(psg).duration_s == w.duration_s
    home = annotations(tmp_path / "sleep-cassette/SC4001EC-Hypnogram.edf")
    assert home[0][0] == 0
    assert home[0][1] >= 600
    assert home[-1][0] + home[-1][1] > written[0].duration_s


def test_sleep_edf_tables_code_sex_as_the_workbooks_do(tmp_path: Path) -> None:
    written = open_trees.write_sleep_edf_tree(tmp_path, n_persons=2)
    first, *_, last = rows(tmp_path / "SC-subjects.csv")
    assert (first["subject"], first["night"], first["sex (F=1)"]) == ("0", "1", "1")
    assert (last["subject"], last["night"], last["sex (F=1)"]) == ("1", "2", "2")
    assert [w.covariates["sex"] for w in written[:4]] == ["female", "female", "male", "male"]
    assert float(first["age"]) == written[0].covariates["age"]
    lines = (tmp_path / "ST-subjects.csv").read_text().splitlines()
    assert len(lines) == 2 + 2
    assert lines[2].startswith(f"1,{written[4].covariates['age']:g},")


def test_isruc_has_both_families_of_labels_two_experts_and_30_labels_too_many(tmp_path: Path) -> None:
    written = open_trees.write_isruc_tree(tmp_path, n_persons=2, odd=True)
    found = names(tmp_path)
    assert {"Subgroup_1/1/1.rec", "Subgroup_1/1/1_1.txt", "Subgroup_1/1/1_2.txt", "Subgroup_3/2/2.rec"} <= found
    assert {"Subgroup_2/1/1/1.rec", "Subgroup_2/1/2/2.rec", "Subgroup_2/1/2/2_1.txt"} <= found
    paths = {p.relative_to(tmp_path).as_posix(): labels_and_rates(p) for p in sorted(tmp_path.rglob("*.rec"))}
    assert {"C3-M2", "C4-M1", "E1-M2", "E2-M1", "X1", "X2"} <= set(paths["Subgroup_1/1/1.rec"])
    assert {"C3-A2", "C4-A1", "LOC-A2", "ROC-A1", "F3-A2"} <= set(paths["Subgroup_1/2/2.rec"])
    assert {"C3", "C4", "A1", "A2"} <= set(paths["Subgroup_1/40/40.rec"])
    assert {"C3-A2"} == {label for label in paths["Subgroup_1/8/8.rec"] if label[0] in "CF" and label.endswith("A2")}
    assert {rate for labels in paths.values() for rate in labels.values()} == {200.0}
    assert len(paths) == len(written) == 2 + 2 + 4 + 2
    for w, path in zip(written, (tmp_path / f"Subgroup_{w.person[1]}" for w in written)):
        _, number, stem = w.id.split("-")
        rec = path / number / (stem if w.visit else "") / f"{stem}.rec"
        for expert in (1, 2):
            data = rec.with_name(f"{stem}_{expert}.txt").read_bytes()
            assert len(data.split()) == len(w.stages) + 30
            scoring = read_stage_list({"main": data}, facts(rec), coding="isruc")
            seen = [2 if code == 1 and expert == 2 else code for code in w.stages]
            assert list(codes(scoring, w.duration_s)) == seen


def test_hmc_begins_after_the_signals_and_has_its_scoring_twice(tmp_path: Path) -> None:
    written = open_trees.write_hmc_tree(tmp_path)
    stems = ("SN001.edf", "SN001_sleepscoring.edf", "SN001_sleepscoring.txt")
    assert {f"recordings/{stem}" for stem in stems} <= names(tmp_path)
    labels = ("EEG F4-M1", "EEG C4-M1", "EEG O2-M1", "EEG C3-M2", "EMG chin", "EOG E1-M2", "EOG E2-M2", "ECG")
    for w in written:
        psg = tmp_path / f"recordings/{w.id}.edf"
        assert labels_and_rates(psg) == dict.fromkeys(labels, 256.0)
        scored = psg.with_name(f"{w.id}_sleepscoring.edf")
        texts = annotations(scored)
        assert (3.0, -1.0, "Lights off@@EEG F4-A1") in texts
        assert min(start_s for start_s, _, text in texts if "stage" in text) == 15.0
        assert {text for *_, text in texts if "stage" in text} == {
            f"Sleep stage {n}" for n in ("W", "N1", "N2", "N3", "R")
        }
        assert codes(read_edf_plus({"main": read_edf_annotations(scored)}, facts(psg)), w.duration_s) == w.stages
        lines = scored.with_suffix(".txt").read_text().splitlines()
        assert lines[0] == "Date, Time, Recording onset, Duration, Annotation, Linked channel"
        assert lines[1].endswith(", 3, 0, Lights off, EEG F4-A1")
        assert [line.split(", ")[4] for line in lines[2:]] == [text for *_, text in texts if "stage" in text]


def test_cap_groups_take_turns_and_exports_differ(tmp_path: Path) -> None:
    written = open_trees.write_cap_tree(tmp_path, n_persons=9)
    assert [w.id for w in written] == ["n1", "nfle1", "rbd1", "plm1", "ins1", "narco1", "sdb1", "brux1", "n2"]
    assert names(tmp_path) == {f"{w.id}{suffix}" for w in written for suffix in (".edf", ".txt")}
    rates = {rate for w in written for rate in labels_and_rates(tmp_path / f"{w.id}.edf").values()}
    assert min(rates) == 100.0
    assert max(rates) == 512.0
    for i, w in enumerate(written):
        text = (tmp_path / f"{w.id}.txt").read_text()
        header = next(line for line in text.splitlines() if line.startswith("Sleep Stage"))
        columns = ["Sleep Stage", "Position", "Time [hh:mm:ss]", "Event", "Duration[s]", "Location"]
        assert header.split("\t") == [column for column in columns if column != "Position" or i % 2 == 0]
        assert bool(re.search(r"\t00\.\d\d\.\d\d\t", text)) == (i % 2 == 1)
        assert {"SLEEP-S0", "SLEEP-S4", "SLEEP-REM", "MCAP-A1", "MCAP-A2"} <= set(text.split("\t"))
        known = facts(tmp_path / f"{w.id}.edf")
        assert known.start == time(23, 58, 13)
        scoring = read_remlogic({"main": text.encode()}, known)
        assert codes(scoring, w.duration_s) == w.stages
        assert scoring.events == w.events
        assert scoring.stages[0].start_s == 27.0


def test_mass_pages_are_of_30_and_20_s_and_a_little_short(tmp_path: Path) -> None:
    written = open_trees.write_mass_tree(tmp_path)
    assert {"SS01/01-01-0001 PSG.edf", "SS01/01-01-0001 Annotations.edf", "SS01/01-01-0002_Annotations.edf"} <= names(
        tmp_path
    )
    assert {"SS02/01-02-0001 Base.edf", "SS04/01-04-0002_Base.edf", "SS03/01-03-0001 Annotations.edf"} <= names(
        tmp_path
    )
    assert len(names(tmp_path)) == 2 * len(written) == 20
    for w in written:
        folder, rk = tmp_path / f"SS{w.id[3:5]}", w.id[4] in "245"
        psg = folder / f"{w.id} PSG.edf"
        (scored,) = folder.glob(f"{w.id}*{'Base' if rk else 'Annotations'}.edf")
        found = labels_and_rates(psg)
        assert set(found.values()) == {256.0}
        assert {"EOG Left Horiz", "EOG Right Horiz", "EMG Chin1", "EMG Chin2", "EMG Chin3"} <= set(found)
        assert ("EEG C3-LER" in found) == (w.id[4] == "2")
        assert ("Resp Belt Abdo" in found) == (w.id[4] == "1")
        assert "EEG A2-CLE" in found or w.id[4] in "245"
        page_s, pad_s = (20.0, 5.0) if rk else (30.0, 0.0)
        texts = annotations(scored)
        assert texts[0][0] == 1.5
        assert {round(page_s - length_s, 6) for _, length_s, _ in texts} == {0.007812}
        assert ("Sleep stage 4" in {text for *_, text in texts}) == rk
        scoring = read_edf_plus({"main": read_edf_annotations(scored)}, facts(psg), page_s=page_s, pad_s=pad_s)
        assert codes(scoring, w.duration_s) == w.stages
        onsets = hypnogram(scoring.stages, w.duration_s, page_s=scoring.page_s, pad_s=scoring.pad_s).start_s
        np.testing.assert_allclose(onsets, np.array([start_s for start_s, *_ in texts]) - pad_s, atol=1e-3)


def test_ucddb_has_the_event_table_the_holter_and_the_twin_of_its_table(tmp_path: Path) -> None:
    written = open_trees.write_ucddb_tree(tmp_path, n_persons=3)
    endings = (".rec", "_stage.txt", "_respevt.txt", "_lifecard.edf")
    expected = {f"ucddb{number}{ending}" for number in ("002", "003", "005") for ending in endings}
    assert names(tmp_path) == expected | {"SubjectDetails.csv"}
    table = {row["Study Number"]: row for row in rows(tmp_path / "SubjectDetails.csv")}
    for w in written:
        found = labels_and_rates(tmp_path / f"{w.id}.rec")
        assert " ".join(found) == "Lefteye RightEye EMG C3A2 C4A1 ECG SpO2 Sound Flow Sum ribcage abdo BodyPos Pulse"
        assert {label: found[label] for label in ("C3A2", "ECG", "Lefteye", "EMG", "ribcage")} == {
            "C3A2": 128.0, "ECG": 128.0, "Lefteye": 64.0, "EMG": 64.0, "ribcage": 8.0,
        }  # fmt: skip
        events = (tmp_path / f"{w.id}_respevt.txt").read_bytes()
        assert events.endswith(b"\x1a")
        assert b"POSSIBLE" in events
        assert b"PB" in events
        stages = (tmp_path / f"{w.id}_stage.txt").read_bytes()
        assert set(stages.split()) == set(b"0 1 2 3 4 5".split())
        known = facts(tmp_path / f"{w.id}.rec")
        scoring = read_ucddb({"main": stages, "respevt": events}, known)
        assert codes(scoring, w.duration_s) == w.stages
        assert scoring.events == w.events
        assert not scoring.unknown
        row, covariates = table[w.id.upper()], w.covariates
        assert (float(row["Age"]), float(row["BMI"])) == (covariates["age"], covariates["bmi"])
        assert {"M": "male", "F": "female"}[row["Gender"]] == covariates["sex"]
        assert facts(tmp_path / f"{w.id}_lifecard.edf").start == time(0)
    assert {w.covariates["sex"] for w in written} == {"male", "female"}


def test_signals_can_be_told_apart(tmp_path: Path) -> None:
    """A reader that mixes channels up would show: no two of a file are equal, and stages show in the EEG."""
    (w,) = open_trees.write_hmc_tree(tmp_path, 1)
    file = EdfFile(tmp_path / f"recordings/{w.id}.edf")
    values = {channel.label: file.read(channel.label).values for channel in file.channels()}
    labels = list(values)
    for i, label in enumerate(labels):
        assert all(not np.allclose(values[label], values[other], rtol=0.01) for other in labels[i + 1 :])
    eeg = values["EEG C4-M1"][15 * 256 : (15 + len(w.stages) * 30) * 256].reshape(len(w.stages), -1).std(axis=1)
    deep = np.array(w.stages) == 3
    assert eeg[deep].min() > eeg[~deep].max()
