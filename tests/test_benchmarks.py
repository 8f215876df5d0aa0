"""The benchmark scripts run and say what they promise; nothing here looks at a clock."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _scripts_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def run(*words):
    command = [sys.executable, str(FOLDER / "inference.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_names_the_modes():
    done = run("--help")
    assert done.returncode == 0, done.stderr
    assert {"--quick", "--full", "--stage", "--bundle"} <= set(done.stdout.replace("[", " ").replace("]", " ").split())


def test_the_smallest_comparison_ends_in_one_json_line():
    small = ("--config", "small", "--seconds", "60", "--rounds", "1", "--threads", "1")
    done = run(*small, "--dtype", "float32", "--stage", "pipeline")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert {"benchmark", "cpu_ratio", "wall_ratio", "rss_ratio", "machine", "gemm_gflops", "ours"} <= set(result)
    assert result["benchmark"] == "inference"
    assert all(result[key] > 0 for key in ("cpu_ratio", "wall_ratio", "rss_ratio"))
    assert result["seconds"] == 60
    assert result["weights"] == "random (untrained)"
    assert "synthetic" in done.stdout.splitlines()[0]
    ours = result["ours"]["float32"]
    assert {"load", "preprocess", "tokenize", "embed", "total"} <= set(ours["ratios"])
    for stages in (ours["stages"], result["reference"]["stages"]):
        assert stages["total"]["peak_mb"] == max(stage["peak_mb"] for stage in stages.values())
    equal = ours["equality"]
    assert equal["token_vectors"] == 60 * 8
    assert equal["token_vectors_differing"] <= 1  # a tie may fall either way
    assert equal["frames_compared_s"] == 60
    assert equal["frames_max_difference"] < 1e-5


def test_nonsense_is_refused_before_anything_is_built(tmp_path):
    assert run("--full", "--stage", "generate").returncode == 2
    assert run("--seconds", "5").returncode == 2
    done = run("--bundle", str(tmp_path / "missing.safetensors"))
    assert done.returncode == 3
    assert "no such file" in done.stderr


def test_a_missing_or_other_reference_is_said(monkeypatch):
    import importlib.metadata

    import inference

    from hypnos_bench.errors import UsageError

    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.3.0")
    with pytest.raises(UsageError, match="hypnos==0.1.0"):
        inference._require_reference()

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(UsageError, match="pip install hypnos==0.1.0"):
        inference._require_reference()


def test_work_of_the_assumed_model_is_what_was_derived_by_hand():
    from _floor import floor_s, work_per_second

    from hypnos_bench.hypnos.config import parse_config
    from hypnos_bench.hypnos.random_bundle import ASSUMED_RELEASED_CONFIG

    metadata = parse_config(json.loads(json.dumps(ASSUMED_RELEASED_CONFIG)))
    work = work_per_second(metadata)
    tera_per_hour = 3600 / 1e12
    # 8 x 127.4 M multiply-adds per second in linear layers, windows of 64 (9 layers) and 256 keys (3 layers).
    assert work.temporal * tera_per_hour == pytest.approx(7.34 + 0.12, rel=0.03)
    # Convolutions, transformers, codebooks.
    assert work.tokenizer * tera_per_hour == pytest.approx(0.77 + 0.72 + 0.12, rel=0.03)
    assert work.total * tera_per_hour == pytest.approx(9.08, rel=0.03)
    three = work_per_second(metadata, ["eeg_c3", "eog_e1", "emg_chin"])
    assert work.temporal / three.temporal == pytest.approx(8 / 3, rel=0.01)
    floor = floor_s(work, 3600, {"float32": {"mm": 350.0}, "bfloat16": {"mm": 2000.0}}, "bfloat16")
    assert floor["total"] == pytest.approx(1.61e12 / 350e9 + 7.46e12 / 2000e9, rel=0.03)


def test_windows_of_the_published_package():
    from _sides import token_windows

    assert list(token_windows(4000)) == [(0, 1800, 0, 1928), (1800, 3600, 1672, 3728), (3600, 4000, 3472, 4000)]
    assert list(token_windows(1801)) == [(0, 1800, 0, 1801), (1800, 1801, 1672, 1801)]


@pytest.mark.parametrize(("samples", "tokens"), [(1800 * 4 + 2, 1801), (1801 * 4 + 2, 1801), (5000 * 4 + 3, 5000)])
def test_windowed_tokens_are_those_of_one_pass(samples, tokens):
    import torch
    from _sides import _Windowed

    class Counting:
        """Each token is the index of its first sample over the hop; a partial one counts, as in the package."""

        samples_per_token = 4
        longest = 0

        def tokenize(self, x):
            self.longest = max(self.longest, x.shape[-1])
            return (x[:, 0, ::4] / 4).long()[..., None]

    tokenizer = Counting()
    made = _Windowed(tokenizer).tokenize(torch.arange(samples).float()[None, None])
    assert torch.equal(made, torch.arange(tokens)[None, :, None])
    assert tokenizer.longest <= max((1800 + 2 * 128) * 4, 1800 * 4 + 3)


def test_equality_finds_what_differs(tmp_path):
    from _compare import equality

    from hypnos_bench.errors import BenchError

    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 9, (1, 50, 5))  # modalities of 2, 1 and 2 levels
    embeddings = rng.standard_normal((3, 50, 4)).astype(np.float16)
    frames = rng.standard_normal((3, 20, 4)).astype(np.float32)
    folders = [tmp_path / "reference", tmp_path / "ours"]

    def save(folder, tokens, embeddings, frames):
        folder.mkdir(exist_ok=True)
        for name, array in (("tokens", tokens), ("embeddings", embeddings), ("frames", frames)):
            np.save(folder / f"{name}.npy", array)

    for folder in folders:
        save(folder, tokens, embeddings, frames)
    same = equality(*folders, [2, 1, 2])
    assert (same["token_vectors"], same["token_vectors_differing"]) == (150, 0)
    assert (same["embeddings_compared_s"], same["float16_differing_share"]) == (50, 0)
    assert same["frames_least_cosine"] == pytest.approx(1)

    other, moved, off = tokens.copy(), embeddings.copy(), frames.copy()
    other[0, 30, [0, 1]] += 1  # both levels of one modality: one vector
    other[0, 40, 4] += 1
    moved[:, 31:] += 1  # frames after the first other token may differ; those up to it may not
    moved[0, 30, 0] += 0.5
    off[1, 3] *= -1
    save(folders[1], other, moved, off)
    found = equality(*folders, [2, 1, 2])
    assert found["token_vectors_differing"] == 2
    assert found["embeddings_compared_s"] == 31
    assert found["float16_max_difference"] == pytest.approx(0.5, abs=0.01)
    assert found["float16_differing_share"] == pytest.approx(1 / (3 * 31 * 4))
    assert found["frames_least_cosine"] == pytest.approx(-1)

    save(folders[1], tokens[:, 1:], embeddings, frames)
    with pytest.raises(BenchError, match="tokens"):
        equality(*folders, [2, 1, 2])


def test_ratios_are_medians_within_rounds():
    from _compare import ratios

    def runs(*values):
        return [{"total": {"wall_s": v, "cpu_s": 2 * v, "peak_mb": 100.0}} for v in values]

    # A machine twice as slow in the second round does not change what each round says.
    found = ratios(runs(10.0, 20.0, 90.0), runs(2.0, 4.0, 9.0))
    assert found["total"] == {"wall_ratio": 5.0, "cpu_ratio": 5.0, "rss_ratio": 1.0}


def test_synthetic_recordings_hold_all_channels_and_say_so(tmp_path):
    from _inputs import write_synthetic_psg

    from hypnos_bench.signals.channels import resolve_montage
    from hypnos_bench.signals.edf import EdfFile

    files = [write_synthetic_psg(tmp_path / f"{i}.edf", 33) for i in range(2)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert b"synthetic" in files[0].read_bytes()
    channels = EdfFile(files[0]).channels()
    assert len(resolve_montage([channel.label for channel in channels])) == 8
    signal = EdfFile(files[0]).read(channels[0].label)
    assert signal.rate_hz == 256
    assert np.std(signal.values) > 1


def test_peaks_belong_to_their_stage():
    from _measure import Meter

    meter = Meter()
    with meter.stage("large"):
        np.ones(2**24).sum()  # 134 MB
    with meter.stage("small"):
        np.ones(2**10).sum()
    assert set(meter.stages["large"]) == {"wall_s", "cpu_s", "peak_mb"}
    difference = meter.stages["large"]["peak_mb"] - meter.stages["small"]["peak_mb"]
    assert difference > 100 if meter.resets else difference <= 0
