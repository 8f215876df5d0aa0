from dataclasses import replace

from hypnos_bench.labelling.classes import ClassMap
from hypnos_bench.taskfiles import load_task

RECORD = load_task("af-record")


def test_listed_labels_go_before_the_catch_all_and_ignored_ones_are_none():
    classes = ClassMap.of(replace(RECORD, ignore=("~", "A")))
    assert [classes.code(label) for label in ("AFIB", "N", "~", "A")] == [1, 0, None, None]
    assert ClassMap({"A": 1}).code("N") is None


def test_several_labels_at_once():
    classes = ClassMap.of(RECORD)
    assert classes.code_of_all(["NORM", "SR"]) == (0, "")
    assert classes.code_of_all(["SR", "AFIB", "AFLT"]) == (1, "")
    assert classes.code_of_all(["A", "~"]) == (None, "labelled ~, which the task ignores")
    two = ClassMap({"AFIB": 1, "SR": 0, "*": 0})
    assert two.code_of_all(["AFIB", "SR"]) == (None, "labelled AFIB, SR, which are of different classes")
    assert ClassMap({"AFIB": 1}).code_of_all(["SR"]) == (None, "labelled SR, which is of no class of the task")


def test_labels_may_be_spelt_anew():
    classes = ClassMap.of(replace(RECORD, class_map={"Male": "AF"}, ignore=("X",)), str.casefold)
    assert (classes.codes, classes.ignore) == ({"male": 1}, {"x"})
