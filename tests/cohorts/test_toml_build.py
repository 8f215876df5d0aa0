from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.toml_build import build, check_value, refuse_unknown
from hypnos_bench.errors import UsageError


@dataclass(frozen=True)
class Inner:
    name: str
    sizes: Sequence[int] = ()


@dataclass(frozen=True)
class Outer:
    text: str
    whole: int = 1
    share: float = 0.5
    on: bool = False
    unit: Literal["days", "years"] = "days"
    level: Literal[1, 2] = 1
    names: Sequence[str] = ()
    pairs: Sequence[Sequence[str]] = ()
    fixed: tuple[float, ...] = ()
    table: Mapping[str, float] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    anything: Mapping[str, Any] = field(default_factory=dict)
    inner: Inner = Inner("none")
    inners: Sequence[Inner] = ()
    maybe: str | None = None
    maybe_inner: Inner | None = None
    one_or_more: str | Sequence[str] = ()


def made(toml: str) -> Outer:
    return build(Outer, tomllib.loads(toml), "x.toml")


def test_every_kind_of_field() -> None:
    outer = made("""
text = "a"
whole = 2
share = 1
on = true
unit = "years"
level = 2
names = ["a", "b"]
pairs = [["a", "b"], ["c"]]
fixed = [1, 2.5]
table = { a = 1, b = 2.5 }
tables = { a = { b = "c" } }
anything = { a = [1, "b", { c = true }] }
inner = { name = "i", sizes = [1, 2] }
inners = [{ name = "j" }, { name = "k", sizes = [3] }]
maybe = "m"
maybe_inner = { name = "n" }
one_or_more = ["x", "y"]
""")
    assert outer == Outer(
        text="a",
        whole=2,
        share=1.0,
        on=True,
        unit="years",
        level=2,
        names=("a", "b"),
        pairs=(("a", "b"), ("c",)),
        fixed=(1.0, 2.5),
        table={"a": 1.0, "b": 2.5},
        tables={"a": {"b": "c"}},
        anything={"a": [1, "b", {"c": True}]},
        inner=Inner("i", (1, 2)),
        inners=(Inner("j"), Inner("k", (3,))),
        maybe="m",
        maybe_inner=Inner("n"),
        one_or_more=("x", "y"),
    )
    assert made('text = "a"\none_or_more = "x"').one_or_more == "x"


def test_what_is_not_said_has_its_default() -> None:
    assert made('text = "a"') == Outer("a")


@pytest.mark.parametrize("key", ["share", "fixed", "table"])
def test_a_whole_number_is_a_number_and_becomes_one(key: str) -> None:
    value = {"share": "3", "fixed": "[3]", "table": "{ a = 3 }"}[key]
    found = getattr(made(f'text = "a"\n{key} = {value}'), key)
    number = {"share": lambda: found, "fixed": lambda: found[0], "table": lambda: found["a"]}[key]()
    assert type(number) is float


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("text = 3", "x.toml: text is 3, expected text"),
        ("whole = 2.0", "x.toml: whole is 2.0, expected a whole number"),
        ("whole = true", "x.toml: whole is True, expected a whole number"),
        ('share = "0.5"', "x.toml: share is '0.5', expected a number"),
        ("share = false", "x.toml: share is False, expected a number"),
        ("on = 1", "x.toml: on is 1, expected true or false"),
        ('on = "true"', "x.toml: on is 'true', expected true or false"),
        ('unit = "day"', "x.toml: unit = 'day' is unknown. Did you mean 'days'? Known: days, years"),
        ("unit = []", "x.toml: unit = [] is unknown. Known: days, years"),
        ("level = 3", "x.toml: level = 3 is unknown. Known: 1, 2"),
        ("level = true", "x.toml: level = True is unknown. Known: 1, 2"),
        ('names = "a"', "x.toml: names is 'a', expected a list of text"),
        ('names = ["a", 1]', "x.toml: names is 1, expected text"),
        ('pairs = ["ab"]', "x.toml: pairs is 'ab', expected a list of text"),
        ("fixed = 1.0", "x.toml: fixed is 1.0, expected a list of a number"),
        ("table = [1]", "x.toml: table is [1], expected a table of a number"),
        ('table = { a = "1" }', "x.toml [table]: a is '1', expected a number"),
        ("tables = { a = 1 }", "x.toml [tables]: a is 1, expected a table of text"),
        ("tables = { a = { b = 1 } }", "x.toml [tables] [a]: b is 1, expected text"),
        ("anything = 1", "x.toml: anything is 1, expected a table"),
        ("inner = 1", "x.toml [inner]: expected a table"),
        ("inner = {}", "x.toml [inner]: 'name' is missing"),
        ('inner = { name = "a", size = [1] }', "x.toml [inner]: unknown key 'size'. Did you mean 'sizes'? Known: name, sizes"),
        ('inners = { name = "a" }', "x.toml: inners is {'name': 'a'}, expected a list of tables"),
        ('inners = [{ name = "a" }, { name = 1 }]', "x.toml [[inners]] 2: name is 1, expected text"),
        ("inners = [1]", "x.toml [[inners]] 1: expected a table"),
        ("maybe = 1", "x.toml: maybe is 1, expected text"),
        ("maybe_inner = { name = 1 }", "x.toml [maybe_inner]: name is 1, expected text"),
        ("one_or_more = 1", "x.toml: one_or_more is 1, expected text or a list of text"),
        ("txet = 1", "x.toml: unknown key 'txet'. Did you mean 'text'? Known: text, whole, "),
        ("text = 2026-01-01", "x.toml: text is datetime.date(2026, 1, 1), expected text"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_what_is_expected(toml: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        made(toml if toml.startswith(("text", "txet")) else f'text = "a"\n{toml}')
    assert str(caught.value).startswith(message)
    assert "class" not in str(caught.value)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(UsageError, match=r"^x\.toml: 'text' is missing$"):
        made("whole = 1")


def test_only_tables_become_dataclasses() -> None:
    with pytest.raises(UsageError, match=r"^x: expected a table$"):
        build(Inner, [1], "x")


def test_unknown_keys_show_all_known_ones() -> None:
    refuse_unknown({"a": 1}, ("a", "b"), "x")
    with pytest.raises(UsageError, match=r"^x: unknown key 'zzz'\. Known: a, b$"):
        refuse_unknown({"a": 1, "zzz": 2}, ("a", "b"), "x")


PLAIN = {str: st.text(), int: st.integers(), float: st.floats(allow_nan=False), bool: st.booleans()}


@settings(max_examples=200, deadline=None)
@given(data=st.data(), wanted=st.sampled_from(list(PLAIN)), given_type=st.sampled_from(list(PLAIN)))
def test_a_plain_value_passes_exactly_when_it_is_of_its_type(
    data: st.DataObject, wanted: type, given_type: type
) -> None:
    value = data.draw(PLAIN[given_type])
    if wanted is given_type or (wanted, given_type) == (float, int):
        found = check_value(value, wanted, "x", "key")
        assert type(found) is wanted
        assert found == wanted(value)
    else:
        with pytest.raises(UsageError, match="x: key is"):
            check_value(value, wanted, "x", "key")
