"""``hypnos-bench synthesize``: two files that say what they are, and mistakes in one line."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pyedflib
import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.cli.synthesize import _draw_trace, _Trace


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    from hypnos_bench.hypnos import write_random_bundle

    return write_random_bundle(tmp_path_factory.mktemp("weights") / "hypnos.safetensors", seed=3)


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYPNOS_BENCH_WEIGHTS", raising=False)


def run(*words, weights=None):
    chosen = ["--untrained"] if weights is None else ["--weights", str(weights)]
    return run_command(["synthesize", *chosen, "--device", "cpu", *words])


def signal_of(weights, **options):
    """What the library gives."""
    import torch

    from hypnos_bench.hypnos import load_model, synthesize

    generator = torch.Generator().manual_seed(options.pop("seed"))
    return synthesize(*load_model(weights), generator=generator, **options)


def as_trained(weights, path):
    """The same weights in a file that does not call itself untrained."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(weights, "pt") as file:
        marks = file.metadata()
    save_file(load_file(weights), path, {k: v for k, v in marks.items() if k != "untrained"})
    return path


def test_the_edf_file_holds_what_the_library_generates(weights, tmp_path, capsys):
    words = ["--modality", "resp_thx", "--modality", "ecg", "--seconds", "12", "--seed", "5", "--temperature", "0.9"]
    assert run(*words, "--top-k", "20", "--top-p", "0.8", "--out", "made", weights=weights) == 0
    out, err = capsys.readouterr()
    stem = "synthetic-resp_thx-ecg-seed5"
    assert out.splitlines() == [f"made/{stem}.edf", f"made/{stem}.png"]
    assert "cpu: asked for" in err
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == [f"{stem}.edf", f"{stem}.png"]
    asked = ["resp_thx", "ecg"]
    expected = signal_of(weights, modalities=asked, num_steps=12, temperature=0.9, top_k=20, top_p=0.8, seed=5)
    with pyedflib.EdfReader(f"made/{stem}.edf") as file:
        assert file.getSignalLabels() == ["THX", "ECG"]
        assert [file.getSampleFrequency(i) for i in range(2)] == [32, 128]
        assert {file.getPhysicalDimension(i) for i in range(2)} == {"z-score"}
        for i, name in enumerate(asked):
            step = 2 * file.getPhysicalMaximum(i) / 65534
            np.testing.assert_allclose(file.readSignal(i), expected[name], atol=step)


@pytest.mark.parametrize("trained", [False, True])
def test_the_header_says_synthetic(weights, tmp_path, trained, capsys):
    bundle = as_trained(weights, tmp_path / "trained.safetensors") if trained else weights
    assert run("--modality", "ecg", "--seconds", "8", weights=bundle) == 0
    with pyedflib.EdfReader("synthetic/synthetic-ecg-seed0.edf") as file:
        assert file.filetype == pyedflib.FILETYPE_EDFPLUS
        assert file.getAdmincode() == ("synthetic" if trained else "synthetic untrained")
        assert file.getEquipment() == "hypnos-bench"
        start, duration, text = (part[0] for part in file.readAnnotations())
        assert (start, duration) == (0, 8)
        drawn = "seed 0, temperature 0.7, top-k 0, top-p 0.95"
        own = ("" if trained else "UNTRAINED ") + f"weights {hashlib.sha256(bundle.read_bytes()).hexdigest()[:12]}"
        assert text == f"synthetic signal, not a recording; {drawn}, {own}"
    assert ("weights are random" in capsys.readouterr().err) is not trained


@pytest.mark.parametrize("trained", [False, True])
def test_the_picture_says_synthetic(weights, tmp_path, monkeypatch, trained):
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **kw: (drawn.append(self), save(self, *a, **kw))[1])
    bundle = as_trained(weights, tmp_path / "trained.safetensors") if trained else weights
    assert run("--modality", "ecg", "--modality", "eeg_c3", "--seconds", "10", weights=bundle) == 0
    assert (tmp_path / "synthetic/synthetic-ecg-eeg_c3-seed0.png").read_bytes().startswith(b"\x89PNG")
    (figure,) = drawn
    title = figure.get_suptitle()
    assert title.startswith("synthetic signal, not a recording\nseed 0, temperature 0.7, top-k 0, top-p 0.95, ")
    assert title.endswith(f"weights {hashlib.sha256(bundle.read_bytes()).hexdigest()[:12]}")
    assert ("UNTRAINED" in title) is not trained
    assert [axis.get_ylabel() for axis in figure.axes] == ["ECG\n(z)", "C3\n(z)"]
    assert figure.axes[-1].get_xlabel() == "time (s)"
    expected = signal_of(weights, modalities=["ecg", "eeg_c3"], num_steps=10, seed=0)
    for axis, signal in zip(figure.axes, expected.values(), strict=True):
        line = axis.lines[0]
        np.testing.assert_array_equal(line.get_ydata(), signal)
        np.testing.assert_allclose(line.get_xdata(), np.arange(1280) / 128)
        assert axis.get_xlim() == (0, 10)


def test_all_modalities_without_weights(tmp_path, capsys):
    assert run("--seconds", "7") == 0
    assert "the weights are random" in capsys.readouterr().err
    with pyedflib.EdfReader("synthetic/synthetic-seed0.edf") as file:
        assert file.getSignalLabels() == ["C3", "C4", "E1", "E2", "Chin", "ECG", "ABD", "THX"]
        assert file.getFileDuration() == 7
    first = (tmp_path / "synthetic/synthetic-seed0.edf").read_bytes()
    assert run("--seconds", "7", "--out", "again") == 0
    assert (tmp_path / "again/synthetic-seed0.edf").read_bytes() == first
    assert run("--seconds", "7", "--seed", "1") == 0
    assert (tmp_path / "synthetic/synthetic-seed1.edf").read_bytes() != first


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--modality", "eeg_c33"], 2, "Did you mean 'eeg_c3'?"),
        (["--seconds", "6"], 2, "6 s of eeg_c3 are too short to be decoded; prompt and new steps must make 7 s"),
        (["--seconds", "0"], 2, "--seconds"),
        (["--seed", str(2**64)], 2, "--seed"),
        (["--temperature", "-1"], 2, "--temperature"),
        (["--temperature", "nan"], 2, "temperature must be a finite number, not nan"),
        (["--temperature", "inf"], 2, "temperature must be a finite number, not inf"),
        (["--temperature", "1e-40"], 2, "temperature must be at least 1e-06"),
        (["--top-p", "nan"], 2, "top_p must be a finite number, not nan"),
        (["--top-p", "0"], 2, "--top-p"),
        (["--top-p", "1.5"], 2, "--top-p"),
        (["--top-k", "-1"], 2, "--top-k"),
        (["--device", "warp"], 2, "device 'warp' is unknown"),
        (["--weights", "other.safetensors"], 2, "--untrained and --weights exclude each other"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(words, code, message, capsys, tmp_path):
    assert run(*words) == code
    last = [line for line in capsys.readouterr().err.splitlines() if line.strip()][-1]
    assert message in last
    assert last.lower().startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_there_stays(tmp_path):
    (tmp_path / "deep").mkdir()
    assert run("--out", "deep/er/est", "--modality", "eeg_c33") == 2
    assert [path.name for path in tmp_path.rglob("*")] == ["deep"]


def test_the_largest_seed_and_files_that_are_replaced(tmp_path, capsys):
    words = ["--modality", "ecg", "--seconds", "7", "--seed", str(2**64 - 1)]
    assert run(*words) == 0
    assert "replaced" not in capsys.readouterr().err
    assert run(*words) == 0
    stem = f"synthetic/synthetic-ecg-seed{2**64 - 1}"
    assert capsys.readouterr().err.splitlines()[-2:] == [f"replaced {stem}.edf", f"replaced {stem}.png"]


def test_missing_weights(capsys):
    assert run(weights="gone.safetensors") == 3
    assert "gone.safetensors: no such file" in capsys.readouterr().err


def test_weights_may_come_from_the_environment(weights, monkeypatch, tmp_path):
    monkeypatch.setenv("HYPNOS_BENCH_WEIGHTS", str(weights))
    assert run_command(["synthesize", "--modality", "ecg", "--seconds", "7", "--device", "cpu"]) == 0
    made = tmp_path / "synthetic/synthetic-ecg-seed0.edf"
    from_environment = made.read_bytes()
    assert run("--modality", "ecg", "--seconds", "7", weights=weights) == 0
    assert made.read_bytes() == from_environment
    # The command line wins: other weights, other signal.
    assert run("--modality", "ecg", "--seconds", "7") == 0
    assert made.read_bytes() != from_environment


def test_weights_on_the_command_line_win_over_untrained_elsewhere(weights, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HYPNOS_BENCH_UNTRAINED", "1")
    words = ["--modality", "ecg", "--seconds", "7"]
    bundle = as_trained(weights, tmp_path / "trained.safetensors")
    assert run(*words, weights=bundle) == 0
    assert "weights are random" not in capsys.readouterr().err
    (tmp_path / "run.toml").write_text("untrained = true\n")
    assert run(*words, "--config", "run.toml", weights=bundle) == 0
    assert "weights are random" not in capsys.readouterr().err
    # Both set, and neither on the command line: nobody can tell which is meant.
    monkeypatch.setenv("HYPNOS_BENCH_WEIGHTS", str(bundle))
    assert run_command(["synthesize", *words]) == 2
    assert "exclude each other; give one of them on the command line" in capsys.readouterr().err


def test_settings_may_come_from_a_file(weights, tmp_path):
    (tmp_path / "run.toml").write_text(f'weights = "{weights}"\nmodality = ["ecg", "resp_abd"]\nseconds = 9\n')
    assert run_command(["synthesize", "--config", "run.toml", "--device", "cpu", "--seed", "2"]) == 0
    with pyedflib.EdfReader("synthetic/synthetic-ecg-resp_abd-seed2.edf") as file:
        assert file.getSignalLabels() == ["ECG", "ABD"]
        assert file.getFileDuration() == 9


def test_a_folder_that_cannot_be_written_is_found_first(weights, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for out, reason in (("file/inside", "Not a directory"), ("file", "File exists")):
        assert run("--out", out, weights=weights) == 3
        # The only line: before any work.
        told = f"error: {out}: no folder to write to ({reason}); choose another --out FOLDER\n"
        assert capsys.readouterr().err == told
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_backend_that_does_not_exist_is_not_used(tmp_path):
    code = (
        "import numpy as np; from pathlib import Path; from hypnos_bench.cli import synthesize as s; "
        "made = s._Made([s._Trace('ECG', 128.0, np.zeros(1280, np.float32))], False, ''); "
        "s._draw(made, '', Path('a.png'))"
    )
    environment = {**os.environ, "MPLBACKEND": "garbage"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_long_signal_is_drawn_by_the_extremes_of_each_pixel():
    from matplotlib.figure import Figure

    rng = np.random.default_rng(0)
    values = rng.standard_normal(30_000).astype(np.float32)
    axis = Figure().subplots()
    _draw_trace(axis, _Trace("ECG", 100.0, values), 1000)
    assert not axis.lines
    blocks = values.reshape(1000, 30)
    mean, sd = blocks.mean(1), blocks.std(1)
    bands = [(blocks.min(1), blocks.max(1)), (mean - sd, mean + sd)]
    for found, (low, high) in zip(axis.collections, bands, strict=True):
        (path,) = found.get_paths()
        for t, bottom, top in zip(0.15 + 0.3 * np.arange(1000), low, high, strict=True):
            there = path.vertices[np.isclose(path.vertices[:, 0], t), 1]
            np.testing.assert_allclose((there.min(), there.max()), (bottom, top), atol=1e-5)
    assert axis.get_title("right") == "grey: extremes, black: mean ± sd, per pixel"
    # As many samples as a line can show.
    axis = Figure().subplots()
    _draw_trace(axis, _Trace("ECG", 100.0, values[:20_000]), 1000)
    assert len(axis.lines[0].get_ydata()) == 20_000
    assert not axis.collections


def test_help_is_light_and_has_examples():
    code = (
        "import sys; from hypnos_bench.cli import run_command; run_command(['synthesize', '--help']); "
        "heavy = {'numpy', 'torch', 'pandas', 'scipy', 'sklearn', 'matplotlib'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Examples:" in done.stdout
    assert "[roots]" not in done.stdout  # cohorts have no part in it
    assert "hypnos-bench synthesize --modality ecg --seconds 30" in done.stdout
