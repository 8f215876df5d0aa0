"""What is made of a measurement; that a process is really started is seen in tests/cli/test_doctor_encoder.py."""

from pathlib import Path

import numpy as np
import pytest

from hypnos_bench.conformance.process import Measured, _cost, _peak_mb, _same
from hypnos_bench.conformance.trial import Trial
from hypnos_bench.conformance.trying import Tried
from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.registry import make_encoder
from hypnos_bench.spec import digest

TOY = f"{Path(__file__).with_name('toys.py')}:Good"


@pytest.fixture
def trial():
    return Trial(lambda: make_encoder(TOY, EncoderOptions()), lengths_s=(40.0, 40.0, 40.0))


def measured(trial, **more):
    usual = {"plain": trial.plain, "definition": digest(trial.card.definition()), "long": trial.plain}
    return Measured(**{**usual, "cpu_s": 3.0, "wall_s": 4.0, "start_mb": 100.0, "peak_mb": 250.0, **more})


def test_the_same_rows_pass_and_others_fail(trial):
    assert _same(trial, measured(trial)).outcome == "pass"
    other = make_encoder(TOY, EncoderOptions()).encode(trial.nights[1])
    assert "rows differ by" in _same(trial, measured(trial, plain=Tried(other))).words
    gone = _same(trial, measured(trial, plain=Tried(crashed="ImportError")))
    assert (gone.outcome, gone.words) == ("fail", "made again from its name there: crashed: ImportError")


def test_another_card_there_means_that_nothing_is_found_again(trial):
    check = _same(trial, measured(trial, definition="0" * 64))
    assert check.outcome == "fail"
    assert "never be found again" in check.words


def test_what_was_not_steady_here_is_not_judged_there(trial):
    trial.steady = False
    assert _same(trial, measured(trial, plain=Tried(refused="x"))).outcome == "note"


def test_time_is_given_per_hour_and_says_from_how_much(trial):
    check = _cost(measured(trial), 0.25)
    assert check.words.startswith("12 CPU s per hour of signal (from 0.25 h, twelve channels; one thread); peak 250 MB")
    assert check.numbers["cpu_s_per_hour"] == 12.0
    assert _cost(measured(trial, long=Tried(refused="too long")), 0.25).outcome == "fail"


def test_the_peak_is_that_of_this_process():
    before = _peak_mb()
    block = np.ones(2**23 * 8)
    assert _peak_mb() >= before
    assert _peak_mb() > block.nbytes / 1e6
