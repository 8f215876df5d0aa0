"""Phase 1 where workers prepare and one process embeds: same files, same reasons, nothing left behind."""

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.cohorts.base import CohortOptions, Recording
from hypnos_bench.cohorts.writers.edf_folder import write_edf_folder
from hypnos_bench.cohorts.writers.mros import write_mros_tree
from hypnos_bench.embed import embed_recordings, overlap
from hypnos_bench.embed.workers import Embedder, Setup
from hypnos_bench.encoders.base import PRECISIONS, Embedding, EncoderCard, EncoderOptions, Prepared, is_staged
from hypnos_bench.encoders.features import FeaturesEncoder
from hypnos_bench.encoders.hypnos import HypnosUntrained
from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.runner import RunRequest, plan
from hypnos_bench.signals.base import Derivation
from hypnos_bench.signals.edf import EdfFile
from hypnos_bench.signals.edf_writer import write_edf
from hypnos_bench.spec import Shots, digest
from hypnos_bench.store.tensorfile import read_header
from hypnos_bench.taskfiles import load_task

CHANNELS = {"C3": 100, "ECG": 128, "THX": 32}


@dataclasses.dataclass(frozen=True)
class NoLabels:
    files: tuple = ()


def recording(path, channels=CHANNELS):
    montage = {channel: Derivation(channel) for channel in channels}
    return Recording("toy", path.stem, path.stem, EdfFile(path), NoLabels(), montage)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Recordings of several lengths, and one each that is flat, cut off, or not there."""
    folder = tmp_path_factory.mktemp("edf")
    found = []
    for i, seconds in enumerate((40, 70, 30, 55)):
        rng = np.random.default_rng(i)
        write_edf(folder / f"r{i}.edf", [(c, r, "uV", rng.normal(size=seconds * r)) for c, r in CHANNELS.items()])
        found.append(recording(folder / f"r{i}.edf"))
    write_edf(folder / "flat.edf", [("C3", 100, "uV", np.zeros(4000))])
    (folder / "cut.edf").write_bytes((folder / "r0.edf").read_bytes()[:-1000])
    return [*found, recording(folder / "flat.edf", ["C3"]), *(recording(folder / f"{n}.edf") for n in ("cut", "gone"))]


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def embed(recordings, encoder_id, options, results, **more):
    fingerprints = {r.id: r.source_fingerprint() for r in recordings}
    return embed_recordings(recordings, fingerprints, encoder_id, options, results, simulated=True, **more)


def stored(results):
    return {path.name: path.read_bytes() for path in results.rglob("*.safetensors")}


@pytest.mark.slow
def test_two_stages_store_what_one_stores_and_give_the_same_reasons(night, tmp_path, scratch, monkeypatch):
    options = EncoderOptions(cache=tmp_path, device="cpu")
    sizes, encode_prepared = [], HypnosUntrained.encode_prepared

    def remember(self, several):
        sizes.append(len(several))
        time.sleep(0.3)  # time enough for the next ones
        return encode_prepared(self, several)

    monkeypatch.setattr(HypnosUntrained, "batch_size", lambda self: 2)
    monkeypatch.setattr(HypnosUntrained, "encode_prepared", remember)
    two = embed(night, "hypnos-untrained", options, tmp_path / "two", workers=1, overlap=True)
    assert max(sizes) == 2
    assert list(scratch.iterdir()) == []
    monkeypatch.undo()
    one = embed(night, "hypnos-untrained", options, tmp_path / "one")
    assert dataclasses.replace(two, seconds=0) == dataclasses.replace(one, seconds=0)
    assert (one.embedded, [e.recording for e in one.failed]) == (4, ["cut", "flat", "gone"])
    assert len(stored(tmp_path / "one")) == 4
    assert stored(tmp_path / "two") == stored(tmp_path / "one")
    again = embed(night, "hypnos-untrained", options, tmp_path / "two")
    assert (again.embedded, again.reused, again.failed, again.known) == (0, 4, one.failed, 3)


class Staged:
    """An encoder of two stages without a model; what it does is set by the tests."""

    card = EncoderCard("staged", "Staged", "1", 1.0, None, True, 0, (), "")
    size = 3
    encode_prepared = None

    def __init__(self, options=None):
        pass

    def prepare(self, recording):
        if recording.id == "gone":
            raise RecordingError("gone", "not there")
        return Prepared(recording.id, {"x": np.arange(5, dtype=np.float32)}, {"x": "X"}, {})

    def batch_size(self):
        return self.size

    def encode(self, recording):
        raise NotImplementedError


def rows(prepared):
    return Embedding({"x": prepared.arrays["x"][:, None]}, 0.0, 1.0, prepared.channels, prepared.skipped)


@pytest.fixture
def in_threads(monkeypatch, scratch):
    """Function: embed with threads in place of processes and a given second stage."""

    def pool(workers, context, start, arguments):
        return ThreadPoolExecutor(workers, initializer=start, initargs=arguments)

    monkeypatch.setattr(overlap, "settle_in", lambda scratch: None)
    monkeypatch.setattr(overlap, "ProcessPoolExecutor", pool)
    for module in ("hypnos_bench.embed", "hypnos_bench.embed.overlap"):
        monkeypatch.setattr(f"{module}.make_encoder", lambda encoder_id, options: Staged())

    def run(recordings, encode_prepared, results, **more):
        monkeypatch.setattr(Staged, "encode_prepared", lambda self, several: encode_prepared(several))
        return embed(recordings, "staged", EncoderOptions(device="cuda"), results, **more)

    return run


def many(night, n):
    return [dataclasses.replace(night[i % 4], id=f"n{i:02}") for i in range(n)]


def test_an_accelerator_gets_two_stages_without_being_asked(night, in_threads, tmp_path):
    sizes = []

    def encode(several):
        sizes.append(len(several))
        time.sleep(0.01)
        return [rows(prepared) for prepared in several]

    report = in_threads(many(night, 20), encode, tmp_path / "r", workers=2)
    assert (report.embedded, sum(sizes), max(sizes)) == (20, 20, 3)
    assert len(stored(tmp_path / "r")) == 20


def test_recordings_ahead_are_bounded(night, in_threads, tmp_path, monkeypatch):
    """However slow the model is: two batches and what the workers hold."""
    begun = itertools.count()
    prepare, ahead, done = Staged.prepare, [], [0]

    def counted(self, recording):
        next(begun)
        return prepare(self, recording)

    def slow(several):
        time.sleep(0.05)
        done[0] += len(several)
        ahead.append(int(repr(begun)[6:-1]) - done[0])
        return [rows(prepared) for prepared in several]

    monkeypatch.setattr(Staged, "prepare", counted)
    in_threads(many(night, 30), slow, tmp_path / "r", workers=2)
    assert max(ahead) <= 2 + 2 * Staged.size


class Counted:
    """Refuses what its card is told to, and counts what it is asked; `first` goes wrong in passing."""

    card = dataclasses.replace(Staged.card, id="counted")
    asked = ()  # a list while a test runs
    refused = frozenset({"r1", "r2"})

    def __init__(self, options):
        pass

    def encode(self, recording):
        self.asked.append(recording.id)
        if recording.id == "r0":
            raise RecordingError("r0", "the drive stalled") from OSError(5, "Input/output error")
        if recording.id in self.refused:
            raise RecordingError(recording.id, f"refused {recording.id}")
        return Embedding({"x": np.ones((3, 2), np.float32)}, 0.0, 1.0, {})


@pytest.fixture
def counted(monkeypatch):
    for module in ("hypnos_bench.embed", "hypnos_bench.embed.workers"):
        monkeypatch.setattr(f"{module}.make_encoder", lambda encoder_id, options: Counted(options))
    monkeypatch.setattr(Counted, "asked", [])
    return Counted


def test_a_refusal_is_remembered_a_passing_fault_is_not(night, counted, tmp_path, monkeypatch):
    def run(**more):
        counted.asked.clear()
        report = embed(night[:4], "counted", EncoderOptions(), tmp_path / "r", **more)
        told = {e.recording: (e.reason, e.transient) for e in report.failed}
        return report.embedded, report.reused, report.known, told, [*counted.asked]

    failed = {
        "r0": ("the drive stalled", True),
        "r1": ("refused r1", False),
        "r2": ("refused r2", False),
    }
    assert run() == (1, 0, 0, failed, ["r0", "r1", "r2", "r3"])
    assert run() == (0, 1, 2, failed, ["r0"])
    assert run(retry=True) == (0, 1, 0, failed, ["r0", "r1", "r2"])
    monkeypatch.setattr(Counted, "refused", frozenset({"r1"}))
    del failed["r2"]
    assert run(retry=True) == (1, 1, 0, failed, ["r0", "r1", "r2"])
    assert run() == (0, 2, 1, failed, ["r0"])
    assert [path.name for path in tmp_path.rglob("*.lost.json")] == ["r1.lost.json"]


def test_signals_that_change_after_planning_are_not_embedded_and_not_refused(night, counted, tmp_path):
    prints = {r.id: r.source_fingerprint() for r in night[:4]}
    report = embed_recordings(night[:4], {**prints, "r3": "0" * 64}, "counted", EncoderOptions(), tmp_path / "r")
    (changed,) = (e for e in report.failed if e.recording == "r3")
    assert changed.transient
    assert "r3.edf: not what was there when the run began" in changed.reason
    assert "r3" not in counted.asked
    assert not list(tmp_path.rglob("r3*"))


def test_work_that_somebody_else_did_meanwhile_is_not_done_again(night, counted, tmp_path):
    """A worker that was lost after it stored, or another run in the same folder."""
    embedder = Embedder(Setup("counted", digest(counted.card.definition()), EncoderOptions(), tmp_path / "r", True))
    unit = (night[3], night[3].source_fingerprint())
    assert [embedder.embed(unit), embedder.embed(unit)] == [None, None]
    assert counted.asked == ["r3"]


def test_a_plug_in_that_failed_is_tried_again_and_one_that_refused_is_not(night, tmp_path, monkeypatch):
    (tmp_path / "plug.py").write_text(
        "from hypnos_bench.encoders.base import EncoderCard\n"
        "from hypnos_bench.errors import RecordingError\n\n\n"
        "class Plug:\n"
        "    card = EncoderCard('plug', 'Plug', '1', 1.0, 1.0, True, 0, (), '')\n\n"
        "    def encode(self, recording):\n"
        "        if recording.id == 'r1':\n"
        "            raise RecordingError('r1', 'too noisy')\n"
        "        import module_that_is_not_there\n"
    )
    asked = (night[:2], f"{tmp_path / 'plug.py'}:Plug", EncoderOptions(), tmp_path / "r")
    for known in (0, 1):
        report = embed(*asked)
        assert {e.recording: e.transient for e in report.failed} == {"r0": True, "r1": False}
        assert "module_that_is_not_there" in report.failed[0].reason
        assert report.known == known


def test_a_recording_that_memory_does_not_hold_costs_itself_only(night, tmp_path):
    class Short:
        card = EncoderCard("short", "Short", "1", 1.0, 1.0, True, 0, (), "")

        def encode(self, recording):
            raise MemoryError("3 GiB")

    encoder = Short()
    setup = Setup("short", digest(encoder.card.definition()), EncoderOptions(), tmp_path / "r", True)
    told = Embedder(setup, encoder).embed((night[0], night[0].source_fingerprint()))
    assert told.transient
    assert "not enough memory for it (3 GiB); rerun with fewer --workers" in told.reason


def test_an_encoder_that_is_another_one_here_is_refused(counted, tmp_path):
    with pytest.raises(DataError, match="encoder counted is not the same here: other weights, settings or code"):
        Embedder(Setup("counted", "0" * 64, EncoderOptions(), tmp_path / "r", True))


def test_shares_embed_everything_once(tmp_path, capsys):
    write_edf_folder(tmp_path / "nights", ["csv"] * 6, n_epochs=2)
    asked = ["embed", "--cohort", "edf-folder", "--root", str(tmp_path / "nights"), "--encoder", "features", "--json"]
    rows = []
    for share in ("1/3", "2/3", "3/3"):
        assert run_command([*asked, "--results", str(tmp_path / "r"), "--shard", share]) == 0
        out = capsys.readouterr()
        rows += json.loads(out.out)
        assert f"edf-folder: {rows[-1]['embedded']} of 6 recordings belong to share {share}" in out.err
    assert [row["shard"] for row in rows] == ["1/3", "2/3", "3/3"]
    assert sum(row["embedded"] for row in rows) == 6
    assert max(row["embedded"] for row in rows) < 6
    assert not any(row["reused"] for row in rows)
    assert run_command([*asked, "--results", str(tmp_path / "r")]) == 0
    assert json.loads(capsys.readouterr().out)[0]["reused"] == 6
    assert run_command([*asked, "--shard", "4/3"]) == 2
    assert "--shard 4/3: shares are numbered from 1 to N" in capsys.readouterr().err


def test_longest_recordings_come_first(night, in_threads, tmp_path, monkeypatch):
    monkeypatch.setattr(Staged, "size", 1)
    order = []

    def encode(several):
        order.extend(prepared.recording for prepared in several)
        return [rows(prepared) for prepared in several]

    in_threads(night[:4], encode, tmp_path / "r", workers=1)
    assert order == ["r1", "r3", "r0", "r2"]


def test_one_recording_without_an_embedding_is_listed_and_the_rest_stored(night, in_threads, tmp_path):
    def encode(several):
        bad = dataclasses.replace(rows(several[0]), arrays={"x": np.full((5, 1), np.nan, np.float32)})
        special = {"n01": RecordingError("n01", "no rows to be had"), "n02": bad}
        return [special.get(prepared.recording, rows(prepared)) for prepared in several]

    report = in_threads([*many(night, 5), night[-1]], encode, tmp_path / "r", workers=2)
    reasons = {e.recording: e.reason for e in report.failed}
    assert list(reasons) == ["gone", "n01", "n02"]
    assert (reasons["gone"], reasons["n01"]) == ("not there", "no rows to be had")
    assert "NaN" in reasons["n02"]
    assert report.embedded == len(stored(tmp_path / "r")) == 3


def test_an_error_of_the_model_ends_the_run_and_keeps_what_was_computed(night, in_threads, tmp_path, scratch):
    calls = []

    def encode(several):
        calls.append(len(several))
        if len(calls) > 1:
            raise DataError("the weights are damaged")
        return [rows(prepared) for prepared in several]

    with pytest.raises(DataError, match="the weights are damaged"):
        in_threads(many(night, 12), encode, tmp_path / "r", workers=2)
    assert len(stored(tmp_path / "r")) == calls[0]
    assert list(scratch.iterdir()) == []


def test_a_store_that_cannot_be_written_ends_the_run(night, in_threads, tmp_path):
    (tmp_path / "r").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        in_threads(many(night, 8), lambda several: [rows(p) for p in several], tmp_path / "r", workers=2)


def test_a_worker_that_died_is_told_with_what_to_do(night, in_threads, tmp_path, monkeypatch):
    class Dying(ThreadPoolExecutor):
        def submit(self, *args):
            future = Future()
            future.set_exception(BrokenProcessPool("gone"))
            return future

    monkeypatch.setattr(overlap, "ProcessPoolExecutor", lambda workers, *_: Dying(workers))
    with pytest.raises(DataError, match=r"a worker process died while running staged.*fewer --workers \(now 2\)"):
        in_threads(many(night, 3), lambda several: [], tmp_path / "r", workers=2)


def test_a_parcel_keeps_its_arrays_and_loses_its_file(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32)[::2], "none": np.empty(0, np.float32), "b": np.ones(2, np.float32)}
    prepared = Prepared("r", arrays, {"a": "A"}, {"b": "absent"})
    parcel = overlap.Parcel.pack("print", prepared, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    opened = parcel.open()
    assert list(tmp_path.iterdir()) == []
    assert list(opened.arrays) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(opened.arrays[name], array)
    assert dataclasses.replace(opened, arrays={}) == dataclasses.replace(prepared, arrays={})


def test_a_scratch_folder_that_cannot_be_written_is_no_fault_of_the_recording(tmp_path):
    prepared = Prepared("r", {"a": np.ones(2, np.float32)}, {}, {})
    with pytest.raises(DataError, match="choose another place with TMPDIR") as error:
        overlap.Parcel.pack("print", prepared, tmp_path / "gone")
    assert not isinstance(error.value, RecordingError)


def test_which_encoders_have_stages():
    assert is_staged(HypnosUntrained(EncoderOptions()))
    assert not is_staged(FeaturesEncoder(EncoderOptions()))


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_embed as t

if __name__ == "__main__":
    from hypnos_bench.encoders.hypnos import HypnosUntrained
    HypnosUntrained.encode_prepared = lambda self, several: time.sleep(60)
    found = [t.recording(p) for p in sorted(Path(sys.argv[2]).glob("r*.edf"))]
    options = t.EncoderOptions(cache=Path(sys.argv[3]), device="cpu")
    t.embed(found, "hypnos-untrained", options, Path(sys.argv[3]), workers=1, overlap=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_run_that_is_killed_leaves_no_scratch_files(night, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    folders = (Path(__file__).parent, night[0].signals.path.parent, tmp_path)
    process = subprocess.Popen(
        [sys.executable, str(script), *map(str, folders)], env={**os.environ, "TMPDIR": str(scratch)}
    )
    deadline = time.monotonic() + 60
    while not list(scratch.glob("*/*.float32")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(scratch.glob("*/*.float32"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 30
    while list(scratch.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(scratch.iterdir()) == []


def test_precision_and_context_reach_header_and_cell_and_part_their_keys(night, tmp_path):
    write_mros_tree(tmp_path / "nsrr", n_persons=6, hours=0.02, seed=3)
    cohort = {"mros": CohortOptions(root=tmp_path / "nsrr")}
    tiers = [("float32", "continuous", None), ("bf16", "continuous", None), ("float32", "chunked", 100)]
    keys, parts, headers = set(), [], []
    for precision, _, chunk_tokens in tiers:
        options = EncoderOptions(cache=tmp_path, device="cpu", precision=precision, chunk_tokens=chunk_tokens)
        asked = (load_task("staging", None), ("mros",), ("hypnos-untrained",), (Shots.parse("100%"),))
        (block,) = plan(RunRequest(*asked, tmp_path / "results", cohort_options=cohort, encoder_options=options))
        keys |= {cell.spec.key for cell in block.cells}
        parts += [cell.spec.encoder for cell in block.cells]
        embed(night[2:3], "hypnos-untrained", options, tmp_path / "results")
    headers = [read_header(p) for p in (tmp_path / "results").glob("embeddings/**/*.safetensors")]

    def tier(encoder):
        return tuple(encoder["settings"][name] for name in ("precision", "context", "chunk_tokens"))

    assert len(keys) == len(parts) == len(headers) == 3
    assert set(map(tier, parts)) == {tier(header["encoder"]) for header in headers} == set(tiers)


def test_the_command_line_offers_the_precisions_there_are(capsys):
    assert run_command(["embed", "--help"]) == 0
    assert f"--precision [{'|'.join(PRECISIONS)}]" in capsys.readouterr().out
    assert run_command(["show", "encoder", "hypnos-untrained", "--precision", "fp8"]) == 2
