"""Encoders that are not the suite's own: found by entry point, module or file; a fault in one costs one recording."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.cohorts.writers.mros import write_mros_tree
from hypnos_bench.encoders.base import Embedding, EncoderCard, EncoderOptions, Prepared, is_staged
from hypnos_bench.encoders.plugin import PluginEncoder, PluginError
from hypnos_bench.encoders.reference import Target, settled
from hypnos_bench.encoders.registry import ENCODERS, make_encoder
from hypnos_bench.errors import DataError, RecordingError, UsageError, is_transient
from hypnos_bench.signals.edf_writer import write_edf
from hypnos_bench.spec import digest, file_sha256
from hypnos_bench.store.tensorfile import read_tensors

PLUGIN = Path(__file__).resolve().parents[1] / "plugin"
TOY = PLUGIN / "hypnos_bench_toy" / "__init__.py"
OPTIONS = EncoderOptions(device="cpu")
CARD = EncoderCard("mine", "Mine", "1", 30.0, 30.0, True, 0, ("C3",), "refused", licence="MIT")
HEAD = """
import numpy as np
from hypnos_bench.encoders.base import Embedding, EncoderCard, EncoderOptions
CARD = EncoderCard("mine", "Mine", "1", 30.0, 30.0, True, 0, ("C3",), "refused", licence="MIT")
"""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """An empty folder, a search path that is put back, and no module left over from another test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(Path.cwd()))])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("my_", "hypnos_bench_toy", "hypnos_bench_file_")):
            del sys.modules[name]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The toy package as pip would leave it: a folder on the path, with entry points beside it."""
    site = tmp_path / "site"
    shutil.copytree(PLUGIN, site, ignore=shutil.ignore_patterns("__pycache__"))
    info = site / "hypnos_bench_toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hypnos-bench-toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hypnos_bench.encoders]\ntoy = hypnos_bench_toy:ToyEncoder\n")
    monkeypatch.syspath_prepend(str(site))
    return site


def code(text, name="my_encoder.py"):
    Path(name).write_text(HEAD + textwrap.dedent(text))
    return Path(name)


@pytest.fixture
def night(memory_recording, psg):
    return memory_recording(psg(3), 90.0)


@pytest.fixture
def nights(tmp_path):
    """Two EDF files that can be embedded and a flat one, on which the toy raises ValueError."""
    (tmp_path / "edf").mkdir()
    rng = np.random.default_rng(0)
    for name, x in (("a", rng.normal(size=6000)), ("b", rng.normal(size=9000)), ("flat", np.zeros(6000))):
        write_edf(tmp_path / "edf" / f"{name}.edf", [("C3", 100, "uV", x)])
    return tmp_path / "edf"


def embed(nights, reference, *words):
    return run_command(["embed", "--cohort", "edf-folder", "--root", str(nights), "--encoder", reference, *words])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["entry point", "file"])
def test_embed_finds_it_in_worker_processes_and_one_bad_recording_ends_nothing(form, installed, nights, capsys):
    reference = {"entry point": "toy", "file": f"{TOY}:ToyEncoder"}[form]
    assert embed(nights, reference, "--workers", "2", "--set", "toy.scale=2", "--json") == 1
    (row,) = json.loads(capsys.readouterr().out)
    assert row["embedded"] == 2
    (failed,) = row["failed"]
    assert failed["recording"] == "flat"
    assert failed["reason"] == f"encoder {reference} failed: ValueError: C3 is flat (__init__.py, line 36)"
    files = sorted(Path("results").rglob("*.safetensors"))
    assert [path.stem for path in files] == ["a", "b"]
    header, arrays = read_tensors(files[1])
    assert arrays["spread"].shape == (3, 2)
    source = {} if form == "entry point" else {"source": file_sha256(TOY), "object": "ToyEncoder"}
    assert header["encoder"]["settings"] == {"scale": 2.0, "given": {"toy": {"scale": "2"}}, **source}


def test_a_module_is_found_again_in_a_new_process(nights, capsys):
    shutil.copy(TOY, "my_toy.py")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        card = pool.submit(card_of, "my_toy:ToyEncoder", OPTIONS).result()
    assert card == make_encoder("my_toy:ToyEncoder", OPTIONS).card
    assert embed(nights, "my_toy:ToyEncoder") == 1
    assert "2 embedded, 0 reused, 1 failed" in capsys.readouterr().out


def card_of(reference, options):
    return make_encoder(reference, options).card


def test_run_asks_all_three_forms_beside_a_builtin(installed, tmp_path, capsys):
    root = tmp_path / "nsrr"
    write_mros_tree(root, n_persons=6, hours=0.1, seed=3)
    shutil.copy(TOY, "my_toy.py")
    Path("my_toy.py").write_text(Path("my_toy.py").read_text().replace('id="toy"', 'id="mine"'))
    three = ("toy", "hypnos_bench_toy:ToyEncoder", "my_toy.py:ToyEncoder", "raw-psd")
    words = [word for name in three for word in ("--encoder", name)]
    assert run_command(["run", "staging", "--cohort", "mros", "--root", str(root), *words]) == 0
    assert "mine" in capsys.readouterr().out
    cells = [json.loads(path.read_text()) for path in Path("results").glob("cells/**/*.json")]
    assert sorted(cell["spec"]["encoder"]["id"] for cell in cells) == ["mine", "raw-psd", "toy", "toy"]
    kappa = {c["scores"]["kappa"]["value"] for c in cells if c["spec"]["encoder"]["id"] == "toy"}
    assert len(kappa) == 1  # the same code, by either name


def test_list_tells_plug_ins_and_what_does_not_load(installed, capsys):
    assert run_command(["list", "encoders", "--json"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["toy"] == {"id": "toy", "title": "Toy: spread of C3", "plugin": True}
    assert not rows["features"]["plugin"]
    (installed / "hypnos_bench_toy" / "__init__.py").write_text("raise RuntimeError('half\\ninstalled')")
    del sys.modules["hypnos_bench_toy"]
    assert run_command(["list", "encoders"]) == 2
    out, err = capsys.readouterr()
    assert "features" in out
    assert err == ("error: encoder 'toy' points to hypnos_bench_toy:ToyEncoder, which fails to load: half installed\n")


def test_a_module_in_the_current_folder_is_found_last(tmp_path):
    body = "class Mine:\n    card = CARD\n    def encode(self, recording): ..."
    code(body, "my_first.py")
    assert make_encoder("my_first:Mine", OPTIONS).card.id == "mine"
    assert sys.path[-1] == str(tmp_path)
    code("raise RuntimeError('shadows')", "colorsys.py")  # a module of the standard library, not imported yet
    sys.modules.pop("colorsys", None)
    with pytest.raises(UsageError, match="there is no 'Mine' in it"):
        make_encoder("colorsys:Mine", OPTIONS)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("class Mine:\n  card = CARD\n  def encode(self, r): return np.ones((3, 2))", "Mine"),
        ("class Mine:\n  card = CARD\n  def __init__(self, width=2): self.w = width\n  def encode(self, r): return np.ones((3, self.w))", "Mine"),
        ("class Mine:\n  card = CARD\n  def __init__(self, o): self.w = len(o.device)\n  def encode(self, r): return np.ones((3, self.w - 1))", "Mine"),
        ("class Mine:\n  card = CARD\n  def __init__(self, options=None): self.w = len(options.device)\n  def encode(self, r): return np.ones((3, self.w - 1))", "Mine"),
        ("class Mine:\n  card = CARD\n  def encode(self, r): return np.ones((3, 2))\nready = Mine()", "ready"),
        ("class Mine:\n  card = CARD\n  def encode(self, r): return np.ones((3, 2))\n  def __call__(self): raise 1\nready = Mine()", "ready"),
        ("class Mine:\n  card = CARD\n  def encode(self, r): return np.ones((3, 2))\ndef build(options): return Mine()", "build"),
        ("class Box:\n  class Mine:\n    card = CARD\n    def encode(self, r): return np.ones((3, 2))", "Box.Mine"),
        ("from dataclasses import dataclass\n@dataclass\nclass Mine:\n  card: 'EncoderCard' = CARD\n  def encode(self, r): return np.ones((3, 2))", "Mine"),
    ],
    ids=["plain", "own-default", "required", "named-options", "instance", "callable-instance", "function", "nested", "dataclass"],
)  # fmt: skip
def test_classes_functions_and_instances(body, name, night):
    encoder = make_encoder(f"{code(body)}:{name}", OPTIONS)
    embedding = encoder.encode(night)
    assert embedding.arrays["rows"].shape == (3, 2)
    assert embedding.arrays["rows"].dtype == np.float32
    assert (embedding.start_s, embedding.step_s) == (0.0, 30.0)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("class Mine: ...", r"Mine \(a Mine\) has no card and no encode; an encoder has an attribute card"),
        ("class Mine:\n  def encode(self, r): ...", r"\(a Mine\) has no card;"),
        ("class Mine:\n  card = CARD", r"\(a Mine\) has no encode;"),
        ("class Mine:\n  card = CARD\n  encode = 1", "has no encode"),
        ("class Mine:\n  card = {'id': 'x'}\n  def encode(self, r): ...", "its card is of type dict, not EncoderCard"),
        ("class Mine:\n  card = property(lambda self: 1 / 0)\n  def encode(self, r): ...", "its card cannot be read: ZeroDivisionError"),
        ("Mine = 3", r"\(a int\) has no card and no encode"),
        ("class Mine:\n  def __init__(self, a, b): ...", "requires the arguments a, b; it may require EncoderOptions only"),
        ("class Mine:\n  def __init__(self): raise OSError('no\\nnet')", "cannot be made: OSError: no net"),
        ("raise SystemExit(0)", "my_encoder.py fails to import: SystemExit: 0"),
        ("import no_such_thing", "fails to import: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("class Mine(: ...", "fails to import: SyntaxError"),
        ("from dataclasses import replace\nclass Mine:\n  card = replace(CARD, id='features')\n  def encode(self, r): ...", "'features' of one of the suite's own"),
        ("from dataclasses import replace\nclass Mine:\n  card = replace(CARD, id='demographics')\n  def encode(self, r): ...", "of one of the suite's own"),
        ("from dataclasses import replace\nclass Mine:\n  card = replace(CARD, id=' ')\n  def encode(self, r): ...", "has the id ' '"),
        ("from dataclasses import replace\nclass Mine:\n  card = replace(CARD, settings={'f': len})\n  def encode(self, r): ...", "card cannot be hashed: builtin_function"),
    ],
)  # fmt: skip
def test_what_is_no_encoder_is_refused_in_one_line(body, words, capsys):
    reference = f"{code(body)}:Mine"
    with pytest.raises(UsageError, match=words) as caught:
        make_encoder(reference, OPTIONS)
    assert "\n" not in str(caught.value)
    assert run_command(["show", "encoder", reference]) == 2
    assert capsys.readouterr().err.startswith("error: encoder my_encoder.py:Mine")


def test_missing_weights_of_a_plug_in_stay_missing_weights():
    path = code("from hypnos_bench.errors import DataError\ndef mine(): raise DataError('no weights')")
    with pytest.raises(DataError, match="^no weights$"):
        make_encoder(f"{path}:mine", OPTIONS)


def test_another_state_of_the_code_is_another_definition(night):
    body = "class Mine:\n  card = CARD\n  def encode(self, r): return np.ones((3, 2))\nclass Other(Mine): ..."
    path = code(body)
    first = make_encoder(f"{path}:Mine", OPTIONS)
    assert first.card.settings == {"source": file_sha256(path), "object": "Mine"}
    assert make_encoder(f"{path}:Mine", OPTIONS).inner.__class__ is first.inner.__class__  # one module, not two
    assert make_encoder(f"{path}:Other", OPTIONS).card.definition() != first.card.definition()
    code(body.replace("ones", "zeros"))  # within the second, and of nearly the same size
    changed = make_encoder(f"{path}:Mine", OPTIONS)
    assert changed.card.settings["source"] == file_sha256(path) != first.card.settings["source"]
    assert changed.encode(night).arrays["rows"].max() == 0
    assert not list(path.parent.rglob("__pycache__"))


def test_an_instance_is_defined_by_its_own_file_and_that_of_its_class():
    code("class Mine:\n  card = CARD\n  def encode(self, r): ...", "my_class.py")
    code("from my_class import Mine\nready = Mine()", "my_choice.py")
    both = make_encoder("my_choice:ready", OPTIONS).card.settings["source"]
    assert both not in (file_sha256(Path("my_class.py")), file_sha256(Path("my_choice.py")))
    assert make_encoder("my_class:Mine", OPTIONS).card.settings["source"] == file_sha256(Path("my_class.py"))


class Stub:
    """An encoder whose methods are given."""

    card = CARD

    def __init__(self, **methods):
        vars(self).update(methods)


def plugin(**methods):
    return PluginEncoder(Stub(**methods), "my:Stub", Target(Stub, plugin=True))


def raising(error):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("two\nlines"), r"^encoder my:Stub failed: ValueError: two lines \(test_plugins.py, line \d+\)$"),
        (KeyError("C3"), "KeyError: 'C3'"),
        (SystemExit(3), "SystemExit: 3"),
        (UsageError("averages"), "UsageError: averages"),
        (AssertionError(), "AssertionError: no message"),
    ],
)
def test_whatever_it_raises_costs_that_recording_only(error, words, night):
    import re

    with pytest.raises(RecordingError) as caught:
        plugin(encode=raising(error)).encode(night)
    assert re.search(words, caught.value.reason)
    again = pickle.loads(pickle.dumps(caught.value))  # workers send it back
    assert (type(again), again.recording, again.reason) == (PluginError, "r1", caught.value.reason)


@pytest.mark.parametrize(
    "error", [MemoryError(), ImportError("no torch"), type("OutOfMemoryError", (RuntimeError,), {})()]
)
def test_a_passing_fault_costs_the_recording_this_time_only(error, night):
    with pytest.raises(PluginError) as caught:
        plugin(encode=raising(error)).encode(night)
    assert is_transient(caught.value)


def test_a_fault_of_its_code_is_no_passing_one(night):
    with pytest.raises(PluginError) as caught:
        plugin(encode=raising(ValueError("shape"))).encode(night)
    assert not is_transient(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DataError("GPU is full")])
def test_what_is_no_matter_of_one_recording_passes(error, night):
    with pytest.raises(type(error)) as caught:
        plugin(encode=raising(error)).encode(night)
    assert caught.value is error


def test_its_own_refusal_passes_as_it_is(night):
    with pytest.raises(RecordingError, match="^r1: too noisy$") as caught:
        plugin(encode=raising(RecordingError("r1", "too noisy"))).encode(night)
    assert not isinstance(caught.value, PluginError)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1, 2], r"encode gave a list, not an Embedding or an array of shape \(rows, dim\)"),
        (None, "encode gave a NoneType"),
        (Embedding([1], 0.0, 30.0, {}), "arrays of type list, not a mapping"),
        (Embedding({"x": [[1.0]]}, 0.0, 30.0, {}), "a list under 'x', not a NumPy array"),
        (Embedding({3: np.ones((1, 1))}, 0.0, 30.0, {}), "a ndarray under 3"),
        (Embedding({"x": np.ones((1, 1))}, None, 30.0, {}), "start_s None, not a number"),
        (Embedding({"x": np.ones((1, 1))}, 0.0, "30", {}), "step_s '30', not a number"),
        (Embedding({"x": np.ones((1, 1))}, 0.0, 30.0, None), "channels that map not text to text"),
        (Embedding({"x": np.ones((1, 1))}, 0.0, 30.0, {}, {"C3": None}), "skipped that map not text to text"),
    ],
)
def test_what_is_no_embedding_is_said(given, words, night):
    with pytest.raises(PluginError, match=words):
        plugin(encode=lambda recording: given).encode(night)


def test_without_a_step_an_array_is_not_enough(night):
    import dataclasses

    with pytest.raises(PluginError, match="encode gave a ndarray, not an Embedding$"):
        plugin(encode=lambda r: np.ones((2, 2)), card=dataclasses.replace(CARD, step_s=None)).encode(night)


def prepared(name):
    return Prepared(name, {"x": np.ones(3, np.float32)}, {}, {})


def staged(**methods):
    usual = {"encode": None, "prepare": lambda r: prepared(r.id), "batch_size": lambda: 4}
    return plugin(**{**usual, "encode": raising(NotImplementedError()), **methods})


def test_two_stages_pass_through_and_are_offered_only_where_they_are(night):
    assert not is_staged(plugin(encode=lambda r: None))
    encoder = staged(encode_prepared=lambda several: [np.full((2, 1), len(several))] * len(several))
    assert is_staged(encoder)
    assert encoder.batch_size() == 4
    assert encoder.prepare(night).recording == "r1"
    one, two = encoder.encode_prepared([prepared("a"), prepared("b")])
    assert one.arrays["rows"][0, 0] == two.arrays["rows"][0, 0] == 2


def test_one_bad_recording_of_a_batch_costs_itself(night):
    def together(several):
        if any(p.recording == "bad" for p in several):
            raise RuntimeError("boom")
        return [np.ones((2, 1), np.float32)] * len(several)

    good, bad, other = staged(encode_prepared=together).encode_prepared([prepared(n) for n in ("a", "bad", "b")])
    assert isinstance(good, Embedding)
    assert isinstance(other, Embedding)
    assert isinstance(bad, RecordingError)
    assert (bad.recording, "RuntimeError: boom" in bad.reason) == ("bad", True)


@pytest.mark.parametrize(("given", "words"), [([], "0 outcomes for 1 recordings"), (None, "a NoneType for 1 rec")])
def test_a_batch_answers_for_every_recording(given, words):
    (outcome,) = staged(encode_prepared=lambda several: given).encode_prepared([prepared("a")])
    assert isinstance(outcome, PluginError)
    assert words in outcome.reason


def test_faults_of_the_first_stage(night):
    with pytest.raises(PluginError, match="prepare gave a int, not Prepared"):
        staged(prepare=lambda r: 3, encode_prepared=None).prepare(night)
    with pytest.raises(PluginError, match="TypeError: no"):
        staged(prepare=raising(TypeError("no")), encode_prepared=None).prepare(night)
    with pytest.raises(UsageError, match="batch_size gave 0"):
        staged(encode_prepared=None, batch_size=lambda: 0).batch_size()


def test_modalities_are_kept_from_a_plug_in_as_from_any_other(night):
    path = code("class Mine:\n  card = CARD\n  def encode(self, r): return np.full((3, 1), len(r.montage))")
    options = EncoderOptions(device="cpu", keep=("ecg",))
    encoder = make_encoder(f"{path}:Mine", options)
    assert encoder.encode(night).arrays["rows"][0, 0] == 1
    assert set(encoder.card.settings) == {"source", "object", "keep"}


def test_a_settled_reference_means_the_same_elsewhere(tmp_path):
    assert settled("my.py:Mine") == f"{tmp_path}/my.py:Mine"
    assert settled("precomputed:rows") == f"precomputed:{tmp_path}/rows"
    assert [settled(name) for name in ("features", "my:Mine")] == ["features", "my:Mine"]


def test_a_plug_in_cannot_take_a_builtin_name(installed):
    info = installed / "hypnos_bench_toy-1.0.dist-info" / "entry_points.txt"
    info.write_text("[hypnos_bench.encoders]\nfeatures = hypnos_bench_toy:ToyEncoder\n")
    with pytest.raises(UsageError, match="encoder 'features' is registered twice"):
        ENCODERS.ids()


FORGETFUL = """
class Mine:
    card = CARD
    def __init__(self, options): self.scale = float(options.choose("mine", {"scale": ("1", "2")})["scale"])
    def encode(self, recording): return np.full((int(recording.duration_s() // 30), 2), self.scale, np.float32)
"""


def test_what_the_user_gives_a_plug_in_is_part_of_its_definition_even_if_its_card_forgets_it(tmp_path):
    path, weights = code(FORGETFUL), tmp_path / "w.bin"

    def key(**options):
        return digest(make_encoder(f"{path}:Mine", EncoderOptions(**options)).card.definition())

    weights.write_bytes(b"one")
    several = [
        key(), key(settings={"mine": {"scale": "1"}}), key(settings={"mine": {"scale": "2"}}),
        key(weights={"mine": str(weights)}), key(weights={"mine": "someone/repository"}),
    ]  # fmt: skip
    weights.write_bytes(b"two")
    several.append(key(weights={"mine": str(weights)}))
    assert len(set(several)) == len(several)
    assert key(settings={"features": {"x": "1"}}, weights={"sleepfm": "best.pt"}) == several[0]  # for others
    (tmp_path / "copy.bin").write_bytes(b"two")
    assert key(weights={"mine": str(tmp_path / "copy.bin")}) == several[-1]  # content, not name


def test_settings_given_under_the_registered_id_count_too(installed, monkeypatch):
    text = (installed / "hypnos_bench_toy" / "__init__.py").read_text().replace('id="toy"', 'id="other"')
    (installed / "hypnos_bench_toy" / "__init__.py").write_text(text)
    card = make_encoder("toy", EncoderOptions(settings={"toy": {"scale": "2"}})).card
    assert card.id == "other"
    assert card.settings["given"] == {"toy": {"scale": "2"}}


def test_another_setting_embeds_again(nights, capsys):
    path = code(FORGETFUL)
    for scale in ("1", "2", "2"):
        assert embed(nights, f"{path}:Mine", "--set", f"mine.scale={scale}") == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert "3 embedded, 0 reused" in first
    assert "3 embedded, 0 reused" in second
    assert "0 embedded, 3 reused" in third


@pytest.mark.parametrize("name", ["features", "Features", " OSF", "Demographics"])
def test_the_suites_own_ids_are_taken_however_they_are_written(name):
    path = code(
        f"import dataclasses\nclass Mine:\n    card = dataclasses.replace(CARD, id={name!r})\n    encode = None"
    )
    path.write_text(path.read_text().replace("encode = None", "def encode(self, recording): ..."))
    with pytest.raises(UsageError, match="of one of the suite's own; rename it"):
        make_encoder(f"{path}:Mine", OPTIONS)
