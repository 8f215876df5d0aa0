"""A real scheduler and real workers on loopback, each a process that can be killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.cohorts.writers.edf_folder import write_edf_folder
from hypnos_bench.store.cells import CellStore

RECORDINGS = 7
MAY_DIFFER = ("timing", "provenance", "sha256")
MUST_NOT = ("split_hash", "cohort_fingerprint", "weights", "device")  # of the provenance


class Machines:
    """Processes of a cluster, what they were told, and what the slow plug-ins began there."""

    count = RECORDINGS

    def __init__(self, folder, nights):
        self.scheduler_file, self.nights = folder / "scheduler.json", nights
        self._log, self._hold, self._processes, self._workers = folder / "log", folder / "hold", [], []
        self.plugins = folder / "plugins"
        info = self.plugins / "slow-1.0.dist-info"
        info.mkdir(parents=True)
        shutil.copy(Path(__file__).parent / "slow.py", self.plugins / "slow_toy.py")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[hypnos_bench.encoders]\nslow = slow_toy:Slow\nrough = slow_toy:Rough\n"
            "[hypnos_bench.heads]\nslow-lda = slow_toy:slow_lda\n"
        )
        self.told = {"SLOW_LOG": str(self._log), "SLOW_HOLD": str(self._hold)}
        paths = [str(self.plugins), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        told = {**self.told, "PYTHONPATH": os.pathsep.join(paths), "DASK_TEMPORARY_DIRECTORY": str(folder)}
        self.environment = {**os.environ, **told}

    def start(self, module, *arguments):
        command = [sys.executable, "-m", module, *map(str, arguments)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=self.environment, **quiet)
        self._processes.append(process)
        return process

    def start_scheduler(self):
        options = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", self.scheduler_file)
        return self.start("distributed.cli.dask_scheduler", *options)

    def staff(self, count):
        """See to it that a scheduler and so many workers run; what is lacking is started."""
        if not self._processes:
            self.start_scheduler()
        options = ("--scheduler-file", self.scheduler_file, "--nthreads", 1, "--no-nanny", "--no-dashboard")
        while len(self.alive()) < count:
            self._workers.append(self.start("distributed.cli.dask_worker", *options))

    def alive(self):
        """Workers that run."""
        return [worker for worker in self._workers if worker.poll() is None]

    def kill(self, pid):
        """End the worker of this process at once."""
        (worker,) = (worker for worker in self.alive() if worker.pid == pid)
        worker.send_signal(signal.SIGKILL)
        worker.wait()

    def hold(self, free):
        """Forget what was begun; let slow plug-ins begin so much from now on, and keep them waiting at the next."""
        self._hold.write_text(str(free))
        self._log.unlink(missing_ok=True)

    def let_go(self):
        """Nobody waits any more."""
        self._hold.unlink(missing_ok=True)

    def begun(self):
        """(name, process) of everything that slow plug-ins began, in order."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines if len(line.split()) == 2]

    def scheduled(self):
        """Options of a command that goes to these workers."""
        return ["--scheduler", str(self.scheduler_file), "--wait-workers", "300"]

    def embed(self, results, *more):
        """Arguments of the command."""
        asked = ["embed", "--cohort", "edf-folder", "--root", self.nights, "--encoder", "slow", "--results", results]
        return [str(word) for word in (*asked, *more)]

    def run(self, results, *more):
        """Arguments of the command: 12 cells of one fit each."""
        asked = ["run", "staging", "--cohort", "edf-folder", "--root", self.nights, "--duplicates", "off"]
        asked += ["--person-pattern", r"(\d)$"]  # of which the hold-out tests 3, 5 and 7
        asked += ["--encoder", "features", "--encoder", "rough", "--head", "slow-lda", "--split", "holdout"]
        asked += ["--shots", "40%", "--shots", "80%", "--seeds", "3", "--results", results]
        return [str(word) for word in (*asked, *more)]

    @staticmethod
    def until(condition, seconds=300):
        """Wait for something to become true, and say so when it does not."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"waited {seconds} s in vain"
            time.sleep(0.02)
        return found

    def stop(self):
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def nights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nights")
    write_edf_folder(folder, ["csv"] * RECORDINGS, n_epochs=8)
    return folder


@pytest.fixture(scope="session")
def cluster(tmp_path_factory, nights):
    """One cluster for all tests: processes take longer to start than what they do here."""
    made = Machines(tmp_path_factory.mktemp("machines"), nights)
    yield made
    made.stop()


@pytest.fixture
def machines(cluster, monkeypatch):
    """The cluster, with nobody held; this process knows the plug-ins too."""
    monkeypatch.syspath_prepend(cluster.plugins)
    for name, value in cluster.told.items():
        monkeypatch.setenv(name, value)
    cluster.hold(0)
    cluster.let_go()
    yield cluster
    cluster.let_go()


@pytest.fixture
def run_json(capsys, monkeypatch):
    """Function: run a command here; gives its exit code, what it printed and what it said. Pages have other tests."""
    monkeypatch.setattr("hypnos_bench.cli.run_text._write_reports", lambda *_: [])

    def run(arguments):
        capsys.readouterr()
        code = run_command([*arguments, "--json"])
        out = capsys.readouterr()
        return code, json.loads(out.out) if out.out else None, out.err

    return run


def cells_and_sides(results):
    """Everything that cells and side files say, but for what may differ between two machines; each one verified."""
    store, found = CellStore(Path(results)), {}
    for path in store.paths():
        cell = store.load(path)
        if cell.status == "ok":
            store.load_side(path)
        content = json.loads(path.read_text())
        content["told"] = {name: content["provenance"][name] for name in MUST_NOT}
        found[path.relative_to(results)] = {k: v for k, v in content.items() if k not in MAY_DIFFER}
    sides = {path.relative_to(results): path.read_bytes() for path in store.folder.rglob("*.safetensors")}
    return found, sides


@pytest.fixture(scope="session")
def comparable():
    """The function `cells_and_sides`, which test modules cannot import."""
    return cells_and_sides
