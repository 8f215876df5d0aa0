from __future__ import annotations

import subprocess
import sys

import pytest

from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.precomputed import PrecomputedEncoder
from hypnos_bench.encoders.registry import ENCODERS, check_reference, make_encoder, uses_device
from hypnos_bench.errors import UsageError


def test_the_builtin_encoders():
    known = {"hypnos-tokens", "sleepfm", "sleepfm-untrained", "osf", "osf-untrained", "raw-psd"}
    assert {"features", "hypnos", "hypnos-untrained", "precomputed", *known} <= set(ENCODERS.ids())


@pytest.mark.parametrize("name", ["features", "hypnos-untrained", "raw-psd"])
def test_each_is_called_with_options_and_has_a_card_of_its_name(name, untrained_cache):
    check_reference(name)
    encoder = make_encoder(name, EncoderOptions(cache=untrained_cache, device="cpu"))
    assert encoder.card.id == name
    assert encoder.card.title
    assert encoder.card.missing
    assert "source" not in encoder.card.settings  # its version says what it is


@pytest.mark.parametrize("look", [check_reference, lambda name: make_encoder(name, EncoderOptions())])
def test_an_unknown_name_is_told_the_nearest_one_and_how_to_name_ones_own(look):
    with pytest.raises(
        UsageError, match=r"Did you mean 'features'\? Known: .*hypnos.*module:object, path/file\.py:obj"
    ):
        look("feature")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (":Encoder", "neither a known id nor"),
        ("my_module:", "neither a known id nor"),
        ("my_module:a b", "neither a known id nor"),
        ("folder/my_encoder:Encoder", r"'folder/my_encoder' is no module name; a file needs its \.py"),
        ("gone.py:Encoder", r"gone\.py cannot be read \(No such file"),
        ("no_such_module_anywhere:Encoder", "fails to import: ModuleNotFoundError: No module named"),
        ("json:JSONDecode", r"there is no 'JSONDecode' in it\. Did you mean 'JSONDecoder'\?"),
        ("precomputed:", "names no folder"),
    ],
)
def test_a_wrong_reference_is_one_line(reference, words):
    with pytest.raises(UsageError, match=words) as caught:
        check_reference(reference)
    assert "\n" not in str(caught.value)


def test_precomputed_takes_its_folder_from_the_reference(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(PrecomputedEncoder, "__init__", lambda self, options: seen.append(options.embeddings))
    check_reference(f"precomputed:{tmp_path}/a:b")
    assert isinstance(make_encoder(f"precomputed:{tmp_path}/a:b", EncoderOptions()), PrecomputedEncoder)
    assert seen == [tmp_path / "a:b"]


def test_only_what_counts_or_reads_needs_no_device():
    alone = {name for name in ENCODERS.ids() if not uses_device(name)}
    assert alone == {"features", "raw-psd", "precomputed"}
    assert not uses_device("precomputed:folder")
    assert uses_device("my_encoder.py:Encoder")


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from hypnos_bench.encoders.registry import ENCODERS; ENCODERS.ids(); "
        "print(sorted({'torch', 'scipy', 'numpy', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
