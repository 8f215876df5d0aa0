"""A real scheduler and real workers on loopback, each a process that can be killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hypnos_bench.cohorts.writers.edf_folder import write_edf_folder

RECORDINGS = 6


class Machines:
    """Processes of a cluster, what they were told, and what the slow encoder began there."""

    count = RECORDINGS

    def __init__(self, folder, nights, free):
        self.scheduler_file, self.nights = folder / "scheduler.json", nights
        self._begun, self.hold, self._processes = folder / "begun", folder / "hold", []
        plugins = folder / "plugins"
        info = plugins / "slow-1.0.dist-info"
        info.mkdir(parents=True)
        shutil.copy(Path(__file__).parent / "slow.py", plugins / "slow_toy.py")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[hypnos_bench.encoders]\nslow = slow_toy:Slow\n")
        self.plugins = plugins
        paths = [str(plugins), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        self.told = {"SLOW_BEGUN": str(self._begun), "SLOW_HOLD": str(self.hold)}
        self.hold.write_text(str(free))
        told = {**self.told, "PYTHONPATH": os.pathsep.join(paths)}
        self.environment = {**os.environ, **told, "DASK_TEMPORARY_DIRECTORY": str(folder)}

    def start(self, module, *arguments):
        command = [sys.executable, "-m", module, *map(str, arguments)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=self.environment, **quiet)
        self._processes.append(process)
        return process

    def start_scheduler(self):
        options = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", self.scheduler_file)
        return self.start("distributed.cli.dask_scheduler", *options)

    def start_worker(self):
        options = ("--scheduler-file", self.scheduler_file, "--nthreads", 1, "--no-nanny", "--no-dashboard")
        return self.start("distributed.cli.dask_worker", *options)

    def embed(self, results, *more):
        """Arguments of the command, on this cluster unless told otherwise."""
        asked = ["embed", "--cohort", "edf-folder", "--root", self.nights, "--encoder", "slow", "--results", results]
        return [str(word) for word in (*asked, *(more or ("--scheduler", self.scheduler_file)))]

    def begun(self):
        """(recording, process) of everything that the slow encoder began, in order."""
        lines = self._begun.read_text().splitlines() if self._begun.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines if len(line.split()) == 2]

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
    write_edf_folder(folder, ["csv"] * RECORDINGS, n_epochs=4)
    return folder


@pytest.fixture
def machines(tmp_path, nights, monkeypatch):
    """Function: machines whose slow encoder does so many recordings, and then waits until nobody holds it any more.

    This process knows the encoder too.
    """
    made = []

    def make(free):
        folder = tmp_path / "machines"
        folder.mkdir()
        made.append(Machines(folder, nights, free))
        monkeypatch.syspath_prepend(made[-1].plugins)
        for name, value in made[-1].told.items():
            monkeypatch.setenv(name, value)
        return made[-1]

    yield make
    for each in made:
        each.stop()
