"""Handing units out and taking results in, with a client that does as it is told."""

import pytest

pytest.importorskip("distributed")

from distributed import KilledWorker

from hypnos_bench import __version__
from hypnos_bench.cluster import units
from hypnos_bench.cluster.connect import Cluster
from hypnos_bench.cluster.units import Lost, run_units
from hypnos_bench.cluster.worker import Work, versions
from hypnos_bench.errors import DataError

WORK = Work("toy:start", "toy:do", None)
KILLED = KilledWorker("key", None, 3)


class Future:
    """Comes back as one of the outcomes it was given: a value, an error, ``cancelled``, or ``mislaid`` before others."""

    def __init__(self, outcomes):
        self.outcomes, self.released = list(outcomes), False

    @property
    def status(self):
        now = self.outcomes[0]
        return {"cancelled": "cancelled", "never": "pending"}.get(
            now, "error" if isinstance(now, Exception) else "finished"
        )

    def add_done_callback(self, callback):
        if self.outcomes[0] != "never":
            callback(self)

    def exception(self):
        return self.outcomes[0]

    def traceback(self):
        return None

    def result(self, timeout):
        if self.outcomes[0] == "mislaid":
            self.outcomes.pop(0)
            raise TimeoutError
        return self.outcomes[0]

    def release(self):
        self.released = True


class Client:
    """Two workers of one thread, unless told otherwise; `script` maps a unit to its outcomes, attempt by attempt."""

    status = "running"

    def __init__(self, script=None, threads=(1, 1), reports=None):
        self.script, self.threads, self.reports = script or {}, threads, reports
        self.submitted, self.cancelled, self.plugins, self.most, self._out = [], [], {}, [], []

    def nthreads(self):
        return {f"tcp://w{i}": n for i, n in enumerate(self.threads)}

    def run(self, function, token, on_error):
        if self.reports is not None:
            return self.reports
        return {address: function(token) for address in self.nthreads()}

    def register_plugin(self, plugin, name):
        self.plugins[name] = plugin

    def unregister_worker_plugin(self, name):
        del self.plugins[name]

    def submit(self, function, name, do, unit, key, pure):
        assert (do, pure) == ("toy:do", False)
        assert name in self.plugins
        attempt = sum(unit == u for u, _ in self.submitted)
        outcomes = self.script.get(unit, [[f"did {unit}"]])
        future = Future(outcomes[min(attempt, len(outcomes) - 1)])
        self.submitted.append((unit, key))
        self._out = [f for f in self._out if not f.released] + [future]
        self.most.append(len(self._out))
        return future

    def cancel(self, futures, force):
        self.cancelled += futures


def do(client, tmp_path, several, said=None, wait_s=0.0):
    cluster = Cluster(client, "tcp://s:1", wait_s)
    return dict(run_units(cluster, WORK, several, tmp_path, say=([] if said is None else said).append))


def test_results_come_with_their_index_and_few_units_wait_at_a_time(tmp_path):
    client = Client()
    assert do(client, tmp_path, "abcdefghij") == {i: f"did {u}" for i, u in enumerate("abcdefghij")}
    assert max(client.most) == 4  # two workers: one in work and one in waiting each
    assert len({key for _, key in client.submitted}) == 10
    assert (client.plugins, list(tmp_path.iterdir()), client.cancelled) == ({}, [], [])


def test_units_blamed_for_a_death_are_tried_alone_and_then_lost(tmp_path):
    client = Client({"b": [[KILLED], ["did b"]], "c": [[KILLED]]})
    found = do(client, tmp_path, "abc")
    assert (found[0], found[1]) == ("did a", "did b")
    assert isinstance(found[2], Lost)
    assert found[2].reason.startswith("its worker died 4 times over, most likely out of memory")
    assert [unit for unit, _ in client.submitted] == ["a", "b", "c", "b", "c"]


def test_a_result_that_went_with_its_worker_is_waited_for(tmp_path):
    assert do(Client({"a": [["mislaid", "mislaid", "did a"]]}), tmp_path, "ab") == {0: "did a", 1: "did b"}


def test_what_a_unit_raises_ends_the_run_and_takes_the_rest_back(tmp_path):
    client = Client({"b": [[DataError("disk full")]]})
    with pytest.raises(DataError, match="disk full"):
        do(client, tmp_path, "abcd")
    assert client.cancelled
    assert (client.plugins, list(tmp_path.iterdir())) == ({}, [])


def test_a_caller_that_stops_takes_the_rest_back(tmp_path):
    client = Client()
    several = run_units(Cluster(client, "tcp://s:1"), WORK, "abcdef", tmp_path, say=print)
    next(several)
    several.close()
    assert len(client.cancelled) == 3
    assert (client.plugins, list(tmp_path.iterdir())) == ({}, [])


def test_a_scheduler_that_drops_units_is_gone(tmp_path):
    with pytest.raises(DataError, match=r"scheduler tcp://s:1 is gone; what was finished is kept"):
        do(Client({"a": [["cancelled"]]}), tmp_path, "a")


def test_a_scheduler_that_is_gone_is_not_asked_any_more(tmp_path):
    client = Client()
    several = run_units(Cluster(client, "tcp://s:1"), WORK, "abcdef", tmp_path, say=print)
    next(several)
    client.status = "connecting"
    client.nthreads = client.cancel = client.unregister_worker_plugin = None
    with pytest.raises(DataError, match=r"scheduler tcp://s:1 is gone"):
        list(several)
    assert list(tmp_path.iterdir()) == []


def test_nobody_left_to_wait_for(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "_PATIENCE_S", 0.01)
    client = Client({"a": [["never"]]})
    told = iter([{"w": 1}] * 4)
    client.nthreads = lambda: next(told, {})
    with pytest.raises(DataError, match="has had no workers for 0.03 s"):
        do(client, tmp_path, "a", wait_s=0.03)


def test_no_unit_needs_no_worker(tmp_path):
    assert do(Client(threads=()), tmp_path, "") == {}
    with pytest.raises(DataError, match=r"has no workers after 0 s.*--wait-workers"):
        do(Client(threads=()), tmp_path, "a")


def report(**changes):
    fields = {"host": "worker on far (process 7)", "hypnos-bench": __version__, "sees": True, "versions": versions()}
    return {"tcp://far": {**fields, **changes}}


@pytest.mark.parametrize(
    ("reports", "words"),
    [
        ({"tcp://far": ModuleNotFoundError("No module named 'hypnos_bench'")}, r"tcp://far cannot load hypnos-bench"),
        (report(**{"hypnos-bench": "0.0.1"}), rf"far .process 7. has hypnos-bench 0.0.1: install {__version__} there"),
        (report(sees=False), r"far .process 7. does not see .* as this machine does: put --results"),
    ],
)
def test_workers_that_cannot_do_it_are_refused(tmp_path, reports, words):
    client = Client(reports=reports)
    with pytest.raises(DataError, match=words):
        do(client, tmp_path, "a")
    assert (client.submitted, list(tmp_path.iterdir())) == ([], [])


def test_what_may_change_a_digit_or_waste_a_core_is_said(tmp_path):
    said = []
    reports = {**report(versions={**versions(), "numpy": "1.0"}), "tcp://gone": OSError("left")}
    assert do(Client(reports=reports, threads=(1, 8)), tmp_path, "a", said) == {0: "did a"}
    assert "worker on far (process 7) has numpy 1.0 (here " in said[0]
    assert said[0].endswith("last digits may differ")
    assert said[1].startswith("workers have up to 8 threads and use one each: start them with --nthreads 1")
