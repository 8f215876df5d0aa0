"""``hypnos-bench synthesize``: two files that say what they are, and mistakes in one line."""

import subprocess
import sys

import numpy as np
import pyedflib
import pytest

from hypnos_bench.cli import run_command


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
    assert out.splitlines() == ["made/synthetic-seed5.edf", "made/synthetic-seed5.png"]
    assert "cpu: asked for" in err
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["synthetic-seed5.edf", "synthetic-seed5.png"]
    asked = ["resp_thx", "ecg"]
    expected = signal_of(weights, modalities=asked, num_steps=12, temperature=0.9, top_k=20, top_p=0.8, seed=5)
    with pyedflib.EdfReader("made/synthetic-seed5.edf") as file:
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
    with pyedflib.EdfReader("synthetic/synthetic-seed0.edf") as file:
        assert file.filetype == pyedflib.FILETYPE_EDFPLUS
        assert file.getAdmincode() == ("synthetic" if trained else "synthetic untrained")
        assert file.getEquipment() == "hypnos-bench"
        start, duration, text = (part[0] for part in file.readAnnotations())
        assert (start, duration) == (0, 8)
        assert text == "synthetic signal, not a recording" + ("" if trained else ", untrained weights")
    assert ("weights are random" in capsys.readouterr().err) is not trained


@pytest.mark.parametrize("trained", [False, True])
def test_the_picture_says_synthetic(weights, tmp_path, monkeypatch, trained):
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **kw: (drawn.append(self), save(self, *a, **kw))[1])
    bundle = as_trained(weights, tmp_path / "trained.safetensors") if trained else weights
    assert run("--modality", "ecg", "--modality", "eeg_c3", "--seconds", "10", weights=bundle) == 0
    assert (tmp_path / "synthetic/synthetic-seed0.png").read_bytes().startswith(b"\x89PNG")
    (figure,) = drawn
    title = figure.get_suptitle()
    assert title.startswith("synthetic signal, seed 0, temperature 0.7")
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
        (["--temperature", "-1"], 2, "--temperature"),
        (["--temperature", "nan"], 2, "--temperature must be a finite number"),
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
    assert not list(tmp_path.glob("synthetic/*"))


def test_missing_weights(capsys):
    assert run(weights="gone.safetensors") == 3
    assert "gone.safetensors: no such file" in capsys.readouterr().err


def test_weights_may_come_from_the_environment(weights, monkeypatch, tmp_path):
    monkeypatch.setenv("HYPNOS_BENCH_WEIGHTS", str(weights))
    assert run_command(["synthesize", "--modality", "ecg", "--seconds", "7", "--device", "cpu"]) == 0
    from_environment = (tmp_path / "synthetic/synthetic-seed0.edf").read_bytes()
    assert run("--modality", "ecg", "--seconds", "7", weights=weights) == 0
    assert (tmp_path / "synthetic/synthetic-seed0.edf").read_bytes() == from_environment
    # The command line wins: other weights, other signal.
    assert run("--modality", "ecg", "--seconds", "7") == 0
    assert (tmp_path / "synthetic/synthetic-seed0.edf").read_bytes() != from_environment


def test_settings_may_come_from_a_file(weights, tmp_path):
    (tmp_path / "run.toml").write_text(f'weights = "{weights}"\nmodality = ["ecg", "resp_abd"]\nseconds = 9\n')
    assert run_command(["synthesize", "--config", "run.toml", "--device", "cpu", "--seed", "2"]) == 0
    with pyedflib.EdfReader("synthetic/synthetic-seed2.edf") as file:
        assert file.getSignalLabels() == ["ECG", "ABD"]
        assert file.getFileDuration() == 9


def test_a_folder_that_cannot_be_written_is_found_first(weights, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("--out", "file/inside", weights=weights) == 3
    err = capsys.readouterr().err
    assert "choose another --out FOLDER" in err
    assert "cpu" not in err  # before any work


def test_help_is_light_and_has_examples():
    code = (
        "import sys; from hypnos_bench.cli import run_command; run_command(['synthesize', '--help']); "
        "heavy = {'numpy', 'torch', 'pandas', 'scipy', 'sklearn', 'matplotlib'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Examples:" in done.stdout
    assert "hypnos-bench synthesize --modality ecg --seconds 30" in done.stdout
