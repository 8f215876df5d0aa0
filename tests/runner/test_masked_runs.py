"""Modalities that are masked: heads fitted on masked recordings, or tested on them only; on the same recordings."""

import json
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.cohorts.writers.mros import write_mros_tree
from hypnos_bench.errors import UsageError
from hypnos_bench.runner import RunRequest
from hypnos_bench.signals.kinds import MODALITIES, SETTINGS, parse_modalities
from hypnos_bench.spec import Shots
from hypnos_bench.taskfiles import load_task

TOY = "toys.py:Montage"


@pytest.fixture(scope="module")
def mros(tmp_path_factory):
    root = tmp_path_factory.mktemp("nsrr")
    write_mros_tree(root, n_persons=6, hours=0.1, seed=3)
    return root


@pytest.fixture
def run(place, no_pages, mros):
    def command(*more, task="staging-wake", encoder=TOY):
        fixed = ["--cohort", "mros", "--root", str(mros), "--encoder", encoder, "--head", "lda", "--split", "cv5"]
        return run_command(["run", task, *fixed, *more])

    return command


def variants(toy):
    """Cells by what the encoder kept and what the head was tested on."""
    return {
        (tuple(c["spec"]["encoder"]["settings"].get("keep", ())), tuple(c["spec"]["inputs"]["tested_on"])): c
        for c in toy.cells().values()
    }


def test_each_subset_stands_beside_the_whole_as_another_encoder(run, toy):
    assert run("--modalities", "eog,eeg", "--modalities", "in-home", "--modalities", "all") == 0
    assert set(variants(toy)) == {((), ()), (("eeg", "eog"), ()), (("emg", "resp"), ())}
    assert len(list(Path("results").glob("embeddings/mros/*"))) == 3


def test_masked_at_test_only_is_the_whole_encoder_tested_on_masked_rows(run, toy, monkeypatch):
    from hypnos_bench.runner import common

    built, make = [], common.probe_data

    def keep(*words, **more):
        built.append(make(*words, **more))
        return built[-1]

    monkeypatch.setattr("hypnos_bench.runner.work.probe_data", keep)
    assert run("--modalities", "eeg", "--masking", "test", "--masking", "refit") == 0
    found = variants(toy)
    assert set(found) == {((), ()), (("eeg",), ()), ((), ("eeg",))}
    whole, at_test = found[(), ()], found[(), ("eeg",)]
    assert at_test["spec"]["encoder"] == whole["spec"]["encoder"]
    assert len({json.dumps(c["n"]["common"]) for c in found.values()}) == 1
    data = next(data for data in built if data.tested is not None)
    index = np.arange(len(data.targets))
    rows = [np.empty(source.shape, np.float32) for source in (data.features(index), data.tested_features(index))]
    for source, out in zip((data.features(index), data.tested_features(index)), rows, strict=True):
        source.read_into(0, out)
    eeg = [0, 1]
    assert (rows[0][:, 2:] != 0).any()
    assert not rows[1][:, 2:].any()
    np.testing.assert_array_equal(rows[0][:, eeg], rows[1][:, eeg])


def test_what_masking_loses_is_lost_for_all(run, toy, mros, capsys):
    """One recording has no ECG left: nobody is compared on it."""
    source = Path("toys.py").read_text()
    refuse = 'if self.lonely and there[:5].sum() == 0 and "aa0003" in recording.id:\n            there[:] = 0'
    source = source.replace("        if not there.any():", f"        {refuse}\n        if not there.any():").replace(
        "    def __init__(self, options):", "    lonely = True\n\n    def __init__(self, options):"
    )
    Path("toys.py").write_text(source)
    assert run("--modalities", "ecg") == 0
    assert f"{TOY} [ecg] lost 2 of 12 recordings (no channel is left)" in capsys.readouterr().err
    found = variants(toy)
    assert {c["n"]["recordings_test"] for c in found.values()} == {10}
    reasons = {e["reason"] for e in found[(), ()]["n"]["excluded"]}
    assert reasons == {"not embedded by toy-montage [ecg]: no channel is left"}


def test_a_plan_names_the_variants(run, capsys):
    assert run("--modalities", "head-band", "--masking", "test", "--dry-run", "--json") == 0
    names = {c["encoder"] for c in json.loads(capsys.readouterr().out)["cells"]}
    assert names == {TOY, f"{TOY} [eeg, eog, emg at test only]"}


def test_the_order_in_which_modalities_are_named_says_nothing(tmp_path):
    def kept(*subsets):
        words = (load_task("staging"), ("mros",), (TOY,), (Shots.parse("100%"),), tmp_path)
        return RunRequest(*words, modalities=subsets).modalities

    assert kept(("eog", "eeg")) == kept(("eeg", "eog", "eeg"), ("eog", "eeg")) == (("eeg", "eog"),)
    with pytest.raises(UsageError, match="no modality"):
        kept(("brain",))


def test_demographics_are_never_masked(run, toy):
    assert run("--modalities", "eeg", "--masking", "test", "--masking", "refit", "--head", "ridge", task="age") in (
        0,
        2,
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--modalities", "eeg", "--encoder", "precomputed:."], "has been embedded elsewhere"),
        (["--modalities", "brain"], "'brain' is no modality"),
        (["--modalities", "head-bend"], "Did you mean 'head-band'?"),
        (["--masking", "test"], "name some, as in --modalities eeg,eog"),
    ],
)
def test_what_cannot_be_masked_is_refused(run, capsys, words, said):
    np.savez("mros-visit1-aa0001.npz", X=np.zeros((12, 2), np.float32), start_s=0.0, step_s=30.0)
    assert run(*words) == 2
    assert said in capsys.readouterr().err
    assert not Path("results").exists()


def test_settings_are_osfs_four_with_emg_in_all():
    assert {name: set(MODALITIES) - set(s.keep) for name, s in SETTINGS.items()} == {
        "head-band": {"ecg", "resp"},
        "sleep-disorder": {"eeg", "eog"},
        "micro-architecture": {"resp"},
        "in-home": {"eeg", "eog", "ecg"},
    }
    assert all(s.citation and "inferred" in s.note for s in SETTINGS.values())
    assert parse_modalities(" EOG, eeg,eog") == ("eeg", "eog")
    assert parse_modalities("all") is None
    with pytest.raises(UsageError, match="no modality"):
        parse_modalities("eeg,")
