from __future__ import annotations

from pathlib import Path

import pytest

from hypnos_bench.cohorts.base import Outcome
from hypnos_bench.cohorts.card_toml import parse_layout
from hypnos_bench.cohorts.finder import find_files
from hypnos_bench.cohorts.joined import Joined, join_tables
from hypnos_bench.cohorts.writers.csv_tables import write_csv
from hypnos_bench.errors import DataError, UsageError

REAL = Path(__file__).parents[2] / "../shared/data/survival"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no shared survival tables")

CARD = """
id = "x"
title = "X"
labels = ["stage"]
mains_hz = 50
{top}
[layout]
file = 'x(?P<visit>[12])-(?P<person>[a-z]\\d+)(?:-fam(?P<fam>\\d+))?'
visit = "{visit}"
example = "x1-a1.edf"
[channels]
C3 = ["C3"]
{more}
"""

KEY = '[[tables]]\nglob = "t.csv"\nkey = "pid"\n'


def join(base: Path, names: str, more: str = "", top: str = "") -> Joined:
    for name in names.split():
        (base / f"{name}.edf").touch()
    layout = parse_layout(CARD.replace("{top}", top).replace("{more}", more), "x.toml")
    return join_tables(base, layout, find_files(base, layout).recordings)


def table(base: Path, text: str, name: str = "t.csv") -> None:
    lines = [line.split() for line in text.strip().splitlines()]
    header, rows = lines[0], [["" if cell == "_" else cell for cell in line] for line in lines[1:]]
    write_csv(base / name, [dict(zip(header, row, strict=True)) for row in rows])


def persons(joined: Joined) -> dict[str, str]:
    return {recording: known.person for recording, known in joined.by_id.items()}


AGE = "[covariates.columns]\nage = ['age', 'old_age']\n"


def test_rows_join_by_key_in_any_case(tmp_path: Path) -> None:
    table(tmp_path, "PID age\nA1 70\nb2 60")
    joined = join(tmp_path, "x1-a1 x1-B2", KEY + AGE)
    assert {r: k.covariates for r, k in joined.by_id.items()} == {"x1-a1": {"age": 70.0}, "x1-B2": {"age": 60.0}}
    assert joined.gaps == {}


def test_a_table_of_one_visit_says_nothing_about_the_other(tmp_path: Path) -> None:
    table(tmp_path, "pid age\na1 70")
    joined = join(tmp_path, "x1-a1 x2-a1", KEY + 'visit = "1"\n' + AGE)
    assert [k.covariates for k in joined.by_id.values()] == [{"age": 70.0}, {}]
    assert joined.gaps == {}


def test_a_visit_column_picks_the_row(tmp_path: Path) -> None:
    table(tmp_path, "pid v age\na1 1 70\na1 2.0 75\nb1 1 60")
    joined = join(tmp_path, "x1-a1 x2-a1 x2-b1", KEY + 'visit_column = "v"\n' + AGE)
    assert [k.covariates for k in joined.by_id.values()] == [{"age": 70.0}, {"age": 75.0}, {}]
    assert joined.gaps == {"recordings without a row in t.csv": 1}


def test_the_first_table_and_column_with_a_value_wins(tmp_path: Path) -> None:
    table(tmp_path, "pid age old_age\na1 _ 1\nb1 . .", "t.csv")
    table(tmp_path, "key age\na1 2\nb1 3", "u.csv")
    two = KEY + '[[tables]]\nglob = "u.csv"\nkey = ["none", "key"]\n'
    joined = join(tmp_path, "x1-a1 x1-b1", two + AGE)
    assert [k.covariates for k in joined.by_id.values()] == [{"age": 2.0}, {"age": 3.0}]


@pytest.mark.parametrize("column", ["pid", "PID", "Pid"])
def test_a_cell_of_the_tables_before_joins_the_next_one(tmp_path: Path, column: str) -> None:
    table(tmp_path, "stem PID\nx1-a1 77\nx1-b1 _\nx1-c1 99", "t.csv")
    table(tmp_path, "number age\n77 70\n88 1", "u.csv")
    chain = '[[tables]]\nglob = "t.csv"\nkey = "stem"\nmatch = "{stem}"\n'
    chain += f'[[tables]]\nglob = "u.csv"\nkey = "number"\nmatch = "{{cell[{column}]}}"\n'
    joined = join(tmp_path, "x1-a1 x1-b1 x1-c1 x1-d1", chain + AGE)
    assert [k.covariates for k in joined.by_id.values()] == [{"age": 70.0}, {}, {}, {}]
    assert joined.gaps == {"recordings without a row in t.csv": 1, "recordings without a row in u.csv": 3}


def test_a_blank_cell_gives_way_to_a_later_table(tmp_path: Path) -> None:
    table(tmp_path, "stem pid\nx1-a1 _", "t.csv")
    table(tmp_path, "stem pid\nx1-a1 77", "u.csv")
    table(tmp_path, "number age\n77 70", "v.csv")
    by_stem = 'key = "stem"\nmatch = "{stem}"\n'
    chain = f'[[tables]]\nglob = "t.csv"\n{by_stem}[[tables]]\nglob = "u.csv"\n{by_stem}'
    chain += '[[tables]]\nglob = "v.csv"\nkey = "number"\nmatch = "{cell[pid]}"\n'
    assert join(tmp_path, "x1-a1", chain + AGE).by_id["x1-a1"].covariates == {"age": 70.0}


def test_a_recording_without_rows_keeps_what_needs_none(tmp_path: Path) -> None:
    table(tmp_path, "pid age sick\na1 70 1")
    more = (
        KEY
        + "[[outcomes]]\nid = 'death'\ntitle = 'Death'\nevent = 'dead'\n"
        + "[[flags]]\ncolumn = 'sick'\nvalue = '1'\nreason = 'r'\nscope = ['stage']\n"
        + "[covariates]\nconstants = { sex = 'male' }\n"
        + AGE
    )
    joined = join(tmp_path, "x1-a1 x1-b1", more)
    alone = joined.by_id["x1-b1"]
    assert (alone.person, alone.family, alone.record, alone.quality) == ("b1", None, (), ())
    assert (alone.covariates, alone.outcomes, alone.unusable) == ({"sex": "male"}, {}, {})
    assert joined.by_id["x1-a1"].unusable == {"stage": "r"}
    assert joined.gaps["recordings without a row in t.csv"] == 1
    assert joined.remarks["death: no row with column dead"] == 2


def test_without_any_table_there_is_one_gap_per_table_and_nothing_else(tmp_path: Path) -> None:
    two = KEY + '[[tables]]\nglob = "u-*.csv"\nkey = "pid"\n[[tables]]\nglob = "v.csv"\nkey = "k"\noptional = true\n'
    joined = join(tmp_path, "x1-a1 x1-b1", two + AGE)
    assert joined.gaps == {"table not found: t.csv": 1, "table not found: u-*.csv": 1}
    assert joined.remarks == {}


def test_gaps_and_remarks_are_counted(tmp_path: Path) -> None:
    table(tmp_path, "pid age\na1 700\nb1 800\nb1 800")
    joined = join(tmp_path, "x1-a1 x1-b1 x1-c1 x1-d1", KEY + AGE + "bmi = ['bmi', 'BodyMass']\n")
    assert joined.gaps == {
        "recordings without a row in t.csv": 2,
        "covariate bmi: no table has a column bmi or BodyMass": 1,
    }
    assert joined.remarks == {
        "age: '700' in column age is outside 0 to 120; left out": 1,
        "age: '800' in column age is outside 0 to 120; left out": 1,
    }


def test_rows_missing_from_an_optional_table_are_no_gap(tmp_path: Path) -> None:
    table(tmp_path, "pid age\na1 70")
    assert join(tmp_path, "x1-a1 x1-b1", KEY + "optional = true\n" + AGE).gaps == {}


def test_persons_by_a_column(tmp_path: Path) -> None:
    table(tmp_path, "pid who\na1 P7\nb1 p7\nc1 _\nd1 .")
    joined = join(tmp_path, "x1-a1 x1-b1 x1-c1 x1-d1", KEY + "[persons]\ncolumn = 'Who'\n")
    assert persons(joined) == {"x1-a1": "who p7", "x1-b1": "who p7", "x1-c1": "c1", "x1-d1": "d1"}
    assert joined.gaps == {"no Who in any table: the recording counts as its own person": 2}


def test_persons_who_are_alike_in_all_columns(tmp_path: Path) -> None:
    table(tmp_path, "pid age sex\na1 40 M\nb1 40 m\nc1 40 F\nd1 40 _\ne1 40 _\nf1 40 .\ng1 40 .")
    joined = join(tmp_path, "x1-a1 x1-b1 x1-c1 x1-d1 x1-e1 x1-f1 x1-g1", KEY + "[persons]\nalike = ['age', 'sex']\n")
    found = persons(joined)
    assert found["x1-a1"] == found["x1-b1"]
    assert len(set(found.values())) == 6  # what is missing makes nobody alike
    assert joined.gaps == {"no age and sex in any table: the recording counts as its own person": 4}


def test_recordings_known_to_be_of_one_person_also_through_others(tmp_path: Path) -> None:
    same = "[persons]\nsame = [['X1-A1', 'x1-b1'], ['x1-d1', 'x1-c1'], ['x1-b1', 'x1-c1', 'x1-gone']]\n"
    found = persons(join(tmp_path, "x1-a1 x2-a1 x1-b1 x1-c1 x1-d1 x1-e1", same))
    assert {found[r] for r in ("x1-a1", "x2-a1", "x1-b1", "x1-c1", "x1-d1")} == {"a1"}
    assert found["x1-e1"] == "e1"


def test_families_by_column_else_by_name(tmp_path: Path) -> None:
    table(tmp_path, "pid fam\na1 F1\nb1 F1\nc1 .\nd1 _")
    families = "[persons]\nfamily = 'FAM'\nfamily_name = '{fam}'\n"
    joined = join(tmp_path, "x1-a1 x1-b1 x1-c1 x1-d1-fam9 x1-e1-fam9", KEY + families)
    assert [k.family for k in joined.by_id.values()] == ["family F1", "family F1", None, "family 9", "family 9"]


RECORD = KEY + "[record]\ncolumn = 'Label'\n"


def test_record_codes_of_a_cell(tmp_path: Path) -> None:
    table(tmp_path, "pid label\na1 A\nb1 ~\nc1 _")
    joined = join(tmp_path, "x1-a1 x1-b1 x1-c1 x1-d1", RECORD + "codes = ['A', '~']\n")
    assert [k.record for k in joined.by_id.values()] == [("A",), ("~",), (), ()]


def test_an_unknown_record_code_is_refused_with_the_setting(tmp_path: Path) -> None:
    table(tmp_path, "pid label\na1 A\nb1 Q")
    with pytest.raises(DataError) as caught:
        join(tmp_path, "x1-a1 x1-b1", RECORD + "codes = ['A', 'N']\n")
    assert str(caught.value) == (
        "x: x1-b1: Label is 'Q', expected one of A, N; if it is right, add it to [x.record] codes in the cohort settings"
    )
    assert join(tmp_path, "x1-b1", RECORD).by_id["x1-b1"].record == ("Q",)  # a card without a list takes any


def test_record_codes_of_scp_statements(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"pid": "a1", "label": "{'SR': 0.0, 'AFIB': 100.0}"}, {"pid": "b1", "label": "{}"}])
    joined = join(tmp_path, "x1-a1 x1-b1", RECORD + "form = 'scp'\n")
    assert [k.record for k in joined.by_id.values()] == [("AFIB", "SR"), ()]


def test_scp_statements_that_cannot_be_read_name_the_recording(tmp_path: Path) -> None:
    table(tmp_path, "pid label\na1 NORM")
    with pytest.raises(DataError, match="^x: x1-a1: scp_codes: expected"):
        join(tmp_path, "x1-a1", RECORD + "form = 'scp'\n")


FLAGS = """
[[flags]]
column = "note"
value = "cpap"
contains = true
scope = ["all"]
reason = "treated"
[[flags]]
column = "ok"
value = "0"
reason = "scorer: poor"
[[flags]]
column = "ok"
value = "0"
visit = "2"
scope = ["arousal"]
reason = "second visit"
"""


def test_flags_rule_out_everything_or_some_or_only_remark(tmp_path: Path) -> None:
    table(tmp_path, "pid note ok\na1 onCPAPnow 1\nb1 none 0.0\nc1 _ _")
    joined = join(tmp_path, "x1-a1 x1-b1 x2-b1 x1-c1", KEY + FLAGS)
    known = joined.by_id
    assert (known["x1-a1"].unusable, known["x1-a1"].quality) == ({"all": "treated"}, ())
    assert (known["x1-b1"].unusable, known["x1-b1"].quality) == ({}, ("scorer: poor",))
    assert (known["x2-b1"].unusable, known["x2-b1"].quality) == ({"arousal": "second visit"}, ("scorer: poor",))
    assert (known["x1-c1"].unusable, known["x1-c1"].quality) == ({}, ())


def test_outcomes_of_the_joined_row(tmp_path: Path) -> None:
    table(tmp_path, "pid dead days\na1 1 365.25\nb1 0 3652.5\nc1 _ 9")
    death = "[[outcomes]]\nid = 'death'\ntitle = 'Death'\nevent = 'dead'\ntime = ['days']\n"
    joined = join(tmp_path, "x1-a1 x1-b1 x1-c1", KEY + death)
    assert [dict(k.outcomes) for k in joined.by_id.values()] == [
        {"death": Outcome(True, 1.0)},
        {"death": Outcome(False, 10.0)},
        {},
    ]
    assert joined.remarks == {"death: dead is blank": 1}


WIDE = "[wide_outcomes]\nis_event = '{0}is_event.csv'\ntime_to_event = '{0}time_to_event.csv'\nunit = 'days'\n"


def test_wide_outcomes_beside_those_of_a_table(tmp_path: Path) -> None:
    write_csv(tmp_path / "is_event.csv", [{"Study ID": "X1-A1", "8.5": 1, "death": 0}])
    write_csv(tmp_path / "time_to_event.csv", [{"Study ID": "x1-a1", "8.5": 365.25, "death": 730.5}])
    write_csv(tmp_path / "who.csv", [{"Study ID": "x1-a1", "age": 50, "gender": 1}])
    table(tmp_path, "pid dead age\na1 1 51\nb1 0 _")
    death = "[[outcomes]]\nid = 'death'\ntitle = 'Death'\nevent = 'dead'\n"
    joined = join(tmp_path, "x1-a1 x1-b1", KEY + death + AGE + WIDE.format("") + "demographics = 'who.csv'\n")
    first, second = joined.by_id.values()
    assert dict(first.outcomes) == {"8.5": Outcome(True, 1.0), "death": Outcome(True, None)}  # the card's own wins
    assert first.covariates == {"age": 51.0, "gender": 1.0}
    assert dict(second.outcomes) == {"death": Outcome(False, None)}
    assert joined.gaps == {"recordings without a row in is_event.csv": 1}


def test_wide_outcomes_may_match_something_else_than_the_file_name(tmp_path: Path) -> None:
    write_csv(tmp_path / "is_event.csv", [{"Study ID": "a1", "8.5": 1}])
    write_csv(tmp_path / "time_to_event.csv", [{"Study ID": "a1", "8.5": 365.25}])
    joined = join(tmp_path, "x1-a1", WIDE.format("") + "match = '{person}'\n")
    assert dict(joined.by_id["x1-a1"].outcomes) == {"8.5": Outcome(True, 1.0)}
    with pytest.raises(UsageError, match=r"x.toml \[wide_outcomes\] match: '\{who\}' uses \{who\}"):
        join(tmp_path, "x1-a1", WIDE.format("") + "match = '{who}'\n")


@needs_real
def test_the_released_label_files_join_by_name(tmp_path: Path) -> None:
    card = WIDE.format(f"{REAL.resolve()}/sleepfm_")
    (tmp_path / "demo_psg.edf").touch()
    text = CARD.replace("x(?P<visit>[12])-(?P<person>[a-z]\\d+)(?:-fam(?P<fam>\\d+))?", "(?P<person>demo_psg)")
    layout = parse_layout(text.replace('visit = "{visit}"', "").replace("{top}", "").replace("{more}", card), "x.toml")
    joined = join_tables(tmp_path, layout, find_files(tmp_path, layout).recordings)
    outcomes = joined.by_id["demo_psg"].outcomes
    assert len(outcomes) == 1065
    assert outcomes["8.5"] == Outcome(False, pytest.approx(3845 / 365.25))
    assert joined.gaps == {}


def test_a_table_that_cannot_be_joined_stops(tmp_path: Path) -> None:
    table(tmp_path, "id age\na1 70")
    with pytest.raises(DataError, match=r"t\.csv: no column 'pid' to join by"):
        join(tmp_path, "x1-a1", KEY)
