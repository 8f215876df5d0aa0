from __future__ import annotations

import subprocess
import sys

import pytest

from hypnos_bench.cohorts.opener import CardCohort
from hypnos_bench.cohorts.registry import CARD_IDS, COHORTS
from hypnos_bench.errors import UsageError

SLEEP = [
    "mros",
    "shhs",
    "mesa",
    "cfs",
    "chat",
    "ccshs",
    "sof",
    "wsc",
    "stages",
    "homepap",
    "nchsdb",
    "mnc",
    "apples",
    "abc",
    "hsp",
    "dod-o",
    "dod-h",
    "sleep-edf",
    "isruc",
    "hmc",
    "cap",
    "mass",
    "physionet-2018",
    "ucddb",
    "slpdb",
]
ECG = ["afdb", "ltafdb", "shdb-af", "cpsc2021", "cinc2017", "mitdb", "ptb-xl", "apnea-ecg"]
OWN = ("array-folder", "edf-folder", *SLEEP, *ECG)


def test_ids() -> None:
    assert COHORTS.ids() == sorted([*OWN, "demo"])


@pytest.mark.parametrize("name", OWN)
def test_each_source_has_a_card_with_its_own_id(name: str) -> None:
    source = COHORTS.load(name)
    assert source.card.id == name
    assert callable(source.open)


def test_every_packaged_card_is_a_cohort_opened_by_its_card() -> None:
    assert set(CARD_IDS) == {*SLEEP, *ECG}
    for name in CARD_IDS:
        source = COHORTS.load(name)
        assert isinstance(source, CardCohort)
        assert source.layout.card == source.card
        assert COHORTS.load(name) is source, "the card is read once"


def test_listing_cohorts_reads_no_card() -> None:
    code = (
        "import sys; from hypnos_bench.cohorts.registry import COHORTS\n"
        "COHORTS.ids(); sys.exit('hypnos_bench.cohorts.card_toml' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
