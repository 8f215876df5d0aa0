"""Config files and the environment, through real command lines."""

import json

import click
import pytest

from hypnos_bench.cli import all_commands, load_command, run_command
from hypnos_bench.cli.options import make_cohort_options, make_encoder_options
from hypnos_bench.cli.settings import apply_settings
from hypnos_bench.cohorts.writers.edf_folder import write_edf_folder
from hypnos_bench.errors import UsageError


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings(tmp_path):
    """Settings of a command line and the text of its config file, without running the command."""

    def read(words, text=None):
        name, *rest = words
        if text is not None:
            (tmp_path / "bench.toml").write_text(text)
            rest += ["--config", "bench.toml"]
        with load_command(name).make_context(name, rest) as ctx:
            return apply_settings(ctx)

    return read


RUN = ["run", "staging", "--cohort", "edf-folder"]


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        ([], None, None),
        (["--mains", "60"], None, 60.0),
        ([], "mains = 60", 60.0),
        ([], 'mains = "60"', 60.0),
        (["--mains", "50"], "mains = 60", 50.0),
    ],
)
def test_mains_reaches_the_cohort(settings, words, text, expected):
    assert make_cohort_options(settings([*RUN, *words], text), "edf-folder").mains_hz == expected


@pytest.mark.parametrize(("text", "expected"), [("temperature = 0.25", 0.25), ("temperature = 1", 1.0)])
def test_numbers_need_no_quotes(settings, text, expected):
    assert settings(["synthesize"], text)["temperature"] == expected


def test_keys_of_commands_within_a_command_are_known(tmp_path, capsys):
    (tmp_path / "c.toml").write_text('role = "pretrain"\nshots = "1%"\n')
    words = ["exposure", "list", "--results", str(tmp_path), "--config", str(tmp_path / "c.toml")]
    assert run_command(words) == 0
    (tmp_path / "c.toml").write_text("shot = 1\n")
    assert run_command(words) == 2
    assert "Did you mean 'shots'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('temperature = "warm"', "temperature: must be a number, not 'warm'"),
        ("temperature = true", "temperature: must be a number, not True"),
        ("temperature = -1", "temperature: -1.0 is not in the range"),
    ],
)
def test_what_is_no_number_is_refused(settings, text, message):
    with pytest.raises(UsageError, match=message):
        settings(["synthesize"], text)


def test_mains_changes_the_cells(tmp_path, capsys):
    write_edf_folder(tmp_path / "nights", ["csv"] * 5, n_epochs=4)
    words = [*RUN, "--root", "nights", "--encoder", "features", "--dry-run", "--json"]
    keys = []
    for mains in ("50", "60"):
        assert run_command([*words, "--mains", mains]) == 0
        keys.append({cell["key"] for cell in json.loads(capsys.readouterr().out)["cells"]})
    assert keys[0]
    assert keys[0].isdisjoint(keys[1])


@pytest.mark.parametrize(
    ("words", "text", "variables", "expected"),
    [
        ([], None, {"ROOT": "general"}, {"demo": None, "mros": "general"}),
        ([], 'root = "general"', {}, {"demo": None, "mros": "general"}),
        (["--root", "line"], None, {}, {"demo": None, "mros": "line"}),
        ([], 'root = "general"\n[roots]\ndemo = "own"', {}, {"demo": "own", "mros": "general"}),
        (["--root", "line"], None, {"ROOT_DEMO": "own"}, {"demo": "own", "mros": "line"}),
        ([], 'root = "general"', {"ROOT_DEMO": "own"}, {"demo": "own", "mros": "general"}),
    ],
)
def test_a_general_root_is_not_for_simulated_cohorts(settings, monkeypatch, words, text, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(f"HYPNOS_BENCH_{name}", value)
    values = settings(["run", "staging", "--cohort", "demo", "--cohort", "mros", *words], text)
    found = {name: make_cohort_options(values, name).root for name in expected}
    assert {name: root and str(root) for name, root in found.items()} == expected


def test_a_root_for_demo_alone_is_refused(capsys):
    assert run_command(["run", "staging", "--cohort", "demo", "--encoder", "features", "--root", ".", "--dry-run"]) == 2
    assert "takes no --root" in capsys.readouterr().err


EVERYTHING = """
task = ["staging"]
cohort = ["demo"]
shots = ["1%"]
person-pattern = '^(P\\d+)'
chunk_tokens = 3600
results = "results"
reports = "reports"
workers = 1
[roots]
mros = "nsrr"
"""


@pytest.mark.parametrize(
    "words",
    [["run", "staging"], ["embed"], ["report"], ["list", "tasks"], ["show", "task", "staging"]],
    ids=lambda words: words[0],
)
def test_one_file_serves_every_command(settings, words):
    values = settings(words, EVERYTHING)
    assert values.get("workers", 1) == 1
    if words[0] == "run":
        assert (values["person_pattern"], values["chunk_tokens"]) == (r"^(P\d+)", 3600)
        assert (values["cohort"], values["task"]) == (("demo",), "staging")


WITHIN = {"add", "check", "remove"}  # of exposure: see the test below
WITH_CONFIG = [c for c in all_commands() if any(p.name == "config" for p in c.params) and c.name not in WITHIN]


@pytest.mark.parametrize("command", WITH_CONFIG, ids=lambda command: command.name)
def test_a_key_that_no_command_has_is_refused(settings, command):
    words = {
        "run": ["staging"],
        "list": ["tasks"],
        "show": ["task", "staging"],
        "doctor": ["cohort", "mros"],
        "download": ["mros"],
    }.get(command.name, [])
    with pytest.raises(UsageError, match=r"unknown key 'shot'\. Did you mean 'shots'"):
        settings([command.name, *words], "shot = 1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[roots]\nmross = "x"', r"unknown cohort 'mross'\. Did you mean 'mros'"),
        ("shots = []", "shots: is empty"),
        ("shots = [1]", "shots: must be text in quotes, not 1"),
        ("seeds = 1.7", "seeds: must be a whole number, not 1.7"),
        ("seeds = true", "seeds: must be a whole number, not True"),
        ('seeds = "3"', "seeds: must be a whole number"),
        ("seeds = 0", "seeds: 0 is not in the range"),
        ("weights = 5", "weights: must be text in quotes, not 5"),
        ('weights = " "', "weights: must be text"),
        ("mains = 55", "mains: '55' is not one of"),
        ("mains = true", "mains: must be text"),
        ('results = ["a", "b"]', "results: takes one value, not a list"),
        ("results = {a = 1}", "results: must be text"),
        ("dry-run = 1", "dry-run: must be true or false, not 1"),
        ("as_json = true", "unknown key 'as-json'"),
        ('person-pattern = "a"\nperson_pattern = "b"', "person-pattern is given twice"),
    ],
)
def test_values_of_a_wrong_kind_are_refused(settings, text, message):
    with pytest.raises(UsageError, match=message):
        settings([*RUN], text)


def test_json_goes_by_its_public_name(settings, monkeypatch):
    assert settings(RUN)["as_json"] is False
    assert settings(RUN, "json = true")["as_json"] is True
    monkeypatch.setenv("HYPNOS_BENCH_JSON", "1")
    assert settings(RUN)["as_json"] is True
    assert settings(RUN, "json = false")["as_json"] is False


@pytest.mark.parametrize(
    ("text", "expected"), [("1", True), ("TRUE", True), ("yes", True), ("0", False), ("false", False), ("no", False)]
)
def test_flags_in_the_environment(settings, monkeypatch, text, expected):
    monkeypatch.setenv("HYPNOS_BENCH_ZERO_PHASE", text)
    assert make_encoder_options(settings(RUN)).zero_phase is expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("ZERO_PHASE", "maybe", "must be one of 1, true"), ("SEEDS", "many", "not a valid"), ("SHOTS", " ", "is empty")],
)
def test_the_environment_names_its_variable(settings, monkeypatch, name, text, message):
    monkeypatch.setenv(f"HYPNOS_BENCH_{name}", text)
    with pytest.raises(UsageError, match=f"HYPNOS_BENCH_{name}: .*{message}"):
        settings(RUN)


def test_several_values_in_one_variable(settings, monkeypatch):
    monkeypatch.setenv("HYPNOS_BENCH_SHOTS", "1% 10p")
    assert settings(RUN)["shots"] == ("1%", "10p")


def test_every_option_has_a_public_name():
    for command in all_commands():
        for option in command.params:
            if isinstance(option, click.Option):
                assert any(name.startswith("--") for name in option.opts), (command.name, option.name)


def test_show_encoder_takes_the_cache_from_the_environment(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HYPNOS_BENCH_CACHE", str(tmp_path / "cache"))
    assert run_command(["show", "encoder", "hypnos-untrained", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "hypnos-untrained"
    assert (tmp_path / "cache").is_dir()
