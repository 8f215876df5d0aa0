import pytest

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.osf.slots import SLOTS, find, place
from hypnos_bench.signals.base import UNCALIBRATED, Channel, Derivation
from hypnos_bench.signals.kinds import OF_CANONICAL, modality_of


def found(*labels, unit="uV"):
    return {slot: str(made) for slot, made in find([Channel(label, 128.0, unit, 1) for label in labels]).items()}


def test_the_order_is_upstreams():
    assert [slot.name for slot in SLOTS] == [
        *("ECG", "EMG_Chin", "EMG_LLeg", "EMG_RLeg", "ABD", "THX", "NP", "SN"),
        *("EOG_E1_A2", "EOG_E2_A1", "EEG_C3_A2", "EEG_C4_A1"),
    ]
    assert {slot.canonical for slot in SLOTS} - {None} == set(OF_CANONICAL)
    by_name = {slot.name: slot for slot in SLOTS}
    assert all(by_name[slot.other_side].other_side == slot.name for slot in SLOTS if slot.other_side)


@pytest.mark.parametrize(
    "labels",
    [
        *(("L Leg", "R Leg"), ("Leg L", "Leg R"), ("LEG/L", "LEG/R"), ("LLEG", "RLEG"), ("LEG(L)", "LEG(R)")),
        *(("Left Leg", "Right Leg"), ("LLEGEMG", "RLEGEMG"), ("EMG Leg-L", "EMG Leg-R"), ("Lleg1", "Rleg1")),
        *(("LAT", "RAT"), ("PLMl", "PLMr"), ("L-Leg 1-L-Leg 2", "R-Leg1-R-Leg2"), ("lleg1_2", "rleg1_2")),
        *(("LEG1", "LEG2"), ("Foot-L", "Foot-R"), ("LLEG+", "RLEG+")),
    ],
)
def test_legs_under_many_names(labels):
    left, right = labels
    assert found(right, left) == {"EMG_LLeg": left, "EMG_RLeg": right}
    assert {modality_of(label) for label in labels} == {"emg"}, "would be lost when modalities are masked"


def test_two_electrodes_make_a_difference():
    assert found("LLeg1", "LLeg2", "RLEG+", "RLEG-") == {"EMG_LLeg": "LLeg1 - LLeg2", "EMG_RLeg": "RLEG+ - RLEG-"}
    assert found("LLeg1", "LLeg2", "L Leg") == {"EMG_LLeg": "L Leg"}
    assert found("LLeg1", "LLeg2", unit=UNCALIBRATED) == {"EMG_LLeg": "LLeg1"}


@pytest.mark.parametrize("label", ["Leg", "Legs", "LLeg-RLeg", "EMG Leg", "PLM", "Leg1-Leg2"])
def test_one_channel_for_both_legs_is_the_left(label):
    assert found("ECG", label) == {"EMG_LLeg": label}
    assert found(label, "R Leg") == {"EMG_RLeg": "R Leg"}


@pytest.mark.parametrize(
    "label",
    [
        *("Nasal Pressure", "NASAL_PRES", "NasalP", "N.Press", "Cannula", "CannulaFlow", "Nasal Cannula", "PTAF", "NP"),
        *("Resp PTAF", "Pres", "Pressure", "Airflow: Pressure", "NASAL"),
    ],
)
def test_nasal_pressure(label):
    assert found("Thermistor", "AIRFLOW", "NasalOr", label, "SpO2") == {"NP": label}
    assert modality_of(label) == "resp"


@pytest.mark.parametrize(
    "label", ["Snore", "SNORE", "Snoring", "Mic", "SN", "P-Snore", "Snore Sensor", "Pressure Snore"]
)
def test_snore(label):
    assert found("Snore_dB", label) == {"SN": label}
    assert modality_of(label) == "resp"


def test_the_better_source_wins():
    assert found("Pressure", "Nasal", "Nasal Pressure", "P-Snore", "Snore") == {"NP": "Nasal Pressure", "SN": "Snore"}


LEGS = ("leg", "tib", "tibialis", "anttib", "plm", "foot", "at")
AIR = ("np", "sn", "nasal pressure", "cannula", "ptaf", "snore", "mic", "trachealmic", "pressure")


@pytest.mark.parametrize("prefix", ["", "EEG ", "EMG ", "Resp ", "Airflow ", "ECG ", "EOG "])
def test_masks_and_slots_agree_on_what_a_label_is(prefix):
    """A channel that the network takes for a leg or for breathing is hidden with the muscles or with breathing."""
    legs = [form.format(side, site) for side in ("L", "R", "Left", "Right", "l", "r") for site in LEGS
            for form in ("{0}{1}", "{0} {1}", "{1} {0}", "{1}-{0}", "{0}{1}1")]  # fmt: skip
    for label in (*legs, *AIR):
        for slot in found(prefix + label):
            assert modality_of(prefix + label) == ("emg" if "Leg" in slot else "resp"), (prefix + label, slot)
    if not prefix:
        assert all(found(label) for label in AIR)
        assert found("Left at", "Right at") == {"EMG_LLeg": "Left at", "EMG_RLeg": "Right at"}
    if prefix == "EEG ":
        assert found("EEG Lat1", "EEG np", "EEG sn") == {}
    if prefix == "Resp ":
        assert found("Resp np", "Resp sn") == {"NP": "Resp np", "SN": "Resp sn"}


@pytest.mark.parametrize(
    "label",
    ["EMG", "Chin1-Chin2", "ECG L", "EEG", "C3-M2", "Arm L", "Flow", "Thor", "LLeg#2", "#4", "EMG3", "CPAP Press"],
)
def test_other_channels_are_none_of_these(label):
    assert found(label) == {}


def test_placed_under_the_names_of_the_slots(memory_recording):
    recording = memory_recording({"C3": (64.0, "uV", []), "Snore": (64.0, "uV", []), "Leg": (64.0, "uV", [])}, 0)
    montage = {"C3": Derivation("EEG1", "M2")}
    recording = Recording("toy", "r", "p", recording.signals, recording.labels, montage)
    made = {slot: str(derivation) for slot, derivation in place(recording).montage.items()}
    assert made == {"EEG_C3_A2": "EEG1 - M2", "EMG_LLeg": "Leg", "SN": "Snore"}
    assert "SN" not in place(recording.only(("eeg", "emg"))).montage
    assert list(place(recording.only(("resp",))).montage) == ["SN"]
