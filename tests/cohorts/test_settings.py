"""A user's cohort settings (``--cohort-settings FILE``) on top of a packaged card."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hypnos_bench.cohorts.base import Cohort, CohortOptions, Outcome, Recording
from hypnos_bench.cohorts.card import CohortLayout, Exclude
from hypnos_bench.cohorts.card_toml import load_layout
from hypnos_bench.cohorts.opener import card_cohort
from hypnos_bench.cohorts.writers.mros import write_mros_tree
from hypnos_bench.errors import DataError, RecordingError, UsageError
from hypnos_bench.signals.base import Derivation

MINUTE_H = 1 / 60


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def layout(tmp_path: Path, text: str, cohort: str = "mros") -> CohortLayout:
    return load_layout(cohort, write(tmp_path / "mine.toml", text))


# What may be added and replaced


def test_lists_of_tables_are_put_in_front_of_the_card_s_own(tmp_path: Path) -> None:
    card = load_layout("mros")
    own = layout(
        tmp_path,
        """
[mros]
unsure = ["mine"]
[[mros.tables]]
glob = "a.csv"
key = "ID"
[[mros.outcomes]]
id = "death"
title = "Death"
event = "DADEAD"
[[mros.exclude]]
persons = ["aa0001"]
scope = ["all"]
reason = "mine"
[[mros.flags]]
column = "mine"
value = "1"
reason = "mine"
[[mros.skip]]
file = "mine"
reason = "mine"
[[mros.annotations]]
kind = "luna-annot"
path = "{stem}.annot"
""",
    )
    for name in ("tables", "outcomes", "exclude", "flags", "skip", "annotations", "unsure"):
        before, after = getattr(card, name), getattr(own, name)
        assert len(after) == len(before) + 1, name
        assert after[1:] == before, name
    assert own.exclude[0] == Exclude(("all",), "mine", ("aa0001",))
    assert own.settings_file.endswith("mine.toml")


def test_replaced_lists_take_over(tmp_path: Path) -> None:
    exclude = '[[mros.exclude]]\npersons = ["a"]\nscope = ["stage"]\nreason = "mine"\n'
    own = layout(tmp_path, f'[mros]\nreplace = ["exclude", "tables"]\ntables = []\n{exclude}')
    assert own.exclude == (Exclude(("stage",), "mine", ("a",)),)
    assert own.tables == ()
    assert own.flags == load_layout("mros").flags


def test_other_tables_are_merged_key_by_key(tmp_path: Path) -> None:
    card = load_layout("mros")
    own = layout(
        tmp_path,
        """
[mros]
mains_hz = 50
full_staging = false
[mros.channels]
ECG = ["EKG"]
[mros.units]
ECG = "uV"
[mros.covariates]
missing = ["x"]
[mros.covariates.columns]
age = ["mine"]
new = ["other"]
[mros.layout]
folders = ["MrOS"]
[mros.split]
kind = "cv5"
""",
    )
    assert own.channels == {**card.channels, "ECG": (Derivation("EKG"),)}
    assert (own.mains_hz, own.full_staging, own.units) == (50.0, False, {"ECG": "uV"})
    assert own.covariates.columns == {**card.covariates.columns, "age": ("mine",), "new": ("other",)}
    assert (own.covariates.missing, own.covariates.constants) == (("x",), {"sex": "male"})
    assert (own.layout.folders, own.layout.file) == (("MrOS",), card.layout.file)
    assert own.card.split.kind == "cv5"


def test_words_reach_every_annotation(tmp_path: Path) -> None:
    own = layout(tmp_path, '[mros.words]\nnap = "ignore"\ndoze = "N1"\n')
    assert [a.words for a in own.annotations] == [{"nap": "ignore", "doze": "N1"}] * 2


def test_words_of_the_cohort_win_over_those_of_an_annotation(tmp_path: Path) -> None:
    text = '[mros]\nwords = { nap = "N1" }\n[[mros.annotations]]\nkind = "nsrr-xml"\npath = "x"\n'
    own = layout(tmp_path, text + 'words = { nap = "N3", doze = "N2" }')
    assert own.annotations[0].words == {"nap": "N1", "doze": "N2"}


def test_another_cohort_s_settings_change_nothing(tmp_path: Path) -> None:
    assert layout(tmp_path, "[shhs]\nmains_hz = 50\n") == load_layout("mros")
    assert layout(tmp_path, "") == load_layout("mros")


def test_paths_are_taken_from_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = """
[[mros.tables]]
glob = "sub/x-*.csv"
key = "ID"
[[mros.tables]]
glob = "/data/y.csv"
key = "ID"
[[mros.tables]]
glob = "~/z.csv"
key = "ID"
[mros.wide_outcomes]
is_event = "a.csv"
time_to_event = "../b.csv"
demographics = "~/c.csv"
unit = "days"
"""
    own = load_layout("mros", write(tmp_path / "etc/mine.toml", text))
    base = tmp_path.resolve() / "etc"
    globs = [str(base / "sub/x-*.csv"), "/data/y.csv", str(tmp_path / "home/z.csv")]
    assert [t.glob for t in own.tables[:3]] == globs
    wide = own.wide_outcomes
    assert wide is not None
    assert [wide.is_event, wide.time_to_event, wide.demographics] == [
        str(base / "a.csv"),
        str(base / "../b.csv"),
        str(tmp_path / "home/c.csv"),
    ]


# Mistakes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[mross]\nmains_hz = 50", "{f}: 'mross' is not a table of a cohort. Did you mean 'mros'?"),
        ("mains_hz = 50", "{f}: 'mains_hz' is not a table of a cohort."),
        ("mros = 3", "{f}: 'mros' is not a table of a cohort."),
        ("[edf-folder]\nmains_hz = 50", "{f}: 'edf-folder' is not a table of a cohort."),
        ("[mros", "{f}: "),
        ("[mros]\nmain_hz = 50", "mros.toml with [mros] of {f}: unknown key 'main_hz'. Did you mean 'mains_hz'?"),
        ('[[mros.tables]]\nglob = "x"\nkeys = "y"', "mros.toml with [mros] of {f} [[tables]] 1: unknown key 'keys'."),
        ("[mros]\nmains_hz = '50'", "mros.toml with [mros] of {f}: mains_hz is '50', expected a number"),
        ("[mros]\nmains_hz = 0", "mros.toml with [mros] of {f}: mains of 0 Hz"),
        ("[mros]\nmains_hz = nan", "mros.toml with [mros] of {f}: mains of nan Hz"),
        ('[mros]\nid = "mine"', "{f}: id cannot be changed"),
        ('[mros]\ntitle = "mine"', "{f}: title cannot be changed"),
        ('[mros]\nlabels = ["stage"]', "{f}: labels cannot be changed"),
        ('[mros]\nreplace = ["channels"]', "{f}: replace = ['channels'] must name some of skip, "),
        ('[mros]\nreplace = "tables"', "{f}: replace = 'tables' must name some of skip, "),
        ("[mros]\nreplace = 3", "{f}: replace = 3 must name some of skip, "),
        ('[mros.tables]\nglob = "x"', "{f}: tables is {{'glob': 'x'}}, expected a list: [[mros.tables]]"),
        ("[mros]\nexclude = 3", "{f}: exclude is 3, expected a list: [[mros.exclude]]"),
        ('[mros]\nunsure = "x"', "{f}: unsure is 'x', expected a list: unsure = [...]"),
        ("[mros]\ntables = [3]", "mros.toml with [mros] of {f} [[tables]] 1: expected a table"),
        ("[mros]\nchannels = 3", "mros.toml with [mros] of {f}: channels is 3, expected a table"),
        ('[mros.words]\nx = "N5"', "mros.toml with [mros] of {f} [[annotations]] nsrr-xml: words: 'x' = 'N5' is no meaning."),
        ('[mros.units]\nEKG = "uV"', "mros.toml with [mros] of {f} [units]: unknown 'EKG'. Did you mean 'ECG'?"),
        ('[[mros.exclude]]\nwhere = {{ visits = "1" }}\nscope = ["all"]\nreason = "r"', "mros.toml with [mros] of {f} [[exclude]] where: unknown 'visits'. Did you mean 'visit'?"),
        ('[[mros.tables]]\nglob = "x"\nkey = "k"\nmatch = "{{person:06d}}"', "mros.toml with [mros] of {f} [[tables]] "),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        layout(tmp_path, text.format())
    assert str(caught.value).startswith(message.format(f=tmp_path / "mine.toml"))
    assert "\n" not in str(caught.value)


def test_settings_that_are_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cohort settings .*none\.toml cannot be read"):
        load_layout("mros", tmp_path / "none.toml")
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        load_layout("mros", tmp_path / "x.toml")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbf[mros]\r\nmains_hz = 50\r\n")
    assert load_layout("mros", tmp_path / "x.toml").mains_hz == 50.0


# From end to end


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mros")
    write_mros_tree(root, n_persons=3, hours=MINUTE_H, seed=1)
    return root


def opened(root: Path, tmp_path: Path, text: str) -> Cohort:
    return card_cohort("mros").open(CohortOptions(root, settings=write(tmp_path / "mine.toml", text)))


MROS_ONLINE = """
[mros.clock]
unit = "{unit}"
offset = {{ 2 = "FUVSYT" }}
[[mros.tables]]
glob = "online.csv"
key = "ID"
[[mros.outcomes]]
id = "death"
title = "Death of any cause"
event = "DADEAD"
happened = ["1"]
not_happened = ["0"]
time = ["FUCYTIME"]
"""


def test_mros_deaths_from_a_user_s_own_table(tree: Path, tmp_path: Path) -> None:
    write(
        tmp_path / "online.csv", "ID,DADEAD,FUCYTIME,FUVSYT\nAA0001,1,3652.5,365.25\nAA0002,0,1461,2000\nAA0003,1,,\n"
    )
    cohort = opened(tree, tmp_path, MROS_ONLINE.format(unit="days"))
    outcomes = {r.id.removeprefix("mros-"): dict(r.outcomes) for r in cohort.recordings}
    assert outcomes == {
        "visit1-aa0001": {"death": Outcome(True, 10.0)},
        "visit1-aa0002": {"death": Outcome(False, 4.0)},
        "visit1-aa0003": {},
        "visit2-aa0001": {"death": Outcome(True, 9.0)},
        "visit2-aa0002": {},  # follow-up ended before the second visit
        "visit2-aa0003": {},
    }
    assert cohort.recordings[0].covariates["age"] > 60  # the card's own tables are still there
    assert "death: did not happen, but follow-up ended at or before this recording" in cohort.remarks
    assert "death: FUVSYT is blank: the day of this recording is not known" in cohort.remarks


def test_without_the_day_of_the_second_visit_nothing_is_guessed(tree: Path, tmp_path: Path) -> None:
    write(tmp_path / "online.csv", "ID,DADEAD,FUCYTIME\nAA0001,1,3652.5\n")
    text = MROS_ONLINE.format(unit="days").replace('offset = { 2 = "FUVSYT" }', "")
    with pytest.raises(DataError, match=r'one row of times for visits 1 and 2.*set \[clock\] offset = \{"2" = '):
        opened(tree, tmp_path, text)


def test_the_wrong_unit_stops_and_names_the_setting(tree: Path, tmp_path: Path) -> None:
    write(tmp_path / "online.csv", "ID,DADEAD,FUCYTIME,FUVSYT\nAA0001,1,3652.5,365.25\n")
    with pytest.raises(
        DataError, match=r'AA0001\): FUCYTIME is 3652.5 years, .*\[clock\] max_years; .*set unit = "days"'
    ):
        opened(tree, tmp_path, MROS_ONLINE.format(unit="years"))
    write(tmp_path / "online.csv", "ID,DADEAD,FUCYTIME,FUVSYT\nAA0001,1,10.5,4\n")
    with pytest.raises(DataError, match='longest follow-up of all is 10.5 days, .*set unit = "years"'):
        opened(tree, tmp_path, MROS_ONLINE.format(unit="days"))
    cohort = opened(tree, tmp_path, MROS_ONLINE.format(unit="years"))
    assert {r.visit: dict(r.outcomes) for r in cohort.recordings if r.person == "aa0001"} == {
        "1": {"death": Outcome(True, 10.5)},
        "2": {"death": Outcome(True, 6.5)},
    }


def test_a_table_that_the_user_names_must_be_there(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mine.toml: \[\[mros.tables\]\] glob = '.*online.csv' fits no file"):
        opened(tree, tmp_path, MROS_ONLINE.format(unit="days"))


def test_an_unknown_stage_is_refused_with_the_setting_that_reads_it(tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(tree, root)
    for xml in root.rglob("*-nsrr.xml"):
        xml.write_bytes(xml.read_bytes().replace(b"Wake|0", b"Drowsy|8").replace(b"Stage 2 sleep|2", b"Drowsy|8"))
    changed = [x.name for x in root.rglob("*-nsrr.xml") if b"Drowsy" in x.read_bytes()]
    name = changed[0].removesuffix("-nsrr.xml")

    def recording(text: str) -> Recording:
        return next(r for r in opened(root, tmp_path, text).recordings if r.id == name)

    with pytest.raises(RecordingError) as caught:
        recording("").hypnogram()
    assert str(caught.value).startswith(f"{name}: {changed[0]}: ")
    assert (
        'unknown sleep stage \'Drowsy\'. If it is right, say what it means in the cohort settings: words = { "drowsy" = "N2" }'
        in str(caught.value)
    )
    for meaning, code in (("N1", 1), ("unscored", -1)):
        assert code in recording(f'[mros]\nfull_staging = false\nwords = {{ "drowsy" = "{meaning}" }}').stages()


def test_exclusions_of_a_user(tree: Path, tmp_path: Path) -> None:
    text = """
[[mros.exclude]]
recordings = ["MROS-visit1-AA0001"]
scope = ["all"]
reason = "too noisy"
[[mros.exclude]]
persons = ["AA0002"]
scope = ["stage"]
visit = "2"
reason = "my own list"
"""
    cohort = opened(tree, tmp_path, text)
    assert [(e.recording, e.reason) for e in cohort.excluded] == [("mros-visit1-aa0001", "too noisy")]
    assert {r.id: dict(r.unusable) for r in cohort.recordings if r.unusable} == {
        "mros-visit2-aa0002": {"stage": "my own list"}
    }


# Fingerprints: what was computed under other settings must not be taken for the same

LABELS = {
    "words": '[mros.words]\nnap = "N1"',
    "options": "[mros]\nreplace = ['annotations']\n[[mros.annotations]]\nkind = 'nsrr-xml'\n"
    "path = 'polysomnography/annotations-events-nsrr/visit{visit}/{stem}-nsrr.xml'\noptions = { desaturations = 'drop' }",
    "exclude": '[[mros.exclude]]\npersons = ["aa0001"]\nscope = ["arousal"]\nreason = "mine"',
    "flags": '[[mros.flags]]\ncolumn = "gender"\nvalue = "2"\nscope = ["stage"]\nreason = "mine"',
    "full_staging": "[mros]\nfull_staging = false",
}
SOURCES = {
    "channels": '[mros.channels]\nC3 = ["C3"]',
    "mains": "[mros]\nmains_hz = 50",
    "units": '[mros.units]\nABD = "mV"',
}
NEITHER = {
    "nothing": "[mros]",
    "the same": "[mros]\nmains_hz = 60\nfull_staging = true",
    "a rule that no file needs": '[mros.channels]\nC3 = [{ diff = ["C3", "A2"] }, { diff = ["C3", "M2"] }, "C3-A2", "Z"]',
    "tables": '[[mros.tables]]\nglob = "none.csv"\nkey = "x"\noptional = true',
    "outcomes": '[[mros.outcomes]]\nid = "a"\ntitle = "A"\nevent = "x"',
    "remark": '[[mros.flags]]\ncolumn = "gender"\nvalue = "2"\nreason = "mine"',
    "covariates": '[mros.covariates.columns]\nage = ["x"]',
    "another person": '[[mros.exclude]]\npersons = ["aa0002"]\nscope = ["stage"]\nreason = "mine"',
}


@pytest.mark.parametrize("name", [*LABELS, *SOURCES, *NEITHER])
def test_settings_change_exactly_the_fingerprints_they_should(tree: Path, tmp_path: Path, name: str) -> None:
    before = card_cohort("mros").open(CohortOptions(tree)).recordings[0]
    after = opened(tree, tmp_path, {**LABELS, **SOURCES, **NEITHER}[name]).recordings[0]
    assert before.id == after.id == "mros-visit1-aa0001"
    changed = (
        before.label_fingerprint() != after.label_fingerprint(),
        before.source_fingerprint() != after.source_fingerprint(),
    )
    assert changed == (name in LABELS, name in SOURCES)


def test_an_outcome_with_the_card_s_id_stands_for_it(tmp_path: Path) -> None:
    own = '[[shhs.outcomes]]\nid = "death"\ntitle = "Death"\nevent = "vital"\nhappened = ["dead"]\nnot_happened = ["alive"]'
    (tmp_path / "mine.toml").write_text(own)
    before, after = load_layout("shhs").outcomes, load_layout("shhs", tmp_path / "mine.toml").outcomes
    assert sorted(e.id for e in after) == sorted(e.id for e in before)
    assert next(e.happened for e in after if e.id == "death") == ("dead",)


def test_a_table_with_the_card_s_glob_and_visit_stands_for_it(tmp_path: Path) -> None:
    old = next(t for t in load_layout("mros").tables if t.visit == "1")
    (tmp_path / "mine.toml").write_text(f'[[mros.tables]]\nglob = "{old.glob}"\nvisit = "1"\nkey = "other_id"')
    tables = load_layout("mros", tmp_path / "mine.toml").tables
    assert len(tables) == len(load_layout("mros").tables)
    assert next(t.key for t in tables if t.glob == old.glob) == "other_id"
