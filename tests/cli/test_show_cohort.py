"""``hypnos-bench show cohort``: every packaged card in words and as JSON."""

import json

import pytest

from hypnos_bench.cli import run_command
from hypnos_bench.cohorts.base import CANONICAL_CHANNELS
from hypnos_bench.cohorts.card_toml import load_layout
from hypnos_bench.cohorts.registry import CARD_IDS


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def show(capsys, *words):
    code = run_command(["show", "cohort", *words])
    told = capsys.readouterr()
    return code, told.out, told.err


def parts(text):
    """Heading to its lines."""
    found, heading = {}, ""
    for line in text.splitlines():
        if not line.startswith(" "):
            heading = line.partition("  ")[0]
            found[heading] = []
        found[heading].append(line[len(heading) :].strip() if not line.startswith(" ") else line.strip())
    return found


@pytest.mark.parametrize("name", CARD_IDS)
def test_every_card_in_words(capsys, name):
    code, out, err = show(capsys, name)
    assert (code, err) == (0, "")
    layout, shown = load_layout(name), parts(out)
    assert shown["id"] == [name]
    assert shown["labels"] == [", ".join(layout.card.labels)]
    assert len(shown["channels"]) == len(CANONICAL_CHANNELS)
    for line, channel in zip(shown["channels"], CANONICAL_CHANNELS, strict=True):
        first, _, rest = line.partition(" ")
        assert first == channel
        rules = layout.channels.get(channel, ())
        assert all(str(rule) in rest for rule in rules)
        assert rules or rest.strip() in ("absent", "general alias table")
    for heading, things in (
        ("annotations", layout.annotations),
        ("tables", layout.tables),
        ("flags", layout.flags),
        ("exclusions", layout.exclude),
        ("outcomes", layout.outcomes),
        ("passed over", layout.skip),
        ("unsure", layout.unsure),
        ("same person", layout.persons.same),
        ("covariates", layout.covariates.columns),
    ):
        assert len(shown.get(heading, [])) == len(things), heading
    assert ("record label" in shown) == (layout.record is not None)
    assert ("family by" in shown) == bool(layout.persons.family or layout.persons.family_name)


@pytest.mark.parametrize("name", CARD_IDS)
def test_every_card_as_json(capsys, name):
    code, out, err = show(capsys, name, "--json")
    assert (code, err) == (0, "")
    shown, layout = json.loads(out), load_layout(name)
    assert shown["card"]["id"] == name
    assert set(shown["channels"]) == set(layout.channels)
    assert shown["layout"]["file"] == layout.layout.file
    assert len(shown["tables"]) == len(layout.tables)
    assert shown["mains_hz"] == layout.mains_hz


@pytest.mark.parametrize("name", ["edf-folder", "array-folder", "demo"])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_cohorts_without_a_packaged_card(capsys, name, form):
    code, out, err = show(capsys, name, *form)
    assert (code, err) == (0, "")
    assert (json.loads(out)["id"] if form else parts(out)["id"][0]) == name


def test_what_a_card_can_say_beside_the_usual(capsys):
    assert "familyi" in parts(show(capsys, "cfs")[1])["family by"][0]
    assert parts(show(capsys, "cinc2017")[1])["record label"] == ["label: N, A, O, ~"]
    assert parts(show(capsys, "ptb-xl")[1])["record label"] == ["scp_codes: SCP statements"]


SETTINGS = """
[mros]
words = { nap = "N1" }
[mros.channels]
ECG = ["EKG"]
[mros.units]
ECG = "uV"
[[mros.flags]]
column = "note"
value = "cpap"
contains = true
scope = ["all"]
reason = "treated"
[[mros.outcomes]]
id = "death"
title = "Death"
event = "DADEAD"
time = ["FUCYTIME"]
[mros.wide_outcomes]
is_event = "a.csv"
time_to_event = "b.csv"
unit = "days"
"""


def test_settings_are_shown_with_their_file(capsys, tmp_path):
    (tmp_path / "mine.toml").write_text(SETTINGS)
    code, out, err = show(capsys, "mros", "--cohort-settings", "mine.toml")
    assert (code, err) == (0, "")
    shown = parts(out)
    assert shown["settings"] == ["mine.toml"]
    assert "ECG  EKG in uV" in shown["channels"]
    assert all("nap = N1" in line for line in shown["annotations"])
    assert shown["flags"][0] == "note contains cpap: not for all: treated"
    assert shown["outcomes"] == ["death: DADEAD in >0; time FUCYTIME"]
    assert shown["wide outcomes"][0].endswith("b.csv by Study ID = {stem}, in days")
    as_json = json.loads(show(capsys, "mros", "--cohort-settings", "mine.toml", "--json")[1])
    assert as_json["channels"]["ECG"] == [{"plus": "EKG", "minus": None}]
    assert as_json["outcomes"][0]["event"] == "DADEAD"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("[mross]", 2, "Did you mean 'mros'?"),
        ("[mros]\nmain_hz = 50", 2, "unknown key 'main_hz'. Did you mean 'mains_hz'?"),
        ("[mros]\nexclude = 3", 2, "exclude is 3, expected a list"),
        (None, 3, "mine.toml cannot be read"),
    ],
)
def test_mistakes_in_settings_are_one_line(capsys, tmp_path, text, code, message):
    if text is not None:
        (tmp_path / "mine.toml").write_text(text)
    told = show(capsys, "mros", "--cohort-settings", "mine.toml")
    assert (told[0], told[1]) == (code, "")
    assert message in told[2]
    assert "mine.toml" in told[2]
    assert "Traceback" not in told[2]
    assert len(told[2].strip().splitlines()) == 1


def test_an_unknown_cohort_suggests_the_nearest(capsys):
    code, out, err = show(capsys, "mross")
    assert (code, out) == (2, "")
    assert "Did you mean 'mros'?" in err
