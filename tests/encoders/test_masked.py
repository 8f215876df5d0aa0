"""What is masked is not seen: neither canonical channels nor raw ones, by no encoder."""

from __future__ import annotations

import numpy as np
import pytest

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.channels import read_usable
from hypnos_bench.encoders.masked import MaskedEncoder
from hypnos_bench.encoders.osf.slots import place
from hypnos_bench.encoders.registry import make_encoder
from hypnos_bench.encoders.sleepfm.signals import find_sources
from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.signals.base import UNCALIBRATED, Derivation
from hypnos_bench.spec import digest

LABELS = ("C3", "C4", "A1", "A2", "LOC", "ROC", "L Chin", "R Chin", "ECG L", "Leg L", "Cannula Flow")
MONTAGE = {
    "C3": Derivation("C3", "A2"), "C4": Derivation("C4", "A1"), "E1": Derivation("LOC", "A2"),
    "E2": Derivation("ROC", "A1"), "Chin": Derivation("L Chin", "R Chin"), "ECG": Derivation("ECG L"),
}  # fmt: skip


@pytest.fixture
def mros(memory_recording):
    """Electrodes as MrOS has them: eyes and brain are made against the same mastoids."""

    def make(unit="uV"):
        rng = np.random.default_rng(0)
        whole = memory_recording({label: (128.0, unit, 50 * rng.normal(size=128 * 60)) for label in LABELS}, 60.0)
        return Recording("mros", "r1", "p1", whole.signals, whole.labels, MONTAGE)

    return make


@pytest.mark.parametrize(
    ("keep", "listed", "canonical"),
    [
        (("eog",), ["LOC", "ROC"], ["E1", "E2"]),
        (("eeg",), ["C3", "C4", "A1", "A2"], ["C3", "C4"]),
        (("emg",), ["L Chin", "R Chin", "Leg L"], ["Chin"]),
        (("ecg", "resp"), ["ECG L", "Cannula Flow"], ["ECG"]),
    ],
)
def test_only_the_modalities_kept_are_listed_and_references_still_serve(mros, keep, listed, canonical):
    whole, some = mros(), mros().only(keep)
    assert [channel.label for channel in some.signals.channels()] == listed
    assert list(some.montage) == canonical
    for channel in canonical:
        assert np.array_equal(some.signal(channel).values, whole.signal(channel).values)
    assert np.allclose(whole.signal("E1").values, whole.signals.read("LOC").values - whole.signals.read("A2").values)
    hidden = next(label for label in LABELS if label not in listed and label not in ("A1", "A2"))
    with pytest.raises(DataError, match="is masked"):
        some.signals.read(hidden)


def test_sleepfm_and_osf_see_no_mastoid_beside_the_eyes(mros):
    eyes = mros().only(("eog",))
    sources, skipped = find_sources(eyes, None)
    assert [source.name for source in sources] == ["LOC", "ROC"]
    assert skipped == {}
    assert [source.name for source in find_sources(eyes, {"BAS": frozenset(LABELS)})[0]] == ["LOC", "ROC"]
    assert list(place(eyes).montage) == ["EOG_E1_A2", "EOG_E2_A1"]
    assert set(place(mros().only(("emg",))).montage) == {"EMG_Chin", "EMG_LLeg"}
    assert set(place(mros().only(("resp",))).montage) == {"NP"}


def test_a_difference_of_stored_integers_is_refused_with_masks_too(mros):
    _, skipped = read_usable(mros(UNCALIBRATED).only(("eog",)), ["E1"])
    assert "'A2' and 'LOC' without calibration" in skipped["E1"]


def test_the_order_in_which_modalities_are_named_is_no_other_encoder():
    orders = (("eog", "eeg"), ("eeg", "eog", "eeg"))
    one, other = (make_encoder("features", EncoderOptions(keep=keep)) for keep in orders)
    assert digest(one.card.definition()) == digest(other.card.definition())
    assert one.card.settings["keep"] == ["eeg", "eog"]
    assert isinstance(one, MaskedEncoder)


@pytest.mark.parametrize("reference", ["precomputed", "precomputed:{}"])
def test_embeddings_made_elsewhere_cannot_be_masked(reference, tmp_path):
    with pytest.raises(UsageError, match="no signal whose modalities could be masked"):
        make_encoder(reference.format(tmp_path), EncoderOptions(keep=("eeg",), embeddings=tmp_path))
