"""``download``: what it says, what it saves, and how it ends."""

import importlib.util
import io
import json
import shlex
import zipfile
from pathlib import Path

import click
import pytest

from hypnos_bench.cli.download import command
from hypnos_bench.cohorts.downloads.source import load_source, source_ids
from hypnos_bench.errors import BenchError, DataError, UsageError

_PATH = Path(__file__).parents[1] / "cohorts" / "downloads" / "mirror.py"
_SPEC = importlib.util.spec_from_file_location("mirror", _PATH)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

FILES = {
    f"recordings/SN00{i}{end}": f"{i}{end}".encode() * 900 for i in (1, 2, 3) for end in (".edf", "_sleepscoring.edf")
}
FILES["LICENSE.txt"] = b"CC BY 4.0"


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def site():
    with _MODULE.Mirror() as site:
        yield site


def run(*words):
    """The command itself, as the command line calls it: the exit code, or the expected error."""
    with command.make_context("download", [str(word) for word in words]) as ctx:
        return command.invoke(ctx)


def saved(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_an_open_cohort_is_fetched_with_terms_and_summary(site, tmp_path, capsys):
    url = site.publish("/hmc", FILES)
    assert run("hmc", "--root", "data", "--url", url) == 0
    assert saved(tmp_path / "data") == FILES
    out, err = capsys.readouterr()
    for text in ("CC BY 4.0", "Alvarez-Estevez", "Goldberger", "https://physionet.org/content/hmc-sleep-staging/1.1/"):
        assert text in out
    assert "hmc: 3 recordings in 7 files: 7 fetched; checked with sha256" in out
    assert "run TASK --cohort hmc --root data" in out
    assert err == ""  # no bar: stderr is no terminal


@pytest.mark.parametrize("known", [True, False])
def test_a_terminal_sees_files_bytes_and_time_left(site, monkeypatch, known):
    from hypnos_bench.cohorts.downloads import plan

    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(plan, "MOST_SIZES_ASKED", 40 if known else 0)
    monkeypatch.setattr("hypnos_bench.cli.download._REDRAW_S", -1.0)
    assert run("hmc", "--root", "data", "--url", site.publish("/hmc", FILES)) == 0
    shown = screen.getvalue()
    assert "file 0/7" in shown
    assert ("B/s" if known else "kB") in shown
    assert shown.rsplit("\r", 1)[-1].strip() == ""  # taken away at the end


def test_repeating_fetches_nothing(site, capsys):
    url = site.publish("/hmc", FILES)
    run("hmc", "--root", "data", "--url", url)
    site.log.clear()
    assert run("hmc", "--root", "data", "--url", url) == 0
    assert len(site.log) == 1
    assert "7 present" in capsys.readouterr().out


def test_limit_and_json(site, tmp_path, capsys):
    url = site.publish("/hmc", FILES)
    assert run("hmc", "--root", "data", "--url", url, "--limit", 2, "--jobs", 3, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert {
        key: shown[key] for key in ("cohort", "url", "recordings", "checksums", "fetched", "present", "replaced")
    } == {
        "cohort": "hmc",
        "url": url,
        "recordings": 2,
        "checksums": "sha256",
        "fetched": 5,
        "present": 0,
        "replaced": 0,
    }
    assert shown["bytes"] == sum(map(len, saved(tmp_path / "data").values()))
    assert shown["failed"] == []
    assert sorted(saved(tmp_path / "data")) == sorted(name for name in FILES if "SN003" not in name)


def test_dry_run_writes_nothing_and_says_what_would_come(site, tmp_path, capsys):
    url = site.publish("/hmc", FILES)
    assert run("hmc", "--root", "data", "--url", url, "--limit", 1, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "hmc: 1 recordings in 3 files; 3 to fetch (" in out
    assert "recordings/SN001_sleepscoring.edf" in out
    assert "SN002" not in out
    assert list(tmp_path.iterdir()) == []
    assert {method for method, path, _ in site.log if not path.endswith("SUMS.txt")} == {"HEAD"}


def test_dry_run_json_lists_every_file_with_its_state(site, tmp_path, capsys):
    url = site.publish("/hmc", FILES)
    run("hmc", "--root", "data", "--url", url, "--limit", 1)
    part = tmp_path / "data/recordings/SN002.edf.part"
    part.write_bytes(FILES["recordings/SN002.edf"][:10])
    capsys.readouterr()
    assert run("hmc", "--root", "data", "--url", url, "--limit", 2, "--dry-run", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    states = {each["path"]: each["state"] for each in shown["files"]}
    assert states.pop("recordings/SN002.edf") == "partial"
    assert states.pop("recordings/SN002_sleepscoring.edf") == "missing"
    assert set(states.values()) == {"present"}
    wanted = ("recordings/SN002.edf", "recordings/SN002_sleepscoring.edf")
    assert shown["bytes_to_fetch"] == sum(len(FILES[name]) for name in wanted) - 10
    assert (shown["dry_run"], shown["licence"]) == (True, "CC BY 4.0")


def test_some_failed_is_exit_1_and_each_is_named(site, tmp_path, capsys):
    url = site.publish("/hmc", FILES)
    del site.files["/hmc/recordings/SN002.edf"]
    assert run("hmc", "--root", "data", "--url", url) == 1
    out, err = capsys.readouterr()
    assert "6 fetched, 1 failed" in out
    assert err.startswith("failed: recordings/SN002.edf: http")
    assert "404" in err
    assert len(saved(tmp_path / "data")) == 6


def test_all_failed_is_exit_3(site, tmp_path, capsys):
    url = site.publish("/hmc", FILES)
    for name in FILES:
        del site.files[f"/hmc/{name}"]
    assert run("hmc", "--root", "data", "--url", url, "--json") == DataError.exit_code
    shown = json.loads(capsys.readouterr().out)
    assert sorted(each["path"] for each in shown["failed"]) == sorted(FILES)
    assert saved(tmp_path / "data") == {}


def test_a_replaced_file_is_named(site, tmp_path, capsys):
    url = site.publish("/hmc", FILES)
    (tmp_path / "data/recordings").mkdir(parents=True)
    (tmp_path / "data/recordings/SN001.edf").write_bytes(b"cut short")
    assert run("hmc", "--root", "data", "--url", url, "--no-verify") == 0
    assert "1 present" in capsys.readouterr().out
    assert run("hmc", "--root", "data", "--url", url) == 0
    out, err = capsys.readouterr()
    assert err == "replaced: recordings/SN001.edf was not the published file\n"
    assert "1 replaced, 6 present" in out


def test_missing_checksums_are_said_loudly(site, capsys):
    records = {"RECORDS": b"slp01a\n", **{f"slp01a{end}": end.encode() for end in (".hea", ".dat", ".st", ".ecg")}}
    url = site.publish("/slpdb", records, sums=False)
    assert run("slpdb", "--root", "data", "--url", url) == 0
    out, err = capsys.readouterr()
    assert err.startswith("NO CHECKSUMS: ")
    assert "NOT checked: the source has no checksums" in out
    with pytest.raises(DataError, match=r"no SHA256SUMS\.txt"):
        run("hmc", "--root", "data", "--url", site.publish("/hmc", {}, sums=False))


def test_members_of_the_dreem_archive(site, tmp_path, capsys):
    members = {"__MACOSX/dodo/._a.h5": b"x", "dodo/": b"", "dodo/a.h5": b"a" * 999, "dodo/b.h5": b"b" * 999}
    url, path = site.publish_zip(members, packing=zipfile.ZIP_STORED)
    assert run("dod-o", "--root", "data", "--url", url, "--limit", 1) == 0
    assert saved(tmp_path / "data") == {"dodo/a.h5": members["dodo/a.h5"]}
    assert "1 recordings in 1 files: 1 fetched; checked with crc32" in capsys.readouterr().out
    assert all(asked is not None for asked in site.gets(path))
    with pytest.raises(DataError, match=r"no dodh\.zip in the record, which holds dodo\.zip"):
        run("dod-h", "--root", "data", "--url", url)


@pytest.mark.parametrize("name", [name for name in source_ids() if not load_source(name).open])
def test_cohorts_with_agreements_get_steps_and_nothing_is_downloaded(name, tmp_path, capsys):
    assert run(name, "--root", tmp_path / "my data") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{name} cannot be fetched by a program alone: nothing was downloaded.")
    assert "  1. " in out
    assert f"--cohort {name} --root {shlex.quote(str(tmp_path / 'my data'))}" in out
    assert "licence " in out
    assert list(tmp_path.iterdir()) == []


def test_steps_as_json(capsys):
    assert run("mros", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["downloaded"] is False
    assert shown["page"] == "https://sleepdata.org/datasets/mros"
    assert any("nsrr download mros/polysomnography/edfs/visit1" in step for step in shown["steps"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hmc"], "download hmc needs --root DIR"),
        (["sleep-edff", "--root", "x"], "Did you mean 'sleep-edf'"),
        (["demo", "--root", "x"], "no download is known for cohort 'demo'"),
        (["hmc", "--root", "x", "--url", "ftp://x"], "no http or https address"),
        (["hmc", "--root", "x", "--limit", "0"], "0 is not in the range"),
        (["hmc", "--root", "x", "--jobs", "9"], "9 is not in the range"),
    ],
)
def test_mistakes_are_usage_errors(words, message, tmp_path):
    with pytest.raises((BenchError, click.UsageError), match=message) as caught:
        run(*words)
    assert caught.value.exit_code == UsageError.exit_code
    assert list(tmp_path.iterdir()) == []


def test_the_root_may_come_from_the_settings(site, tmp_path, monkeypatch):
    url = site.publish("/cpsc", {"Training_set_I/data_0_1.dat": b"x", "RECORDS": b"r"})
    (tmp_path / "run.toml").write_text('jobs = 2\n[roots]\ncpsc2021 = "from-file"\n')
    assert run("cpsc2021", "--url", url, "--config", "run.toml") == 0
    assert sorted(saved(tmp_path / "from-file")) == ["RECORDS", "Training_set_I/data_0_1.dat"]


def test_help_has_examples(capsys):
    with pytest.raises(click.exceptions.Exit):
        command.make_context("download", ["--help"])
    assert "Examples:" in capsys.readouterr().out
