from __future__ import annotations

import subprocess
import sys

import pytest

from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.registry import ENCODERS
from hypnos_bench.errors import UsageError


def test_the_builtin_encoders():
    assert {"features", "hypnos", "hypnos-untrained", "precomputed"} <= set(ENCODERS.ids())


@pytest.mark.parametrize("name", ["features", "hypnos-untrained", "precomputed"])
def test_each_is_called_with_options_and_has_a_card_of_its_name(name, untrained_cache):
    encoder = ENCODERS.load(name)(EncoderOptions(cache=untrained_cache, device="cpu"))
    assert encoder.card.id == name
    assert encoder.card.title
    assert encoder.card.missing


def test_did_you_mean():
    with pytest.raises(UsageError, match="Did you mean 'features'"):
        ENCODERS.load("feature")


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from hypnos_bench.encoders.registry import ENCODERS; ENCODERS.ids(); "
        "print(sorted({'torch', 'scipy', 'numpy', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
