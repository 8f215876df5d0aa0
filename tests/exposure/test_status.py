"""What a cell says of its encoder: clean, cohort seen, person seen, or not known."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.cohorts.base import Cohort, CohortCard
from hypnos_bench.encoders.base import EncoderCard
from hypnos_bench.exposure import Entry, ExposureList, exposure_of
from hypnos_bench.exposure.entries import exposure_list
from hypnos_bench.exposure.readers import read_lists

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
        ((), [SEEN], "person seen", 1, {"pretrain_train": 1}, ["seen", "card"]),  # a card that is wrong
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
