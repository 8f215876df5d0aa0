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
heads = ["linear"]
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
        ('label = "rhythm"', r"unit = 'epoch': rhythm labels are per window \(unit is inherited from 'base'"),
        ('classes = ["W", "S", "X"]', r"class_map leads no label to class 'X' \(class_map is inherited from 'base'"),
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
        ('classes = ["W", "S"]', 'classes = ["W", "S", "W"]', "classes has 'W' twice"),
        ('metrics = ["kappa"]', 'metrics = ["kappa", "kappa"]', "metrics has 'kappa' twice"),
        ('heads = ["linear"]', "heads = []", "heads must be a list of strings"),
        ('heads = ["linear"]', "", "missing key 'heads'"),
        ('W = "W"', 'Wake = "W"', r"class_map: 'Wake' is no stage \(W, N1, N2, N3, R\)"),
        ('"*" = "S"', "", "class_map leads no label to class 'S'"),
        ('[class_map]\nW = "W"\n"*" = "S"\n', "", "missing class_map: which labels belong to which class"),
        ('title = "T"', 'title = "T"\nignore = ["W"]', "ignore has 'W', which class_map makes 'W'"),
        ('title = "T"', 'title = "T"\nkind = "regression"', "kind = 'regression': stage labels are for classification"),
        ('title = "T"', 'title = "T"\nsplit = "cv10"', "split = 'cv10' must be one of cohort, holdout, cv5"),
        ('classes = ["W", "S"]', "classes = [1, 2]", "list of strings"),
        ('unit = "epoch"', 'unit = "epoch"\nunit_s = 20', "an epoch is 30 s"),
        ('unit = "epoch"', 'unit = "epoch"\nunit_s = -1', "unit_s must be a number of seconds, 0 or more"),
        ('unit = "epoch"', 'unit = "epoch"\nunit_s = true', "unit_s must be a number of seconds"),
        ('unit = "epoch"', 'unit = "epoch"\nunit_s = 0', "unit_s must be a positive number"),
        ('unit = "epoch"', 'unit = "window"', "unit = 'window': stage labels are per epoch"),
        ('unit = "epoch"', 'unit = "epoch"\ndemographics = ["age"]', "demographics stand beside whole recordings"),
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


OTHERS = {
    "events": """
id = "{id}"
title = "T"
label = "events"
unit = "epoch"
events = ["arousal"]
classes = ["none", "some"]
positive = "some"
metrics = ["auroc"]
cohorts = ["demo"]
heads = ["linear"]
""",
    "covariate": """
id = "{id}"
title = "T"
label = "covariate"
unit = "person"
columns = ["ahi"]
cuts = [5, 15.5]
classes = ["low", "middle", "high"]
metrics = ["kappa"]
cohorts = ["demo"]
heads = ["linear"]
""",
    "number": """
id = "{id}"
title = "T"
label = "covariate"
unit = "recording"
kind = "regression"
columns = ["age"]
demographics = ["sex"]
metrics = ["mae"]
cohorts = ["demo"]
heads = ["ridge"]
""",
    "outcome": """
id = "{id}"
title = "T"
label = "outcome"
unit = "person"
kind = "survival"
columns = ["death"]
horizons = [5, 7.5]
metrics = ["c-index", "auroc-5y", "calibration-7.5y"]
cohorts = ["demo"]
heads = ["cox"]
""",
    "minutes": """
id = "{id}"
title = "T"
label = "minutes"
unit = "window"
unit_s = 60
classes = ["N", "A"]
metrics = ["kappa"]
cohorts = ["demo"]
heads = ["linear"]
class_map = { N = "N", A = "A" }
""",
}


def test_each_kind_as_it_should_be(tmp_path):
    for name, text in OTHERS.items():
        write(tmp_path, f"own-{name}", text)
    tasks = {name: load_task(f"own-{name}", tmp_path) for name in OTHERS}
    assert tasks["events"].overlap_s == 0.5
    assert tasks["covariate"].cuts == (5.0, 15.5)
    assert (tasks["number"].unit_s, tasks["number"].by_person, tasks["number"].classes) == (0.0, True, ())
    assert tasks["outcome"].horizons == (5.0, 7.5)
    assert tasks["minutes"].unit_s == 60.0


@pytest.mark.parametrize(
    ("kind", "old", "new", "message"),
    [
        ("events", 'events = ["arousal"]', "", "missing key 'events'"),
        ("events", '["arousal"]', '["arousals"]', r"events: unknown kind 'arousals'\. Did you mean 'arousal'\?"),
        ("events", 'positive = "some"', "", "missing key 'positive': the class of epochs with an event"),
        ("events", '["none", "some"]', '["none", "some", "x"]', "positive is for tasks with two classes"),
        ("events", 'unit = "epoch"', 'unit = "window"', "unit = 'window': events labels are per epoch"),
        ("events", 'title = "T"', 'title = "T"\noverlap_s = -1', "overlap_s must be a number of seconds"),
        ("events", 'title = "T"', 'title = "T"\noverlap_share = 2', "overlap_share must be a number from 0 to 1"),
        ("events", 'title = "T"', 'title = "T"\nclass_map = { a = "some" }', "class_map is for stage, .* but label = 'events'"),
        ("events", 'title = "T"', 'title = "T"\nmixed = "majority"', "mixed is for rhythm labels"),
        ("covariate", "[5, 15.5]", "[15.5, 5]", "cuts must ascend"),
        ("covariate", "[5, 15.5]", "[5, 5]", "cuts must ascend"),
        ("covariate", "[5, 15.5]", "[5]", "1 cuts make 2 classes, not 3"),
        ("covariate", "[5, 15.5]", '["5"]', "cuts must be a list of numbers"),
        ("covariate", "cuts = [5, 15.5]", "", "missing class_map, or cuts for a number"),
        ("covariate", 'title = "T"', 'title = "T"\nclass_map = { a = "low" }', "class_map and cuts exclude each other"),
        ("covariate", 'title = "T"', 'title = "T"\nunit_s = 30', "unit_s is for epochs and windows; leave it out"),
        ("covariate", 'title = "T"', 'title = "T"\nalignment = "covered"', "alignment is for epochs and windows"),
        ("covariate", 'title = "T"', 'title = "T"\noverlap_s = 3', "overlap_s is for events labels"),
        ("covariate", 'title = "T"', 'title = "T"\ndemographics = ["age", "ahi"]', r"must not hold the label itself \(ahi\)"),
        ("covariate", 'title = "T"', 'title = "T"\nhorizons = [5]', "horizons is for outcome labels"),
        ("covariate", '["ahi"]', '["*"]', "'\\*' stands alone, and for outcomes only"),
        ("number", 'title = "T"', 'title = "T"\nclasses = ["a", "b"]', "classes is for classification, but kind = 'regression'"),
        ("number", 'title = "T"', 'title = "T"\npositive = "a"', "positive is for classification"),
        ("number", 'title = "T"', 'title = "T"\ncuts = [5]', "cuts is for classification"),
        ("number", '["sex"]', '["age"]', r"demographics must not hold the label itself \(age\)"),
        ("outcome", 'columns = ["death"]', "", "missing key 'columns': outcome ids"),
        ("outcome", '["death"]', '["death", "*"]', "'\\*' stands alone"),
        ("outcome", 'kind = "survival"', "", "kind = 'classification': outcome labels are for survival"),
        ("outcome", "[5, 7.5]", "[7.5, 5]", "horizons must be positive years that ascend"),
        ("outcome", "[5, 7.5]", "[0, 5]", "horizons must be positive years"),
        ("outcome", "[5, 7.5]", "[5, 5, 7.5]", "horizons must be positive years that ascend"),
        ("outcome", "[5, 7.5]", "[5]", r"metrics: calibration-7\.5y needs 7\.5 among the horizons"),
        ("minutes", "unit_s = 60", "unit_s = 30", "apnea minutes are 60 s"),
        ("minutes", "unit_s = 60", 'unit_s = 60\nevents = ["arousal"]', "events is for events labels, but label = 'minutes'"),
    ],
)  # fmt: skip
def test_keys_that_do_not_go_together(tmp_path, kind, old, new, message):
    assert old in OTHERS[kind]
    write(tmp_path, "bad", OTHERS[kind].replace(old, new))
    with pytest.raises(UsageError, match=message) as caught:
        load_task("bad", tmp_path)
    assert re.search(r"bad\.toml", str(caught.value))
    assert "\n" not in str(caught.value)
