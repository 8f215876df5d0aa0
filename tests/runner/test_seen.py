"""Which lists hold for which encoder of a run."""

from types import SimpleNamespace

from hypnos_bench.cohorts.base import Cohort, CohortCard
from hypnos_bench.encoders.base import EncoderCard
from hypnos_bench.exposure import Entry, ExposureList
from hypnos_bench.exposure.shelf import save_list
from hypnos_bench.runner.seen import exposures, untested

PEOPLE = {"mros-visit1-aa0001": "aa0001", "mros-visit1-aa0002": "aa0002"}


def source(name, made_by=""):
    card = EncoderCard(name, "t", "1", 30.0, 30.0, True, 0, (), "none", pretrained_on=("mros",), made_by=made_by)
    return SimpleNamespace(key=f"key of {name}", card=card)


def test_lists_of_an_encoder_hold_for_what_was_exported_of_it(tmp_path):
    recordings = tuple(SimpleNamespace(id=name, person=person) for name, person in PEOPLE.items())
    cohort = Cohort(CohortCard("mros", "t", ("stage",)), recordings, ())
    request = SimpleNamespace(results=tmp_path)
    entry = Entry("aa0001", "pretrain", "mros", None, "aa0001")
    save_list(tmp_path, ExposureList("seen", "osf", (entry,), {"pretrain": "seen"}))
    known = exposures(request, cohort, [source("osf"), source("osf-export", "osf"), source("other")])
    assert {key: tuple(exposure.seen) for key, exposure in known.items()} == {
        "key of osf": ("aa0001",), "key of osf-export": ("aa0001",), "key of other": ()
    }  # fmt: skip
    del known["key of other"]
    assert untested(request, cohort, known) == {"aa0001"}
