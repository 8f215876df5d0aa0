from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, Derivation
from hypnos_bench.cohorts.layouts import Exclude, Flag, Table, load_layout, parse_layout
from hypnos_bench.errors import UsageError

MINIMAL = """
id = "x"
title = "X"
labels = ["stage"]
mains_hz = 60
{extra}
[layout]
file = '^x-(?P<person>\\d+)$'
example = "edfs/x-1.edf"
{layout}
[channels]
C3 = [{{ diff = ["C3", "A2"] }}, "C3-A2"]
{more}
"""


def card(extra: str = "", layout: str = "", more: str = "") -> str:
    return MINIMAL.format(extra=extra, layout=layout, more=more)


def test_a_minimal_card() -> None:
    layout = parse_layout(card(), "x.toml")
    assert layout.channels == {"C3": (Derivation("C3", "A2"), Derivation("C3-A2"))}
    assert (layout.mains_hz, layout.unsure, layout.aliases) == (60.0, "hypopnea", False)
    assert layout.card.split.kind == "holdout"
    assert layout.card.encoders == ("hypnos",)


def test_every_section_is_typed() -> None:
    more = """
[split]
kind = "cv5"
[[tables]]
glob = "datasets/x-*.csv"
key = "nsrrid"
transform = "int"
[covariates]
constants = { sex = "male" }
[covariates.columns]
age = ["a", "b"]
[[flags]]
column = "f"
value = "1"
scope = ["stage"]
reason = "r"
[[exclude]]
persons = ["1"]
scope = ["all"]
reason = "gone"
"""
    layout = parse_layout(card('unsure = "mixed-apnea"\naliases = true\nencoders = ["osf"]', more=more), "x.toml")
    assert layout.tables == (Table("datasets/x-*.csv", "nsrrid", "int"),)
    assert layout.flags == (Flag("f", "1", ["stage"], "r"),)
    assert layout.exclude == (Exclude(["1"], ["all"], "gone"),)
    assert layout.covariates.columns == {"age": ["a", "b"]}
    assert (layout.unsure, layout.aliases, layout.card.encoders) == ("mixed-apnea", True, ("osf",))
    assert layout.card.split.kind == "cv5"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (card("mians_hz = 50"), "unknown key 'mians_hz'. Did you mean 'mains_hz'?"),
        (card(layout='annotations = "x"'), "[layout]: unknown key 'annotations'. Did you mean 'annotation'?"),
        (card(more='C5 = ["C5"]'), "[channels]: unknown key 'C5'. Did you mean 'C"),
        (card(more='E1 = [{ dif = ["a", "b"] }]'), "[channels] E1: unknown key 'dif'. Did you mean 'diff'?"),
        (card(more='E1 = [{ diff = ["a"] }]'), "neither a label nor {diff = [a, b]}"),
        (card(more='E1 = "LOC"'), "expected a list of labels"),
        (card(more="[split]\nkind = 3"), "[split]: kind is 3"),
        (card(more="[split]\nfolds = true\nkinds = 1"), "unknown key 'kinds'"),
        (card(more='[[tables]]\nglob = "x"'), "[[tables]] 1: 'key' is missing"),
        (card(more='[[tables]]\nglob = "x"\nkey = "k"\ntransform = "upper"'), "transform: unknown 'upper'"),
        (card(more='[tables]\nglob = "x"'), "tables must be a list of tables: [[tables]]"),
        (card(more='[[flags]]\ncolumn="c"\nvalue="1"\nreason="r"\nscope=["stages"]'), "Did you mean 'stage'?"),
        (card(more='[[exclude]]\npersons=["1"]\nreason="r"\nscope=["every"]'), "unknown 'every'"),
        (card(more='[[exclude]]\npersons="1"\nreason="r"\nscope=["all"]'), "persons is '1'"),
        (card(more='[covariates.columns]\nage = "vsage1"'), "age: expected a list of columns"),
        (card('unsure = "apnea"'), "unsure: unknown 'apnea'. Did you mean 'mixed-apnea'?"),
        (card().replace('labels = ["stage"]', 'labels = ["stag"]'), "labels: unknown 'stag'. Did you mean 'stage'?"),
        (card().replace("mains_hz = 60", ""), "'mains_hz' is missing"),
        (card().replace("<person>", "<who>"), "no group named 'person'"),
        (card().replace("(?P<person>", "(("), "[layout] file: "),
        ("id = ", "x.toml: "),
    ],
)
def test_mistakes_are_named(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_layout(text, "x.toml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("x.toml")


@pytest.mark.parametrize("name", ["mros", "cpsc2021"])
def test_packaged_cards_load(name: str) -> None:
    layout = load_layout(name)
    assert layout.card.id == name
    assert layout.card.title
    assert layout.card.licence
    assert layout.card.source.startswith("https://")
    assert "105 persons" in layout.card.note or name != "cpsc2021"


def test_every_packaged_card_is_named_after_its_id() -> None:
    folder = files("hypnos_bench.cohorts") / "cards"
    for path in folder.iterdir():
        assert tomllib.loads(path.read_text())["id"] == path.name.removesuffix(".toml")


def test_mros_has_all_eight_channels_and_sixty_hertz() -> None:
    layout = load_layout("mros")
    assert tuple(sorted(layout.channels)) == tuple(sorted(CANONICAL_CHANNELS))
    assert layout.mains_hz == 60.0
    assert load_layout("cpsc2021").mains_hz == 50.0


def test_a_card_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no cohort card nope.toml"):
        load_layout("nope")
