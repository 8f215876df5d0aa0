from __future__ import annotations

import subprocess
import sys

import pytest

from hypnos_bench.cohorts.registry import COHORTS
from hypnos_bench.errors import UsageError

OWN = ("array-folder", "cpsc2021", "edf-folder", "mros")


def test_ids() -> None:
    assert COHORTS.ids() == ["array-folder", "cpsc2021", "demo", "edf-folder", "mros"]


@pytest.mark.parametrize("name", OWN)
def test_each_source_has_a_card_with_its_own_id(name: str) -> None:
    source = COHORTS.load(name)
    assert source.card.id == name
    assert callable(source.open)


def test_an_unknown_cohort_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown cohort 'mross'. Did you mean 'mros'?"):
        COHORTS.load("mross")


def test_cards_cost_no_heavy_import() -> None:
    code = (
        "import sys; from hypnos_bench.cohorts.registry import COHORTS\n"
        f"[COHORTS.load(n).card for n in {OWN}]\n"
        "print([m for m in ('torch', 'pandas', 'sklearn', 'matplotlib', 'wfdb') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
