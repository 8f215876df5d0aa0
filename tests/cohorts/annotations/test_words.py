from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.annotations.words import EVENT_WORDS, STAGE_WORDS, Words, plain
from hypnos_bench.cohorts.base import EVENT_SCOPES
from hypnos_bench.errors import UsageError


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("W", 0),
        ("wake", 0),
        ("N1", 1),
        ("S2", 2),
        (" n3 ", 3),
        ("S4", 3),
        ("REM", 4),
        ("?", -1),
        ("Movement  Time", -1),
    ],
)
def test_stages_in_any_case_and_spacing(text: str, code: int) -> None:
    assert Words().is_stage(text)
    assert Words().stage(text, "line 1") == code


def test_numbers_are_no_stage_because_exports_disagree() -> None:
    assert not any(Words().is_stage(str(number)) for number in range(10))


def test_every_event_word_is_of_a_scope() -> None:
    assert set(EVENT_WORDS.values()) == {kind for kinds in EVENT_SCOPES.values() for kind in kinds}


def test_an_unknown_stage_names_place_nearest_word_and_setting() -> None:
    with pytest.raises(AnnotationError) as caught:
        Words().stage(" Wakes ", "line 7")
    assert str(caught.value) == (
        "line 7: unknown sleep stage 'Wakes'. Did you mean 'wake'? If it is right, say what it means in the cohort "
        'settings: words = { "wakes" = "N2" }'
    )


def test_a_long_stage_is_shown_in_part() -> None:
    with pytest.raises(AnnotationError) as caught:
        Words().stage("x" * 100_000, "line 7")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("meaning", "code"), [("W", 0), ("N1", 1), ("N2", 2), ("N3", 3), ("R", 4), ("unscored", -1)])
def test_an_override_gives_a_text_its_stage(meaning: str, code: int) -> None:
    words = Words(overrides={"Deep  Sleep": meaning, "N1": meaning, "arousal": meaning})
    for text in ("deep sleep", "n1", "Arousal"):
        assert words.stage(text, "line 1") == code


def test_an_override_wins_over_every_table_and_leaves_the_others() -> None:
    tables = ({"nap": 1, "doze": 1}, {"nap": "hypopnea", "puff": "hypopnea"}, {"nap", "note"})
    ignored = Words(*tables, {"NAP": "ignore"})
    assert ignored.is_ignored("nap")
    assert not ignored.is_stage("nap")
    assert ignored.event("nap") is None
    event = Words(*tables, {"Nap": "rera"})
    assert (event.event("nap"), event.is_stage("nap"), event.is_ignored("nap")) == ("rera", False, False)
    stage = Words(*tables, {"nap": "N3"})
    assert (stage.stage("nap", ""), stage.is_ignored("nap")) == (3, False)
    for words in (ignored, event, stage):
        assert (words.stage("doze", ""), words.event("puff"), words.event("note")) == (1, "hypopnea", None)
        assert words.unknown == {}
    assert stage.event("nap") == "nap"  # no longer the hypopnea of the table
    assert stage.unknown == {"nap": 1}


def test_the_tables_of_a_format_are_not_changed_by_settings() -> None:
    before = dict(STAGE_WORDS), dict(EVENT_WORDS)
    Words(overrides={"n1": "ignore", "apnea": "N3", "x": "W"})
    assert (dict(STAGE_WORDS), dict(EVENT_WORDS)) == before


@pytest.mark.parametrize(
    ("meaning", "near"), [("n2", "N2"), ("REM", "R"), ("hypopnoea", "hypopnea"), ("Ignore", "ignore")]
)
def test_a_bad_meaning_is_refused_with_the_nearest(meaning: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        Words(overrides={"x": meaning})
    assert f"words: 'x' = {meaning!r} is no meaning." in str(caught.value)
    assert f"Did you mean {near!r}?" in str(caught.value)
    assert "Known: W, N1, N2, N3, R, unscored, " in str(caught.value)


def test_unknown_events_are_counted_and_kept_in_their_own_words() -> None:
    words = Words(ignored=("lights off",))
    for text in ("Leg Kick!", "leg kick!", "Hypopnea", "Lights OFF"):
        words.event(text)
    assert words.event("Leg  Kick!") == "leg-kick"
    assert words.unknown == {"leg kick!": 3}


@pytest.mark.parametrize("text", ["Hypopnea?", "(apnea)", "Obstructive / Apnea", "arousal 1?", "*** RERA"])
def test_an_unknown_event_never_becomes_one_that_counts(text: str) -> None:
    words = Words()
    counted = {kind for kinds in EVENT_SCOPES.values() for kind in kinds}
    assert words.event(text) not in counted
    assert words.unknown == {plain(text): 1}


@pytest.mark.parametrize("text", ["無呼吸", "***"])
def test_an_event_without_latin_letters_is_not_lost(text: str) -> None:
    words = Words()
    assert words.event(text) == text
    assert words.unknown == {text: 1}


def test_an_event_without_a_text_is_none() -> None:
    assert Words().event("  ") is None


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=20), meaning=st.sampled_from(["N2", "unscored", "arousal", "ignore"]))
def test_any_text_can_be_given_a_meaning(text: str, meaning: str) -> None:
    words = Words(overrides={text: meaning})
    told = (words.is_stage(text), words.is_ignored(text))
    assert told == (meaning in ("N2", "unscored"), meaning == "ignore")
    if meaning == "arousal":
        assert words.event(text) == "arousal"
        assert words.unknown == {}
