from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, Derivation
from hypnos_bench.cohorts.card import Annotation, Exclude, Flag, Table
from hypnos_bench.cohorts.card_toml import load_layout, parse_layout
from hypnos_bench.cohorts.registry import CARD_IDS
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
    assert (layout.mains_hz, layout.aliases, layout.annotations) == (60.0, False, ())
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
[[annotations]]
kind = "nsrr-xml"
path = "xml/{stem}.xml"
options = { unsure = "mixed-apnea" }
words = { "deep" = "N3" }
"""
    layout = parse_layout(card('aliases = true\nencoders = ["osf"]\nwords = { "nap" = "ignore" }', more=more), "x.toml")
    assert layout.tables == (Table("datasets/x-*.csv", "nsrrid", transform="int"),)
    assert layout.flags == (Flag("f", "1", "r", ("stage",)),)
    assert layout.exclude == (Exclude(("all",), "gone", ("1",)),)
    assert layout.covariates.columns == {"age": ("a", "b")}
    words = {"deep": "N3", "nap": "ignore"}
    expected = Annotation("nsrr-xml", "xml/{stem}.xml", options={"unsure": "mixed-apnea"}, words=words)
    assert layout.annotations == (expected,)
    assert (layout.aliases, layout.card.encoders) == (True, ("osf",))
    assert layout.card.split.kind == "cv5"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (card("mians_hz = 50"), "unknown key 'mians_hz'. Did you mean 'mains_hz'?"),
        (card(layout='edf = "x"'), "[layout]: unknown key 'edf'."),
        (card(layout='person = "{who}"'), "uses {who}."),
        (card(more='[[annotations]]\nkind = "nsrr"\npath = "x"'), "unknown kind 'nsrr'. Did you mean 'nsrr-xml'?"),
        (
            card(more='[[annotations]]\nkind = "nsrr-xml"\npath = "{stem}.xml"\noptions = {unsur = "x"}'),
            "unknown key 'unsur'. Did you mean 'unsure'?",
        ),
        (
            card(more='[[annotations]]\nkind = "nsrr-xml"\npath = "{stem}.xml"\noptions = {unsure = "x"}'),
            "unsure = 'x' is unknown",
        ),
        (
            card(more='[[annotations]]\nkind = "nsrr-xml"\npath = "{stem}.xml"\nwords = {x = "N5"}'),
            "'N5' is no meaning",
        ),
        (card(more='[[annotations]]\nkind = "nsrr-xml"\npath = "{visit}.xml"'), "uses {visit}."),
        (
            card(more='[[exclude]]\nreason="r"\nscope=["all"]'),
            "name persons, recordings, a condition (where), or every = true",
        ),
        (card(more='C5 = ["C5"]'), "[channels]: unknown key 'C5'. Did you mean 'C"),
        (card(more='E1 = [{ dif = ["a", "b"] }]'), "[channels] E1: unknown key 'dif'. Did you mean 'diff'?"),
        (card(more='E1 = [{ diff = ["a"] }]'), "neither a label nor {diff = [a, b]}"),
        (card(more='E1 = "LOC"'), "expected a list of labels"),
        (card(more="[split]\nkind = 3"), "kind = 3 is unknown"),
        (card(more="[split]\nfolds = true\nkinds = 1"), "unknown key 'kinds'"),
        (card(more='[[tables]]\nglob = "x"'), "[[tables]] 1: 'key' is missing"),
        (card(more='[[tables]]\nglob = "x"\nkey = "k"\ntransform = "upper"'), "transform = 'upper' is unknown"),
        (card(more='[tables]\nglob = "x"'), "tables is {'glob': 'x'}, expected a list of"),
        (card(more='[[flags]]\ncolumn="c"\nvalue="1"\nreason="r"\nscope=["stages"]'), "Did you mean 'stage'?"),
        (card(more='[[exclude]]\npersons=["1"]\nreason="r"\nscope=["every"]'), "unknown 'every'"),
        (card(more='[[exclude]]\npersons="1"\nreason="r"\nscope=["all"]'), "persons is '1'"),
        (card(more='[covariates.columns]\nage = "vsage1"'), "age is 'vsage1', expected a list of text"),
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


@pytest.mark.parametrize("name", CARD_IDS)
def test_packaged_cards_load(name: str) -> None:
    layout = load_layout(name)
    assert layout.card.id == name
    assert layout.card.title
    assert layout.card.licence
    assert layout.card.access in ("nsrr", "open", "credentialed", "restricted")
    assert layout.card.source.startswith("https://")
    assert layout.layout.example
    assert layout.annotations or layout.record, "nothing says where the labels are"


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
