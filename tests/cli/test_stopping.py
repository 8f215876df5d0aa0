"""Ctrl-C, SIGTERM, closed pipes and full disks: one line or none, never a traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LINE = "interrupted; what was finished is kept, rerun to go on\n"
START = "from hypnos_bench.cli import main; main()"

# A command with a worker pool that is busy for a minute; the parent waits for it as embed does.
# Test runners started in the background ignore SIGINT and pass that on, so it is set back first.
BUSY = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import click, os, sys, time, multiprocessing
from concurrent.futures import ProcessPoolExecutor
from hypnos_bench import cli

def work(name):
    open(name, "w").write(str(os.getpid()))
    time.sleep(60)

@click.command("report")
def command():
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
    try:
        pool.submit(work, "worker").result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

cli.load_command = lambda name: command
cli.main(["report"])
"""


def hypnos_bench(*words, **streams):
    return subprocess.run([sys.executable, "-c", START, *words], check=False, timeout=60, **streams)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_one_line_and_no_orphans(tmp_path, number, code):
    process = subprocess.Popen([sys.executable, "-c", BUSY], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    started = tmp_path / "worker"
    deadline = time.monotonic() + 30
    while not (started.is_file() and started.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    worker = int(started.read_text())
    process.send_signal(number)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)  # an impatient second Ctrl-C
    try:
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == code
    assert stderr == LINE
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


COMMANDS = [["list", "tasks"], ["list", "heads", "--json"], ["show", "task", "staging"], ["--help"], ["report", "-h"]]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_closed_pipe_is_no_error(words):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = hypnos_bench(*words, stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_line(words):
    with Path("/dev/full").open("w") as full:
        done = hypnos_bench(*words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 3
    assert done.stderr == "error: cannot write the output: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_the_exit_code_survives_a_broken_stderr():
    with Path("/dev/full").open("w") as full:
        assert hypnos_bench("list", "tasks", stdout=full, stderr=full).returncode == 3
