"""What users install: the wheel carries tasks and cohort cards, and works far from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    builders = pytest.importorskip("hatchling.builders.wheel")
    folder = tmp_path_factory.mktemp("wheel")
    wheel = next(builders.WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"]))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_tasks_cards_and_marker_are_inside(site):
    assert {p.name for p in (site / "hypnos_bench/_tasks").glob("*.toml")} == {
        p.name for p in (ROOT / "tasks").glob("*.toml")
    }
    assert {p.name for p in (site / "hypnos_bench/cohorts/cards").glob("*.toml")} == {
        p.name for p in (ROOT / "hypnos_bench/cohorts/cards").glob("*.toml")
    }
    assert (site / "hypnos_bench/cohorts/downloads/sources.toml").is_file()
    assert (site / "hypnos_bench/py.typed").is_file()
    assert not list(site.rglob("tests"))


@pytest.mark.parametrize("words", [["list", "tasks"], ["list", "encoders"], ["show", "cohort", "mros"]])
def test_the_installed_program_finds_its_data(site, tmp_path, words):
    code = "import sys, hypnos_bench; sys.stderr.write(hypnos_bench.__file__); from hypnos_bench.cli import main; main(sys.argv[1:])"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stderr
    assert "staging" in done.stdout or "features" in done.stdout or "mros" in done.stdout
