"""What a worker process keeps: one state at a time, closed when other work comes."""

import os
from pathlib import Path

import pytest

pytest.importorskip("distributed")

from hypnos_bench import __version__
from hypnos_bench.cluster import worker
from hypnos_bench.cluster.worker import Keeper, Token, Work, look_around, perform
from hypnos_bench.errors import DataError, UsageError

LIVES = []


class State:
    def __init__(self, name):
        self.name = name
        LIVES.append(f"made {name}")

    def close(self):
        LIVES.append(f"closed {self.name}")


def refuse(setup):
    raise UsageError("no such encoder")


def echo(state, unit):
    if unit == "forget":
        KEEPERS["a"].teardown(None)  # the command goes while a unit is in work
    return f"{state.name}{unit}"


KEEPERS = {}


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Function: give this process work, as if it were a worker."""
    LIVES.clear()
    KEEPERS.clear()
    monkeypatch.setattr(worker, "_find", lambda target: globals()[target.partition(":")[2]])
    monkeypatch.setattr("hypnos_bench.threads.one_thread", lambda: LIVES.append("one thread"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()

    def give(name, start="State", **token):
        words = f"{__version__} {name}"
        (tmp_path / f".{name}").write_text(words)
        fields = {"path": tmp_path / f".{name}", "words": words, "cwd": str(tmp_path / "here"), **token}
        KEEPERS[name] = Keeper(name, Work(f"t:{start}", "t:echo", name), Token(**fields))
        KEEPERS[name].setup(None)
        return KEEPERS[name]

    yield give
    for keeper in KEEPERS.values():
        keeper.teardown(None)


def test_a_state_is_made_once_and_closed_for_the_next(keep):
    keep("a")
    keep("b")
    assert [perform(name, "t:echo", unit) for name, unit in ("a1", "a2", "b3", "a4")] == ["a1", "a2", "b3", "a4"]
    assert LIVES == [
        "one thread", "made a", "closed a", "one thread", "made b", "closed b", "one thread", "made a",
    ]  # fmt: skip


def test_a_state_goes_with_its_work(keep):
    keep("a")
    perform("a", "t:echo", 1)
    KEEPERS["a"].teardown(None)
    assert LIVES[-1] == "closed a"
    with pytest.raises(DataError, match="the worker was not told what to do"):
        perform("a", "t:echo", 2)


def test_nobody_waits_for_a_unit_in_work_and_its_state_goes_after_it(keep):
    keep("a")
    assert perform("a", "t:echo", "forget") == "aforget"
    assert LIVES == ["one thread", "made a", "closed a"]


def test_relative_paths_mean_what_they_mean_to_the_command(keep, tmp_path):
    keep("a")
    perform("a", "t:echo", 1)
    assert Path.cwd() == tmp_path / "here"
    keep("b", cwd=str(tmp_path / "nowhere"))
    perform("b", "t:echo", 1)  # absolute paths are left
    assert Path.cwd() == tmp_path / "here"


def test_who_cannot_begin_says_so_with_its_name(keep, tmp_path):
    keep("a", path=tmp_path / "gone")
    with pytest.raises(DataError, match=rf"worker on .* \(process {os.getpid()}\) does not see {tmp_path}"):
        perform("a", "t:echo", 1)
    keep("b", start="refuse")
    with pytest.raises(DataError, match=r"worker on .*: no such encoder"):
        perform("b", "t:echo", 1)
    (tmp_path / ".old").write_text("0.0.0 old")
    keep("old", words="0.0.0 old", path=tmp_path / ".old")
    with pytest.raises(DataError, match=rf"has hypnos-bench {__version__}: install the version of the command"):
        (tmp_path / ".old").write_text("0.0.0 old")
        perform("old", "t:echo", 1)


def test_a_worker_looks_at_the_token(keep, tmp_path):
    token = keep("a").token
    assert look_around(token)["sees"]
    token.path.write_text("of another run")
    assert not look_around(token)["sees"]
    token.path.write_bytes(b"\xff")
    assert not look_around(token)["sees"]
    assert set(look_around(token)["versions"]) == {"python", "numpy", "torch"}
