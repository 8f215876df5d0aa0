import re

import pytest

from hypnos_bench.errors import UsageError
from hypnos_bench.taskfiles import load_task, task_paths

BASE = """
id = "{id}"
title = "T"
label = "stage"
unit = "epoch"
classes = ["W", "S"]
metrics = ["kappa"]
cohorts = ["demo"]
[class_map]
W = "W"
"*" = "S"
"""


def write(folder, name, text):
    (folder / f"{name}.toml").write_text(text.replace("{id}", name))
    return folder


@pytest.mark.parametrize("task_id", sorted(task_paths()))
def test_packaged_tasks_are_valid(task_id):
    task = load_task(task_id)
    assert task.id == task_id
    assert task.citation


def test_staging_is_five_classes_per_epoch():
    task = load_task("staging")
    assert task.classes == ("W", "N1", "N2", "N3", "R")
    assert (task.unit, task.unit_s, task.alignment) == ("epoch", 30.0, "reference")


def test_af_scores_flutter_with_fibrillation():
    task = load_task("af")
    assert task.class_map["AFIB"] == task.class_map["AFL"] == task.positive == "AF"


def test_extends_merges_tables_key_by_key(tmp_path):
    write(tmp_path, "base", BASE)
    write(tmp_path, "child", 'id = "child"\nextends = "base"\ntitle = "C"\n[class_map]\nN1 = "W"\n')
    child = load_task("child", tmp_path)
    assert child.title == "C"
    assert child.class_map == {"W": "W", "*": "S", "N1": "W"}


def test_new_classes_with_a_map_start_a_new_map(tmp_path):
    write(tmp_path, "base", BASE)
    text = 'id = "child"\nextends = "base"\nclasses = ["NREM", "rest"]\n[class_map]\nN2 = "NREM"\n"*" = "rest"\n'
    write(tmp_path, "child", text)
    assert load_task("child", tmp_path).class_map == {"N2": "NREM", "*": "rest"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('classes = ["NREM", "rest"]', r"class_map\.W = 'W' .*class_map is inherited from 'base'; state class_map"),
        ('unit_s = 20\nunit = "window"\nclasses = ["X", "S"]', r"class_map\.W = 'W' .*inherited from 'base'"),
        ('positive = "X"', r"positive = 'X' is not one of the classes$"),
        ('[class_map]\nN1 = "X"', r"class_map\.N1 = 'X' is not one of the classes\.$"),
    ],
)
def test_a_misfit_says_when_it_is_inherited(tmp_path, lines, message):
    write(tmp_path, "base", BASE)
    write(tmp_path, "child", f'id = "child"\nextends = "base"\n{lines}\n')
    with pytest.raises(UsageError, match=message) as caught:
        load_task("child", tmp_path)
    assert "child.toml" in str(caught.value)


def test_extends_goes_one_level(tmp_path):
    write(tmp_path, "base", BASE)
    write(tmp_path, "child", 'id = "child"\nextends = "base"\n')
    write(tmp_path, "grandchild", 'id = "grandchild"\nextends = "child"\n')
    with pytest.raises(UsageError, match="one level is allowed"):
        load_task("grandchild", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "T"', 'titel = "T"', r"unknown key 'titel'\. Did you mean 'title'\?"),
        ('title = "T"', "", "missing key 'title'"),
        ('label = "stage"', 'label = "stages"', r"label = 'stages' must be one of .*Did you mean 'stage'\?"),
        ('W = "W"', 'W = "Wake"', "class_map.W = 'Wake' is not one of the classes"),
        ('classes = ["W", "S"]', 'classes = ["W"]', "at least two"),
        ('classes = ["W", "S"]', "classes = [1, 2]", "list of strings"),
        ('unit = "epoch"', 'unit = "epoch"\nunit_s = 20', "an epoch is 30 s"),
        ('unit = "epoch"', 'unit = "window"\nunit_s = -1', "positive number"),
        ('title = "T"', 'title = "T"\npositive = "X"', "positive = 'X'"),
        ('id = "bad"', 'id = "good"', "must equal the file name"),
        ('title = "T"', 'title = "T', "not a readable TOML"),
        ('title = "T"', 'title = "T"\nextends = "stagin"', r"names no task\. Did you mean 'staging'\?"),
    ],
)
def test_every_mistake_names_file_and_key(tmp_path, old, new, message):
    text = BASE.replace("{id}", "bad")
    assert old in text
    write(tmp_path, "bad", text.replace(old, new))
    with pytest.raises(UsageError, match=message) as caught:
        load_task("bad", tmp_path)
    assert re.search(r"bad\.toml", str(caught.value))


def test_own_tasks_may_not_redefine_packaged_ones(tmp_path):
    write(tmp_path, "staging", BASE)
    with pytest.raises(UsageError, match="is taken"):
        task_paths(tmp_path)


def test_unknown_task_suggests():
    with pytest.raises(UsageError, match="Did you mean 'staging'"):
        load_task("stagging")
