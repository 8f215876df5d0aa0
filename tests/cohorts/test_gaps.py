"""What tables should hold and do not is told, so that a missing column or row never switches a rule off in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypnos_bench.cohorts.base import Hypnogram
from hypnos_bench.cohorts.card_toml import parse_layout
from hypnos_bench.cohorts.finder import find_files
from hypnos_bench.cohorts.joined import Joined, join_tables
from hypnos_bench.errors import UsageError

CARD = """
id = "x"
title = "X"
labels = ["stage"]
mains_hz = 50
[layout]
file = 'x-(?P<person>[a-z]\\d+)(?:-fam(?P<fam>\\d+))?'
example = "x-a1.edf"
[channels]
C3 = ["C3"]
[[tables]]
glob = "t.csv"
key = "pid"
"""


def join(base: Path, more: str, names: str = "x-a1 x-b2") -> Joined:
    for name in names.split():
        (base / f"{name}.edf").touch()
    layout = parse_layout(CARD + more, "x.toml")
    return join_tables(base, layout, find_files(base, layout).recordings)


def table(base: Path, text: str, name: str = "t.csv") -> None:
    (base / name).write_text(text.replace(" ", ",").replace("|", "\n"))


FLAG = '[[flags]]\ncolumn = "bad"\nvalue = "1"\nscope = ["stage"]\nreason = "noisy"\n'


def test_a_flag_column_that_no_table_has_is_told(tmp_path: Path) -> None:
    table(tmp_path, "pid age|a1 70|b2 60")
    assert join(tmp_path, FLAG).gaps == {"flag (noisy): no table has a column bad": 1}
    assert join(tmp_path, FLAG + "optional = true\n").gaps == {}


def test_a_flag_value_that_the_card_does_not_know_is_told(tmp_path: Path) -> None:
    table(tmp_path, "pid bad|a1 Y|b2 0")
    assert join(tmp_path, FLAG).gaps == {}
    (told,) = join(tmp_path, FLAG + 'known = ["0"]\n').gaps
    assert told.startswith("flag column bad holds 'Y', which the card does not know (say what it means: [[x.flags]]")


@pytest.mark.parametrize("held", ["1", "1.0", "0", ""])
def test_known_flag_values_are_no_gap(tmp_path: Path, held: str) -> None:
    table(tmp_path, f"pid bad other|a1 {held} 3|b2 0 3")
    assert join(tmp_path, FLAG + 'known = ["0"]\n').gaps == {}


def test_an_outcome_without_its_columns_is_told(tmp_path: Path) -> None:
    table(tmp_path, "pid dead|a1 1|b2 0")
    outcome = '[[outcomes]]\nid = "death"\ntitle = "Death"\nevent = "dead"\ntime = ["days", "months"]\n'
    assert join(tmp_path, outcome).gaps == {"time of death: no table has a column days or months": 1}
    gaps = join(tmp_path, outcome.replace('"dead"', '"died"')).gaps
    assert gaps["outcome death: no table has a column died"] == 1


def test_a_family_that_nothing_tells_is_told(tmp_path: Path) -> None:
    table(tmp_path, "pid fam|a1 7|b2")
    family = '[persons]\nfamily = "fam"\nfamily_name = "{fam}"\n'
    joined = join(tmp_path, family, "x-a1 x-b2 x-c3-fam9")
    assert {r: k.family for r, k in joined.by_id.items()} == {"x-a1": "family 7", "x-b2": None, "x-c3-fam9": "family 9"}
    assert joined.gaps["no family (fam) in any table or name: relatives may lie on both sides"] == 1


GROUP = '[[tables]]\nglob = "{}.csv"\nkey = "pid"\noptional = true\ngroup = "metadata"\n'


def test_a_recording_needs_a_row_in_one_table_of_a_group(tmp_path: Path) -> None:
    table(tmp_path, "pid|a1|b2")
    cards = GROUP.format("north") + GROUP.format("south")
    assert join(tmp_path, cards).gaps == {"recordings without a row of metadata: no such table was found": 2}
    table(tmp_path, "pid|a1", "north.csv")
    assert join(tmp_path, cards).gaps == {"recordings without a row in north.csv": 1}
    table(tmp_path, "pid|b2", "south.csv")
    assert join(tmp_path, cards).gaps == {}


def test_recordings_without_a_required_row_were_withdrawn(tmp_path: Path) -> None:
    table(tmp_path, "pid|a1")
    card = CARD + "row_required = true\n"
    for name in ("x-a1", "x-b2"):
        (tmp_path / f"{name}.edf").touch()
    layout = parse_layout(card, "x.toml")
    joined = join_tables(tmp_path, layout, find_files(tmp_path, layout).recordings)
    assert joined.by_id["x-b2"].unusable == {"all": "withdrawn: no row in t.csv"}
    assert joined.by_id["x-a1"].unusable == {}
    assert joined.gaps == {}


RECORD = '[record]\ncolumn = "label"\ncodes = ["N", "A"]\ntotals = { N = 1, A = 1 }\n'


def test_labels_of_another_version_are_told_by_their_counts(tmp_path: Path) -> None:
    table(tmp_path, "pid label|a1 N|b2 A")
    assert join(tmp_path, RECORD).gaps == {}
    table(tmp_path, "pid label|a1 N|b2 N")
    assert join(tmp_path, RECORD).gaps == {"labels are of another version: N 2; meant is N 1, A 1": 1}


def test_a_part_of_the_set_says_nothing_about_the_version(tmp_path: Path) -> None:
    table(tmp_path, "pid label|a1 N")
    assert join(tmp_path, RECORD, "x-a1").gaps == {}


def test_persons_are_assumed_when_the_table_that_knows_them_is_missing(tmp_path: Path) -> None:
    column = '[persons]\ncolumn = "who"\n'
    table(tmp_path, "pid who|a1 z|b2 z")
    assert not join(tmp_path, column).persons_assumed
    table(tmp_path, "pid who|a1 z|b2")
    assert join(tmp_path, column).persons_assumed
    assert join(tmp_path, "[persons]\nunknown = true\n").persons_assumed


def test_a_person_of_whom_only_skipped_files_are_there_is_listed(tmp_path: Path) -> None:
    skip = "[[skip]]\nfile = 'x-(?P<person>[a-z]\\d+)_\\d'\nreason = 'a nap'\n"
    for name in ("x-a1", "x-a1_1", "x-b2_1", "x-b2_2"):
        (tmp_path / f"{name}.edf").touch()
    found = find_files(tmp_path, parse_layout(CARD + skip, "x.toml"))
    assert [(e.recording, e.reason) for e in found.excluded] == [("x-b2_1", "nothing but: a nap")]
    assert found.remarks == {"passed over: a nap": 3}


def test_a_companion_that_is_needed_must_be_named() -> None:
    annotation = '[[annotations]]\nkind = "rhythm"\npath = "{stem}.atr"\nneeds = ["beats"]\n'
    with pytest.raises(UsageError, match="needs: unknown 'beats'"):
        parse_layout(CARD + annotation, "x.toml")


def test_wake_far_from_sleep_counts_as_unscored() -> None:
    import numpy as np

    codes = np.array([0, 0, 0, 2, 0, 4, 0, 0, -1], dtype=np.int8)
    cropped = Hypnogram(30.0 * np.arange(9), codes).within(30.0)
    assert cropped.codes.tolist() == [-1, -1, 0, 2, 0, 4, 0, -1, -1]
    assert cropped.start_s.tolist() == (30.0 * np.arange(9)).tolist()
    awake = Hypnogram(30.0 * np.arange(2), np.zeros(2, dtype=np.int8))
    assert awake.within(30.0) is awake
