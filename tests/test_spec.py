import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.errors import UsageError
from hypnos_bench.spec import CellSpec, HeadSpec, Shots, SplitSpec, canonical_json, digest, files_fingerprint
from hypnos_bench.taskfiles import load_task


def cell_spec(**changes):
    spec = CellSpec(
        task=load_task("staging").definition(),
        cohort={"id": "demo", "fingerprint": "f", "simulated": True},
        encoder={"id": "features", "version": "1", "weights": None, "settings": {}, "lag_rows": 0},
        head=HeadSpec("linear", {"folds": 5}),
        split=SplitSpec(),
        shots=Shots("percent", 1.0),
        seed=0,
    )
    return dataclasses.replace(spec, **changes)


@pytest.mark.parametrize(
    ("text", "n", "count"),
    [
        ("1%", 100, 1),
        ("1%", 101, 2),
        ("1%", 3, 1),
        ("7%", 100, 7),
        ("100%", 29, 29),
        ("0.5%", 2900, 15),
        ("10p", 29, 10),
    ],
)
def test_shots_count_persons(text, n, count):
    assert Shots.parse(text).count(n) == count


@pytest.mark.parametrize("text", ["1", "0%", "101%", "0p", "1.5p", "p", "%", "-1%", "1%%", "ten", ""])
def test_shots_refuses_what_is_ambiguous(text):
    with pytest.raises(UsageError):
        Shots.parse(text)


def test_a_bare_number_is_told_both_readings():
    with pytest.raises(UsageError, match="'10%' or '10p'"):
        Shots.parse("10")


def test_a_count_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="needs 30 training persons, but there are 29"):
        Shots.parse("30p").count(29)


@given(st.floats(0.01, 100), st.integers(1, 5000))
def test_share_is_between_one_and_all(value, n):
    assert 1 <= Shots("percent", value).count(n) <= n


@given(st.integers(1, 3000), st.floats(0.1, 50), st.floats(0.1, 50))
def test_larger_share_never_gives_fewer(n, a, b):
    small, large = sorted((a, b))
    assert Shots("percent", small).count(n) <= Shots("percent", large).count(n)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"shots": Shots("percent", 5.0)},
        {"shots": Shots("persons", 1.0)},
        {"split": SplitSpec("cv5")},
        {"split": SplitSpec(salt="other")},
        {"head": HeadSpec("linear", {"folds": 4})},
        {"head": HeadSpec("mlp", {"folds": 5})},
        {"bootstrap": 10},
        {"cohort": {"id": "demo", "fingerprint": "g", "simulated": True}},
        {"encoder": {"id": "features", "version": "2", "weights": None, "settings": {}, "lag_rows": 0}},
        {"encoder": {"id": "features", "version": "1", "weights": "abc", "settings": {}, "lag_rows": 0}},
        {"encoder": {"id": "features", "version": "1", "weights": None, "settings": {"a": 1}, "lag_rows": 0}},
        {"task": dataclasses.replace(load_task("staging"), alignment="covered").definition()},
    ],
)
def test_every_setting_that_can_change_a_number_changes_the_key(changes):
    assert cell_spec(**changes).key != cell_spec().key


def test_prose_does_not_change_the_key():
    task = dataclasses.replace(load_task("staging"), title="x", note="y", citation="z", cohorts=("q",)).definition()
    assert cell_spec(task=task).key == cell_spec().key


def test_key_is_stable():
    assert digest({"b": [1, 2.5, None, True], "a": "ü"}) == digest({"a": "ü", "b": (1, 2.5, None, True)})
    assert canonical_json({"b": 1, "a": "ü"}) == '{"a":"\\u00fc","b":1}'


def test_nan_and_paths_stay_out_of_specs(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json({"a": float("nan")})
    with pytest.raises(TypeError, match="file location"):
        canonical_json({"a": tmp_path})


@pytest.mark.parametrize("whole", [0, 2**25])
def test_fingerprint_follows_content_not_names(tmp_path, whole):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"x" * 1_000_000)
    two.write_bytes(b"x" * 1_000_000)
    assert files_fingerprint([one], whole) == files_fingerprint([two], whole)
    two.write_bytes(b"x" * 999_999 + b"y")
    assert files_fingerprint([one], whole) != files_fingerprint([two], whole)
    two.write_bytes(b"x" * 999_999)
    assert files_fingerprint([one], whole) != files_fingerprint([two], whole)


def test_smaller_files_are_hashed_whole(tmp_path):
    path = tmp_path / "array.npz"
    content = bytearray(b"x" * 800_000)
    path.write_bytes(content)
    before = files_fingerprint([path])
    content[70_000] = ord("y")
    path.write_bytes(content)
    assert files_fingerprint([path]) != before
