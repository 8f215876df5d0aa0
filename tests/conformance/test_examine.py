"""A good encoder passes; each that has one thing wrong fails the check that asks for it, and no other."""

from pathlib import Path

import pytest

from hypnos_bench.conformance import examine
from hypnos_bench.conformance.alignment import check_alignment
from hypnos_bench.conformance.trial import Trial
from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.registry import make_encoder
from hypnos_bench.errors import UsageError

TOYS = Path(__file__).with_name("toys.py")


def look(name, **more):
    return examine(f"{TOYS}:{name}", EncoderOptions(device="cpu", **more), hours=None)


def found(report, name):
    return next(check for check in report.checks if check.name == name)


@pytest.mark.parametrize("name", ["InStep", "Lagging"])
def test_a_lag_that_the_card_states_is_no_fault(name):
    alignment = found(look(name), "alignment")
    assert alignment.outcome == "pass", alignment.words
    assert alignment.numbers["rows"] == 3
    assert alignment.numbers["change"] > 10 * alignment.numbers["change_elsewhere"]


@pytest.mark.parametrize("name", ["Good", "Staged"])
def test_a_good_encoder_passes(name):
    report = look(name)
    assert report.failed == ()
    assert report.synthetic
    outcomes = {check.name: check.outcome for check in report.checks}
    assert outcomes.pop("gain") == "note"
    assert outcomes.pop("batch") == ("pass" if name == "Staged" else "note")
    assert set(outcomes.values()) == {"pass"}
    assert found(report, "rows").numbers == {
        "rows": 36, "dim": 16, "step_s": 10.0, "types": ["float32"], "seconds": 367.0, "uncovered_s": 7.0,
    }  # fmt: skip
    assert found(report, "gap").numbers == {"rows": 36, "rows_changed": 2, "rows_nan": 2}
    assert found(report, "causality").numbers["rows"] == 22
    assert found(report, "missing channel").numbers["refused"] == {}
    assert "embedded as if it were missing" in found(report, "constant channel").words
    assert found(report, "gain").numbers["largest_relative_difference"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "check", "words"),
    [
        ("Random", "determinism", "two runs of one recording differ"),
        ("BatchDependent", "batch", "in a batch; limit 0.0001"),
        ("Leaky", "order", "against alone"),
        ("CrashesOnMissing", "missing channel", "without ECG: crashed: .*AttributeError: 'NoneType' object has no"),
        ("IgnoresChannel", "missing channel", "without THX: the very rows that the whole gives, although"),
        ("UnnamedChannel", "missing channel", "without THX: other rows, although its card does not name the channel"),
        ("WrongDim", "rows", "16 columns although its card says 12"),
        ("WrongStep", "rows", "rows every 10.0 s although its card says 5.0 s"),
        ("TooShort", "rows", "rows that end at 330 s of 367 s: more than a row of 10 s is not covered"),
        ("TooLong", "rows", "rows from 0 s to 380 s for a recording of 367 s"),
        ("LooksAhead", "causality", "its card says causal, yet rows change 221 s before the cut"),
        ("Reversed", "alignment", "60 to 150 s replaced by noise: rows change most 1[45] row.s., 1[45]0 s, later than its"),
        ("Rolled", "alignment", "rows change most 1 row.s., 30 s, later than its card says"),
        ("Early", "alignment", "rows change most 1 row.s., 30 s, earlier than its card says"),
        ("Constant", "alignment", "rows change alike wherever they are .*: they tell no time"),
        ("MakesUp", "no channel at all", "embedded, although nothing was recorded"),
        ("PartlyNaN", "gap", "NaN or infinity in 'toy', first in row 10"),
        ("OneRate", "odd rates", "ValueError: cannot reshape"),
        ("OneLength", "lengths", "333.3 s: crashed: .*IndexError"),
        ("CrashesWhenShort", "short recording", "5 s: crashed: .*IndexError: no rows"),
        ("CrashesOnConstant", "constant channel", "C3 is 0 throughout: crashed: .*ZeroDivisionError"),
        ("NoLicence", "card", "licence is empty; lag_rows is 0.5, not a whole number of at least 0; channels names Fpz"),
        ("Refuses", "rows", "a plain recording of 367 s is refused: I never do; nothing else can be asked"),
    ],
)  # fmt: skip
def test_each_fault_is_caught_by_the_check_that_asks_for_it(name, check, words):
    import re

    report = look(name)
    assert check in report.failed
    assert report.failed[0] == check or name in ("Reversed", "Rolled")  # rows in another order are not causal either
    assert re.search(words, found(report, check).words), found(report, check).words
    also = {
        "Leaky": {"causality", "missing channel"},  # the same recording twice is never the same
        "MakesUp": {"NaN"},
        "TooLong": {"lengths"} | {"missing channel", "gap", "NaN", "constant channel", "odd rates", "short recording"},
        "NoLicence": {"missing channel"},
        "Reversed": {"causality"},
        "Rolled": {"causality"},
        "CrashesOnMissing": {"no channel at all"},
    }
    every = {"WrongDim", "WrongStep", "TooShort"}  # wrong in every recording
    assert name in every or set(report.failed) <= {check} | also.get(name, set()), report.failed


def test_what_is_not_steady_is_not_judged_further():
    report = look("Random")
    for name in ("order", "causality"):
        assert found(report, name).outcome == "note"
        assert "not judged" in found(report, name).words


def test_an_encoder_that_says_that_it_looks_ahead_is_told_how_far():
    report = look("LooksAheadAndSaysSo")
    assert report.failed == ()
    reach = found(report, "reach")
    assert reach.outcome == "note"
    assert reach.numbers["reach_s"] == 221.0
    assert "as far as there is signal" in reach.words


def test_channels_of_modalities_that_are_kept_away_may_change_nothing():
    report = look("Good", keep=("eeg", "ecg"))
    assert report.failed == ()


@pytest.mark.parametrize("name", ["hypnos-untrained"])
def test_the_suites_own_pass(name, untrained_cache):
    report = examine(name, EncoderOptions(device="cpu", cache=untrained_cache), hours=None)
    assert report.failed == (), [check for check in report.checks if check.outcome == "fail"]
    assert found(report, "alignment").outcome == "pass"


@pytest.mark.parametrize("name", ["features", "raw-psd", "sleepfm-untrained", "osf-untrained"])
def test_rows_of_the_others_lie_where_their_cards_say(name, untrained_cache):
    settings = {"osf-untrained": {"size": "vit_nano"}}
    options = EncoderOptions(device="cpu", cache=untrained_cache, settings=settings)
    check = check_alignment(Trial(lambda: make_encoder(name, options)))
    assert check.outcome == "pass", check.words
    assert check.numbers["shift_rows"] == 0


def test_embeddings_made_elsewhere_cannot_be_examined(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"")
    with pytest.raises(UsageError, match="nothing to examine"):
        examine(f"precomputed:{tmp_path}", EncoderOptions(), hours=None)
