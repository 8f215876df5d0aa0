"""README's commands are run, in order, as a user would: in one folder, with the data where README says it is."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def commands():
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def bench_commands():
    """Calls of the program; a virtual environment's own path to it counts."""
    split = [shlex.split(line, comments=True) for line in commands()]
    return [words[1:] for words in split if Path(words[0]).name == "hypnos-bench"]


def write_other_models(home):
    """Random weights in the layouts that SleepFM and OSF release (OSF's smallest size), and a split list."""
    import numpy as np
    import torch

    from hypnos_bench.encoders.osf.layout import SIZES
    from hypnos_bench.encoders.osf.weights import random_state as osf_state
    from hypnos_bench.encoders.sleepfm.weights import random_state as sleepfm_state

    for name in ("sleepfm", "osf/splits"):
        (home / name).mkdir(parents=True)
    drawn = {name: torch.from_numpy(np.array(value)) for name, value in sleepfm_state(0).items()}
    torch.save(
        {"state_dict": {f"module.{n.removeprefix('module.')}": v for n, v in drawn.items()}}, home / "sleepfm/best.pt"
    )
    torch.save({"state_dict": osf_state(SIZES["vit_nano"], 0), "metadata": {}}, home / "osf/osf_backbone.pth")
    sides = {
        "pretrain_train": ["shhs1-200001"],
        "downstream_train": ["mros-visit1-AA0001"],
        "downstream_test": ["mros-visit1-AA0002"],
    }
    for side, ids in sides.items():
        (home / f"osf/splits/patient_{side}_ids.csv").write_text("\n".join(["patient_id", *ids]) + "\n")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder that holds what README's examples name, made by the project's own writers."""
    from hypnos_bench.cohorts.writers.cpsc2021 import write_cpsc2021_tree
    from hypnos_bench.cohorts.writers.edf_folder import write_edf_folder
    from hypnos_bench.cohorts.writers.mros import write_mros_tree
    from hypnos_bench.hypnos.random_bundle import write_random_bundle

    home = tmp_path_factory.mktemp("home")
    write_mros_tree(home / "nsrr", n_persons=12, hours=0.1, seed=1)
    write_cpsc2021_tree(home / "physionet", n_persons=6, seed=1)
    write_edf_folder(home / "nights", n_epochs=40, seed=1)
    write_random_bundle(home / "hypnos.safetensors", seed=1)
    write_other_models(home)
    (home / "work").mkdir()
    (home / "work" / "my_encoder.py").write_text(python_block("class MyEncoder"), encoding="utf-8")
    return home


def python_block(holding):
    """The example that holds some words, as written."""
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if holding in b)
    return block


def test_the_encoder_example_passes_the_doctor_within_twenty_lines(home, monkeypatch):
    from hypnos_bench.conformance import examine
    from hypnos_bench.encoders.base import EncoderOptions

    monkeypatch.chdir(home / "work")
    assert len(python_block("class MyEncoder").splitlines()) <= 20
    report = examine("my_encoder.py:MyEncoder", EncoderOptions(), hours=None)
    assert report.failed == ()


def test_first_two_commands_are_make_demo_and_make_test():
    assert commands()[:2] == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(r"^demo:.*\n\t\S+hypnos-bench run staging --cohort demo --shots 1%$", makefile, flags=re.MULTILINE)
    assert re.search(r"^test:", makefile, flags=re.MULTILINE)


def test_plain_pip_equivalent_is_what_make_does():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert ".venv/bin/pip install -c constraints.txt -e ." in commands()
    assert "install --quiet -c constraints.txt -e ." in makefile


@pytest.mark.slow
def test_every_command_in_readme_runs(home, demo_cache, monkeypatch, capfd, undrawn):
    """In this process but for the first: what a process of its own adds is tested once, and costs seconds each time."""
    from hypnos_bench.cli import run_command

    for name, value in {"HOME": home, "HYPNOS_BENCH_CACHE": demo_cache}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(home / "work")
    if made := os.environ.get("HYPNOS_BENCH_TEST_EMBEDDINGS"):
        # What `make demo` embedded of the cohort in this cache; everything after that is done again.
        shutil.copytree(made, home / "work" / "results" / "embeddings")
    called = bench_commands()
    assert len(called) >= 8
    for number, words in enumerate(called):
        # The shell expands a leading ~; here HOME stands in for it.
        words = [str(home) + word[1:] if word.startswith("~") else word for word in words]
        if number == 0:
            program = [sys.executable, "-m", "hypnos_bench", *words]
            done = subprocess.run(program, capture_output=True, text=True, check=False)
            code, out, told = done.returncode, done.stdout, done.stderr
        else:
            code = run_command(words)
            out, told = capfd.readouterr()
        assert code == 0, f"{shlex.join(words)}\n{out}\n{told}"
        assert out.strip()
        if words[:1] == ["run"] and "demo" in words:
            assert "simulated" in out
        if "--split" in words and "epoch" in words:
            assert "leaky" in out.casefold()
        if words[:4] == ["run", "staging", "--cohort", "demo"] and "--shots" in words and "--encoder" not in words:
            assert "untrained" in out
            means = {name: mean_kappa(home / "work" / "results", name) for name in ("features", "hypnos-untrained")}
            assert means["features"] > means["hypnos-untrained"] + 0.1, means


def test_the_python_example_runs(home, monkeypatch):
    """As written, with a device that gives 70 seconds; the live rows are the offline ones."""
    import numpy as np

    from hypnos_bench.hypnos import embed, load_model, preprocess_channels, tokenize
    from hypnos_bench.signals.base import Signal

    monkeypatch.chdir(home)
    edf = next((home / "nights").rglob("*.edf"))
    (home / "night.edf").write_bytes(edf.read_bytes())
    example = python_block("StreamingEmbedder")
    rates = {"C3": 256, "ECG": 512}
    rng = np.random.default_rng(0)
    whole = {name: rng.standard_normal(70 * rate).astype(np.float32) for name, rate in rates.items()}
    seen = {}
    device = [{n: whole[n][t * r : (t + 1) * r] for n, r in rates.items()} for t in range(70)]
    example = example.replace("        ...  ", "        seen.setdefault(modality, []).append(new)  ")
    assert "seen" in example
    exec(example, space := {"device": device, "seen": seen})
    assert all(array.dtype == np.float16 and len(array) for array in space["rows"].values())
    model, tokenizers, metadata = load_model("hypnos.safetensors")
    signals = {name: Signal(values, float(rates[name]), "", name) for name, values in whole.items()}
    offline = embed(
        model, *tokenize(tokenizers, metadata, preprocess_channels(signals, metadata)), metadata, context="continuous"
    )
    for modality, rows in offline.items():
        live = np.concatenate(seen[modality])
        np.testing.assert_allclose(live, rows[: len(live)].astype(np.float32), atol=5e-3)
        assert len(live) >= 69


def test_the_cohort_settings_of_the_example_hold(home):
    from hypnos_bench.cohorts.card_toml import load_layout

    text = next(block for block in re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL) if "[mros]" in block)
    (home / "mine.toml").write_text(text, encoding="utf-8")
    layout = load_layout("mros", home / "mine.toml")
    assert layout.outcomes[0].id == "death"
    assert layout.tables[0].glob == str(home / "mros-online.csv")
    assert [str(rule) for rule in layout.channels["ABD"]] == ["Abdomen 2"]


def mean_kappa(results, encoder):
    cells = [json.loads(p.read_text()) for p in results.glob(f"cells/demo/staging/{encoder}/*.json")]
    assert len(cells) == 10
    assert all(c["n"]["persons_train"] == 1 for c in cells)
    return sum(c["scores"]["kappa"]["value"] for c in cells) / len(cells)


def test_modules_named_in_the_house_exist():
    table = README.split("| room | what it does |")[1].split("\n\n")[0]
    for row in table.splitlines()[2:]:
        for name in re.findall(r"`([^`]+?)`", row.split("|")[1]):
            base = ROOT if name == "tasks/" else ROOT / "hypnos_bench"
            assert (base / name).exists(), name


def test_config_example_is_accepted(tmp_path):
    from hypnos_bench.cli import run_command

    example = re.search(r"```toml\n(.*?)```", README, flags=re.DOTALL)[1]
    (tmp_path / "run.toml").write_text(example)
    # The roots do not exist on a test machine: exit 3 names one, which proves that the file was read.
    assert run_command(["run", "staging", "--cohort", "mros", "--config", str(tmp_path / "run.toml"), "--encoder", "features", "--dry-run"]) == 3  # fmt: skip
