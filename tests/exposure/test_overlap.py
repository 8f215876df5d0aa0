"""Who is on both sides: counted again by pandas on the shared lists, and by brute force on small ones."""

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.exposure import Entry
from hypnos_bench.exposure.overlap import ALL, ANY, NOTHING, look_over, overlaps

PERSON = {  # cohort to a pattern of pandas' own, which shares nothing with the cards
    "shhs": r"^shhs\d-(\d+)$", "nchsdb": r"^(\d+)_\d+$", "wsc": r"^wsc-visit\d-(\d+)$", "ccshs": r"^ccshs-trec-(\d+)$",
    "cfs": r"^cfs-visit5-(\d+)$", "mros": r"^mros-visit\d-(AA\d+)$", "mesa": r"^mesa-sleep-(\d+)$",
    "chat": r"^chat-\w+-(\d+)$", "sof": r"^sof-visit-8-(\d+)$",
}  # fmt: skip
IN_TRAIN = {
    "mros": (381, 154), "shhs": (802, 378), "wsc": (194, 119), "chat": (67, 47), "nchsdb": (403, 43),
    "mesa": (180, 0), "sof": (42, 0), "cfs": (26, 0), "ccshs": (53, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def published(shared_data):
    found, _ = look_over([shared_data / "splits"])
    return {one.title.partition(":")[0]: one for one in found}


@pytest.fixture(scope="module")
def osf(published):
    return {(o.cohort, o.tested.rpartition("_")[2], o.learned.rpartition("_")[2]): o for o in published["osf"].overlaps}


@pytest.mark.parametrize("cohort", IN_TRAIN)
def test_osf_against_pandas(shared_data, osf, cohort):
    group = "downstream" if cohort in ("mros", "mesa", "chat", "sof") else "pretrain"

    def persons(part):
        ids = pd.read_csv(shared_data / "splits" / "osf" / f"patient_{group}_{part}_ids.csv")["patient_id"]
        return ids.str.extract(PERSON[cohort])[0].dropna()

    tested, train, valid = persons("test"), persons("train"), persons("valid")
    assert (len(tested), int(tested.isin(train).sum())) == IN_TRAIN[cohort]
    one = osf[cohort, "test", "train"]
    assert (one.recordings, one.shared_recordings, one.same_recordings) == (*IN_TRAIN[cohort], 0)
    assert (one.persons, one.learned_persons) == (tested.nunique(), train.nunique())
    assert one.shared_persons == len({*tested} & {*train})
    assert osf[cohort, "test", "valid"].shared_recordings == tested.isin(valid).sum()
    assert osf[cohort, "valid", "train"].shared_recordings == valid.isin(train).sum()
    assert osf[cohort, "test", ANY].left == (~tested.isin(train) & ~tested.isin(valid)).sum()


def test_osf_as_the_sheet_has_it(published, osf):
    assert (osf["mros", "test", "train"].left, osf["mros", "test", ANY].left) == (227, 203)
    assert round(100 * osf["shhs", "test", "train"].share, 1) == 47.1
    assert round(100 * osf["mros", "valid", "train"].share, 1) == 41.3
    totals = {(o.tested, o.learned): o.shared_recordings for o in published["osf"].overlaps if o.cohort == ALL}
    assert totals["pretrain_test", "pretrain_train"] == 540
    assert totals["downstream_test", "downstream_train"] == 201


def test_sleepfm_against_pandas(shared_data, published):
    lists = json.loads((shared_data / "splits" / "sleepfm" / "dataset_split.json").read_text())
    frame = pd.DataFrame([(role, path) for role, paths in lists.items() for path in paths], columns=["role", "path"])
    frame["person"] = frame["path"].str.extract(r"(mesa-sleep-\d+|aa\d+|shhs\d-\d+)\.hdf5$")[0]
    people = frame.groupby("role")["person"].agg(set)
    found = {(o.tested, o.learned): o.shared_persons for o in published["sleepfm"].overlaps if o.cohort == ALL}
    for (tested, learned), count in found.items():
        if learned != ANY:
            assert count == len(people[tested] & people[learned]), (tested, learned)
    assert (found["test", "pretrain"], found["test", "train"], found["train", "pretrain"]) == (148, 7, 137)
    assert (found["validation", "pretrain"], found["validation", "train"]) == (10, 3)
    by_cohort = {o.cohort: o for o in published["sleepfm"].overlaps if o.tested == "test" and o.learned == "pretrain"}
    assert (by_cohort["mros"].shared_persons, by_cohort["mesa"].shared_persons, by_cohort[ALL].persons) == (148, 0, 429)
    shhs = next(o for o in published["sleepfm"].overlaps if o.cohort == "shhs")
    assert (shhs.tested, shhs.learned, shhs.recordings) == ("external_validation", NOTHING, 2000)


ROLES = ("pretrain", "train", "valid", "test")
entries = st.lists(
    st.tuples(st.sampled_from(ROLES), st.sampled_from(["mros", "shhs"]), st.integers(0, 6), st.integers(1, 3)),
    max_size=40, unique=True,
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(entries)
def test_counts_are_those_of_brute_force(drawn):
    made = [Entry(f"{p}-{v}", role, cohort, f"{p}-{v}", str(p)) for role, cohort, p, v in drawn]
    found = {(o.cohort, o.tested, o.learned): o for o in overlaps(made)}
    for cohort in ("mros", "shhs"):
        for later, tested in enumerate(ROLES):
            rows = [(p, v) for role, c, p, v in drawn if (role, c) == (tested, cohort)]
            for learned in ROLES[:later]:
                before = {p for role, c, p, _ in drawn if (role, c) == (learned, cohort)}
                if not rows or not before:
                    assert (cohort, tested, learned) not in found
                    continue
                one = found[cohort, tested, learned]
                assert one.recordings == len(rows)
                assert one.shared_recordings == sum(p in before for p, _ in rows)
                assert one.shared_persons == len({p for p, _ in rows} & before)
                assert one.left + one.shared_recordings == one.recordings


def written(folder, **lists):
    folder.mkdir(exist_ok=True)
    paths = []
    for name, ids in lists.items():
        paths.append(folder / f"{name}.txt")
        paths[-1].write_text("\n".join(ids))
    return paths


def test_plain_lists_of_one_folder_belong_together(tmp_path):
    paths = written(tmp_path / "a", train=["mros-visit1-aa0001", "n1"], test=["mros-visit2-aa0001", "n1", "n2"])
    paths += written(tmp_path / "b", train=["mros-visit1-aa0002"], test=["mros-visit1-aa0003"])
    (a, b), passed = look_over(paths)
    assert not passed
    assert (a.title, a.shared_persons, b.shared_persons) == ("lists: 2 files in a", 2, 0)
    assert sorted(a.unplaced) == ["n1", "n1", "n2"]
    assert {(o.cohort, o.shared_recordings) for o in a.overlaps} == {("mros", 1), ("?", 1), ("all", 2)}
    (placed, _), _ = look_over(paths, "cap")
    assert not placed.unplaced
    assert {o.cohort for o in placed.overlaps} == {"mros", "cap", "all"}


def test_lists_whose_names_do_not_say_what_they_are_for_are_told(tmp_path):
    (one,), _ = look_over(written(tmp_path, first=["mros-visit1-aa0001"], second=["mros-visit2-aa0001"]))
    assert (one.unordered, one.overlaps, one.shared_persons) == (("first", "second"), (), 0)


def test_a_list_that_was_only_tested_taught_nobody():
    def entry(role, cohort, person):
        return Entry(f"{person}", role, cohort, f"{cohort}-{role}-{person}", person)

    made = [
        entry("pretrain_test", "mros", "a"),
        entry("downstream_train", "mros", "a"),
        entry("downstream_test", "mros", "b"),
    ]
    made += [entry("downstream_train", "mesa", "a")]
    found = [(o.cohort, o.tested, o.learned, o.shared_persons) for o in overlaps(made)]
    assert found == [  # nothing is to be added up: one cohort has both lists
        ("mros", "pretrain_test", NOTHING, 0),
        ("mros", "downstream_test", "downstream_train", 0),
    ]
