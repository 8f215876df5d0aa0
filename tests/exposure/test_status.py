"""What a cell says of its encoder: clean, cohort seen, person seen, or not known."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.base import Cohort, CohortCard
from hypnos_bench.encoders.base import EncoderCard
from hypnos_bench.exposure import Entry, ExposureList, exposure_of, is_stale, load_lists
from hypnos_bench.exposure.entries import exposure_list
from hypnos_bench.exposure.readers import read_list, read_lists
from hypnos_bench.exposure.shelf import save_list

PEOPLE = {"mros-visit1-aa0001": "aa0001", "mros-visit2-aa0001": "aa0001", "mros-visit1-aa0002": "aa0002"}
LEVELS = {
    "pretrain_train": "seen",
    "pretrain_valid": "seen",
    "pretrain_test": "held out",
    "downstream_test": "not seen",
}


def card(pretrained_on, marks=(), name="osf"):
    return EncoderCard(name, "t", "1", 30.0, 30.0, True, 0, (), "none", pretrained_on=pretrained_on, marks=marks)


def listed(*entries, name="list", encoder="osf"):
    made = tuple(
        Entry(text, role, "mros", text, text.rpartition("-")[2] if by_person else None)
        for text, role, by_person in entries
    )
    return ExposureList(name, encoder, made, LEVELS)


SEEN = listed(("mros-visit2-aa0001", "pretrain_train", True), name="seen")
VALID = listed(("mros-visit1-aa0001", "pretrain_valid", True), name="valid")
HELD = listed(("mros-visit1-aa0002", "pretrain_test", True), name="held")
HEADS = listed(("mros-visit1-aa0001", "downstream_test", True), name="heads")


@pytest.mark.parametrize(
    ("pretrained_on", "lists", "status", "persons", "roles", "sources"),
    [
        (None, [], "not known", 0, {}, []),
        ((), [], "clean", 0, {}, ["card"]),
        (("shhs",), [], "clean", 0, {}, ["card"]),
        (("MrOS_visit1",), [], "cohort seen", 0, {}, ["card"]),
        (("nsrr",), [], "cohort seen", 0, {}, ["card"]),
        (None, [SEEN], "person seen", 1, {"pretrain_train": 1}, ["seen"]),
        (
            ("mros",),
            [SEEN, VALID],
            "person seen",
            1,
            {"pretrain_train": 1, "pretrain_valid": 1},
            ["seen", "valid", "card"],
        ),
        (None, [HELD], "cohort seen", 0, {}, ["held"]),
        (None, [HEADS], "clean", 0, {}, ["heads"]),
        (("mros",), [HEADS], "cohort seen", 0, {}, ["heads", "card"]),
        ((), [SEEN], "person seen", 1, {"pretrain_train": 1}, ["seen"]),  # a card that is wrong is no witness
    ],
)
def test_blocks(pretrained_on, lists, status, persons, roles, sources):
    exposure = exposure_of(card(pretrained_on), ("mros", PEOPLE), lists)
    assert exposure.block(["aa0001", "aa0002", "aa0001"]) == {
        "status": status,
        "persons": persons,
        "persons_test": 2,
        "roles": roles,
        "sources": sources,
    }


def test_whoever_is_not_tested_does_not_count():
    exposure = exposure_of(card(None), ("mros", PEOPLE), [SEEN])
    assert exposure.block(["aa0002"]) == {
        "status": "cohort seen", "persons": 0, "persons_test": 1, "roles": {}, "sources": ["seen"],
    }  # fmt: skip
    assert (exposure.person("aa0001"), exposure.person("aa0002")) == ("person seen", "cohort seen")
    assert exposure.seen_among(["aa0002", "aa0001"]) == ("aa0001",)


def test_another_encoders_or_cohorts_list_says_nothing():
    other = listed(("mros-visit1-aa0001", "pretrain_train", True), encoder="mine")
    assert exposure_of(card(None), ("mros", PEOPLE), [other]).block(["aa0001"])["status"] == "not known"
    assert exposure_of(card(None), ("shhs", {"shhs1-200001": "200001"}), [SEEN]).known is False


def test_an_untrained_encoder_has_seen_nobody():
    exposure = exposure_of(card((), marks=("untrained",)), ("mros", PEOPLE), [SEEN])
    assert exposure.block(["aa0001"])["status"] == "clean"
    assert exposure.sources == ("card",)


def test_recordings_join_where_ids_tell_no_person():
    people = {"Night 3": "P-7", "Night 4": "P-7", "Night 5": "P-8"}
    by_recording = ExposureList("a", "osf", (Entry("Night 4.edf", "x", "edf-folder", "night 4", None),), {"x": "seen"})
    assert exposure_of(card(None), ("edf-folder", people), [by_recording]).seen == {"P-7": ("x",)}
    by_person = ExposureList("a", "osf", (Entry("p-8", "x", "edf-folder", None, "p-8"),), {"x": "seen"})
    assert exposure_of(card(None), ("edf-folder", people), [by_person]).seen == {"P-8": ("x",)}


def test_a_cohort_is_taken_as_it_is_opened():
    recordings = tuple(SimpleNamespace(id=name, person=person) for name, person in PEOPLE.items())
    cohort = Cohort(CohortCard("mros", "t", ("stage",)), recordings, ())
    assert exposure_of(card(None), cohort, [SEEN]) == exposure_of(card(None), ("mros", PEOPLE), [SEEN])


def test_the_digest_follows_what_blocks_say():
    def made(pretrained_on=None, lists=(), people=PEOPLE):
        return exposure_of(card(pretrained_on), ("mros", people), lists).digest

    digests = [made(), made(()), made(("mros",)), made(lists=[SEEN]), made(lists=[VALID]), made(lists=[SEEN, VALID])]
    assert len(set(digests)) == len(digests)
    assert made(lists=[SEEN]) == made(lists=[SEEN]) == made(lists=[SEEN], people=dict(reversed(PEOPLE.items())))


@settings(max_examples=60, deadline=None)
@given(
    seen=st.sets(st.integers(0, 12)), tested=st.sets(st.integers(0, 12)), more=st.sets(st.integers(0, 12)),
)  # fmt: skip
def test_more_lists_never_make_an_encoder_cleaner(seen, tested, more):
    people = {f"mros-visit{v}-aa{k:04d}": f"aa{k:04d}" for k in range(10) for v in (1, 2)}
    names = [f"aa{k:04d}" for k in tested]

    def block(numbers):
        lists = [listed(*((f"mros-visit2-aa{k:04d}", "pretrain_train", True) for k in numbers))]
        return exposure_of(card(("shhs",)), ("mros", people), lists).block(names)

    alone, together = block(seen), block(seen | more)
    assert alone["persons"] == len(seen & tested & {*range(10)})
    assert alone["status"] == ("person seen" if alone["persons"] else "cohort seen" if seen else "clean")
    rank = ["clean", "cohort seen", "person seen"]
    assert together["persons"] >= alone["persons"]
    assert rank.index(together["status"]) >= rank.index(alone["status"])


def test_the_shared_lists_join_by_person_across_visits(shared_data):
    osf = [exposure_list(file, "osf") for file in read_lists(shared_data / "splits" / "osf").files]
    # shhs1-200002 is in train; nothing but the other visit is at hand, and of 200017 only the held-out one.
    people = {"shhs2-200002": "200002", "shhs1-200017": "200017"}
    exposure = exposure_of(card(("shhs", "wsc")), ("shhs", people), osf)
    assert exposure.seen["200002"] == ("pretrain_train",)
    assert exposure_of(card(("shhs",)), ("mros", PEOPLE), osf).block(["aa0001"])["status"] == "clean"
    sleepfm = [exposure_list(file, "sleepfm") for file in read_lists(shared_data / "splits" / "sleepfm").files]
    mros = {e.recording: e.person for one in sleepfm for e in one.of("mros") if e.role == "test"}
    block = exposure_of(card(("mros", "mesa"), name="sleepfm"), ("mros", mros), sleepfm).block(mros.values())
    assert (block["status"], block["persons"], block["persons_test"]) == ("person seen", 148, 279)
    assert block["roles"] == {"pretrain": 148}


@pytest.mark.parametrize(
    ("stated", "cohort", "status"),
    [
        ("MrOS Sleep Study", "mros", "cohort seen"),
        ("Sleep Heart Health Study", "shhs", "cohort seen"),
        ("nsrr/shhs", "shhs", "cohort seen"),
        ("mesa-sleep", "mesa", "cohort seen"),
        ("stanford", "mnc", "cohort seen"),
        ("our clinic", "shhs", "not known"),
        ("shhs-1 and 2", "shhs", "not known"),
        ("physionet", "physionet-2018", "not known"),
        ("shhs", "edf-folder", "not known"),
        ("shhs", "array-folder", "not known"),
        ("edf-folder", "shhs", "not known"),
    ],
)
def test_a_card_is_no_proof_where_its_words_leave_it_open(stated, cohort, status):
    exposure = exposure_of(card(("sof", stated)), (cohort, {"r1": "p1"}), [])
    assert exposure.block(["p1"])["status"] == status
    assert exposure.sources == (() if status == "not known" else ("card",))


@pytest.mark.parametrize("cohort", ["edf-folder", "array-folder"])
def test_a_users_folder_is_clean_where_nothing_was_learned_or_a_list_covers_it(cohort):
    people = {"r1": "p1", "r2": "p2"}
    assert exposure_of(card(()), (cohort, people), []).block(["p1"])["status"] == "clean"
    heads = ExposureList("l", "osf", (Entry("r2", "x", cohort, "r2", "p2"),), {"x": "not seen"})
    assert exposure_of(card(("shhs",)), (cohort, people), [heads]).block(["p1"])["status"] == "clean"


def test_foreign_data_leave_the_other_cohorts_clean():
    sleepfm = card(("ssc", "bioserenity", "mesa", "mros"), name="sleepfm")
    found = {c: exposure_of(sleepfm, (c, {}), []).block([])["status"] for c in ("shhs", "sleep-edf", "mnc", "mros")}
    assert found == {"shhs": "clean", "sleep-edf": "clean", "mnc": "cohort seen", "mros": "cohort seen"}


@pytest.mark.parametrize("pretrained_on", [None, ("shhs",), ("our clinic",), ()])
def test_nobody_has_seen_a_simulated_cohort(pretrained_on):
    exposure = exposure_of(card(pretrained_on), ("demo", {"r1": "p1"}), [])
    assert exposure.block(["p1"])["status"] == "clean"
    assert exposure.sources == ("simulated: nobody was recorded",)
    opened = Cohort(CohortCard("toy", "t", ("stage",), simulated=True), (SimpleNamespace(id="r1", person="p1"),), ())
    assert exposure_of(card(pretrained_on), opened, []).known
    assert exposure_of(card(("demo",)), ("demo", {"r1": "p1"}), []).block(["p1"])["status"] == "cohort seen"


def test_lists_of_the_encoder_that_made_an_export_hold_for_it(tmp_path):
    save_list(tmp_path, SEEN)
    export = replace(card(("shhs",), name="osf-export"), made_by="osf")
    lists = load_lists(tmp_path, export.id, export.made_by)
    assert exposure_of(export, ("mros", PEOPLE), lists).block(["aa0001"])["status"] == "person seen"
    assert load_lists(tmp_path, export.id) == ()


def test_bare_ids_of_a_stated_cohort_are_found(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text("recording,cohort\nshhs1-200001,shhs\nAA0001,mros\n")
    one = exposure_list(read_list(path), "osf")
    block = exposure_of(card(("shhs",)), ("mros", PEOPLE), [one]).block(["aa0001", "aa0002"])
    assert (block["status"], block["persons"]) == ("person seen", 1)


def test_cells_stamped_before_a_list_came_or_went_are_told_apart():
    def stale(sources, lists, encoder="osf"):
        return is_stale({"sources": sources}, encoder, "mros", lists)

    assert not stale(["seen"], [SEEN])
    assert not stale(["card"], [])
    assert stale(["card"], [SEEN])  # added since
    assert stale(["seen"], [])  # removed since
    assert not stale(["card"], [SEEN], "other")
    assert not stale(["seen"], [SEEN], "osf-export")  # of the encoder that made the embeddings
