"""The command line's promises: fast help, one-line errors, exit codes."""

import json
import subprocess
import sys

import pytest

from hypnos_bench.cli import run_command


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_help_has_examples_and_every_command(capsys):
    assert run_command(["--help"]) == 0
    text = capsys.readouterr().out
    for word in ("run", "embed", "report", "list", "show", "Examples:", "Exit codes:"):
        assert word in text


def test_help_after_the_list_command_was_imported(capsys):
    assert run_command(["list", "heads"]) == 0
    assert run_command(["--help"]) == 0
    assert "Examples:" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["run", "embed", "report", "list", "show"])
def test_every_command_has_examples(name, capsys):
    assert run_command([name, "--help"]) == 0
    assert "Examples:" in capsys.readouterr().out


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from hypnos_bench.cli import run_command; run_command(['run', '--help']); "
        "heavy = {'numpy', 'torch', 'pandas', 'scipy', 'sklearn', 'matplotlib', 'pyedflib'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["runn"], 2, "Did you mean 'run'?"),
        (["run", "stagin", "--cohort", "demo"], 2, "Did you mean 'staging'?"),
        (["run", "staging", "--cohort", "mross"], 2, "Did you mean 'mros'?"),
        (["run", "staging", "--cohort", "demo", "--encoder", "feature"], 2, "Did you mean 'features'?"),
        (["run", "staging", "--cohort", "demo", "--head", "liner"], 2, "Did you mean 'linear'?"),
        (["run", "staging", "--cohort", "demo", "--shots", "5"], 2, "'5%' or '5p'"),
        (["run", "staging"], 2, "needs --cohort"),
        (["run", "af", "--cohort", "mros", "--root", "."], 2, "needs rhythm labels"),
        (["run", "staging", "--cohort", "mros", "--root", "no-such-folder", "--encoder", "features"], 3, "no-such-folder"),
        (["run", "staging", "--cohort", "mros", "--root", ".", "--encoder", "hypnos", "--weights", "gone.safetensors"], 3, "gone.safetensors"),
        (["report"], 3, "no cells in results"),
        (["show", "task", "nope"], 2, "unknown task"),
        (["list", "things"], 2, "tasks"),
        (["run", "staging", "--cohort", "demo", "--config", "gone.toml"], 2, "gone.toml"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line_and_the_right_exit_code(words, code, message, capsys):
    assert run_command(words) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert message in lines[-1]
    assert lines[-1].lower().startswith("error: ")
    assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize("kind", ["tasks", "cohorts", "encoders", "heads"])
def test_list_json_is_an_array_of_objects_with_ids(kind, capsys):
    assert run_command(["list", kind, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert all(row["id"] for row in rows)


def test_show_task_says_which_alignment(capsys):
    assert run_command(["show", "task", "staging"]) == 0
    text = capsys.readouterr().out
    assert "reference: rows with the unit's own indices" in text
    assert "mean over modalities" in text


def test_file_beats_environment_and_command_line_beats_file(tmp_path, capsys, monkeypatch):
    (tmp_path / "run.toml").write_text('results = "from-file"\n')
    monkeypatch.setenv("HYPNOS_BENCH_RESULTS", "from-environment")
    for words, expected in (
        ([], "from-environment"),
        (["--config", "run.toml"], "from-file"),
        (["--config", "run.toml", "--results", "from-command-line"], "from-command-line"),
    ):
        assert run_command(["report", *words]) == 3
        assert f"no cells in {expected}" in capsys.readouterr().err


def test_roots_follow_the_same_order(tmp_path, capsys, monkeypatch):
    words = ["run", "staging", "--cohort", "mros", "--encoder", "features", "--dry-run"]

    def root_of(*more):
        assert run_command([*words, *more]) == 3
        return capsys.readouterr().err

    monkeypatch.setenv("HYPNOS_BENCH_ROOT", "general-environment")
    assert "general-environment" in root_of()
    monkeypatch.setenv("HYPNOS_BENCH_ROOT_MROS", "own-environment")
    assert "own-environment" in root_of()
    (tmp_path / "run.toml").write_text('root = "general-file"\n')
    assert "general-file" in root_of("--config", "run.toml")
    (tmp_path / "run.toml").write_text('root = "general-file"\n[roots]\nmros = "own-file"\n')
    assert "own-file" in root_of("--config", "run.toml")
    assert "command-line" in root_of("--config", "run.toml", "--root", "command-line")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('shot = "1%"', "Did you mean 'shots'"),
        ("workers = 0", "workers"),
        ('precision = "some"', "precision"),
        ("roots = 3", "[roots]"),
        ("results = ", "not a readable TOML"),
    ],
)
def test_config_mistakes_name_the_key(tmp_path, capsys, text, message):
    (tmp_path / "run.toml").write_text(text + "\n")
    assert run_command(["run", "staging", "--cohort", "demo", "--config", "run.toml"]) == 2
    assert message in capsys.readouterr().err


def test_list_encoders_has_titles(capsys, monkeypatch):
    from hypnos_bench.encoders.registry import ENCODERS

    monkeypatch.setitem(ENCODERS._builtin, "plug-in", "builtins:object")  # an encoder class without a title
    assert run_command(["list", "encoders", "--json"]) == 0
    titles = {row["id"]: row["title"] for row in json.loads(capsys.readouterr().out)}
    assert titles.pop("plug-in") == ""
    assert {"hypnos", "features", "precomputed"} <= set(titles)
    assert all(titles.values())


def test_list_tasks_shows_the_good_ones_beside_broken_ones(tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "good.toml").write_text('id = "good"\nextends = "staging"\n')
    (folder / "typo.toml").write_text('id = "typo"\nextends = "stagin"\n')
    (folder / "torn.toml").write_text("id = \n")
    assert run_command(["list", "tasks", "--tasks-dir", "mine", "--json"]) == 2
    out, err = capsys.readouterr()
    ids = {row["id"] for row in json.loads(out)}
    assert {"good", "staging", "af"} <= ids
    assert ids.isdisjoint({"typo", "torn"})
    lines = err.splitlines()
    assert len(lines) == 2
    assert "torn.toml" in lines[0]
    assert "typo.toml" in lines[1]
