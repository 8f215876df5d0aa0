"""Weights and settings that no encoder would ever look at are a mistake, and said to be one."""

import textwrap

import click
import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.cli.options import make_encoder_options

PLUGIN = """
from hypnos_bench.encoders.base import EncoderCard
class Mine:
    card = EncoderCard("mine", "Mine", "1", 30.0, 30.0, True, 0, ("C3",), "refused", licence="MIT")
    def encode(self, recording): ...
"""


@pytest.fixture
def plugin(tmp_path):
    (tmp_path / "p.py").write_text(textwrap.dedent(PLUGIN))
    return f"{tmp_path / 'p.py'}:Mine"


def options(references, weights=(), set_=()):
    rest = dict.fromkeys(("embeddings", "device", "precision", "chunk_tokens", "cache"))
    values = {"weights": weights, "set_": set_, "per_modality": False, "zero_phase": False, **rest}
    return make_encoder_options(values, references)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"set_": ["featrues.x=1"]}, r"--set featrues\.\.\.: no encoder of that name\. Did you mean 'features'\?"),
        ({"weights": ["osff=nope"]}, r"--weights osff\.\.\.: no encoder of that name\. Did you mean 'osf'\?"),
        ({"set_": ["mien.x=1"]}, r"--set mien.*Did you mean 'mine'\?.*Known: .*mine"),
    ],
)
def test_a_misspelt_id_is_told_the_nearest_one(given, words, plugin):
    with pytest.raises(click.UsageError, match=words):
        options(["features", plugin], **given)


def test_an_id_that_another_command_would_ask_for_is_let_pass(plugin):
    known = options(["features"], weights=["sleepfm=a.pt", "b.safetensors"], set_=["osf.feature=both"])
    assert dict(known.weights) == {"sleepfm": "a.pt", "hypnos": "b.safetensors"}
    assert options(["features", plugin], set_=["mine.width=3"]).settings == {"mine": {"width": "3"}}
    with pytest.raises(click.UsageError, match="no encoder of that name"):
        options(["features"], set_=["mine.width=3"])  # nobody here is called so


def test_what_is_given_for_an_encoder_that_is_not_asked_is_told(capsys):
    options(["osf-untrained"], set_=["osf.size=vit_nano"], weights=["a.safetensors"])
    told = capsys.readouterr().err
    assert "note: --set is given for osf, which this command does not ask (osf-untrained)" in told
    assert "note: --weights is given for hypnos" in told
    options(["hypnos-tokens"], weights=["a.safetensors"])
    options([], weights=["a.safetensors"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("wrong", [["--set", "featrues.x=1"], ["--weights", "osff=nope"]])
@pytest.mark.parametrize(
    "words",
    [
        ["run", "staging", "--cohort", "edf-folder", "--root", ".", "--encoder", "features", "--dry-run"],
        ["embed", "--cohort", "edf-folder", "--root", ".", "--encoder", "features"],
        ["export", "--cohort", "edf-folder", "--root", ".", "--encoder", "features", "--out", "out"],
        ["doctor", "encoder", "features"],
        ["show", "encoder", "features"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_that_asks_an_encoder_refuses(words, wrong, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_command([*words, *wrong]) == 2
    assert "no encoder of that name. Did you mean" in capsys.readouterr().err
