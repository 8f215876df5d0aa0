from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.signals.labels import unique_labels


def test_first_of_equal_labels_keeps_its_name():
    assert unique_labels(["ECG ", "ECG", "EMG", " ECG"]) == ["ECG", "ECG#2", "EMG", "ECG#3"]


def test_a_label_that_looks_like_a_number_keeps_its_name():
    assert unique_labels(["ECG", "ECG", "ECG#2"]) == ["ECG", "ECG#3", "ECG#2"]


def test_blank_labels_are_told_by_their_place():
    assert unique_labels(["C3", "", "", "#2"]) == ["C3", "#2#2", "#3", "#2"]


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["", "A", "A#2", "A#3", "#1", "#2", "B"]), max_size=8))
def test_always_unique_and_as_many(labels):
    result = unique_labels(labels)
    assert len(set(result)) == len(result) == len(labels)
    firsts = {label: labels.index(label) for label in labels if label}
    assert all(result[i] == label for label, i in firsts.items())
