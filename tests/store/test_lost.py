"""Markers of recordings that an encoder refused: they hold while nothing that they rest on has changed."""

import json

import pytest

from hypnos_bench.errors import DataError
from hypnos_bench.store import embeddings
from hypnos_bench.store.embeddings import EmbeddingStore
from hypnos_bench.store.lost import read_marker, write_marker

SOURCE = "5" * 64
REASON = 'no usable channel: "C3" flat, é missing'


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path)


@pytest.fixture
def marked(store, make_card, make_recording):
    store.mark_lost(make_card(), make_recording(), SOURCE, REASON)
    return store.lost_path(make_card(), "toy", "r1")


def test_a_refused_recording_is_lost_with_its_reason(store, marked, make_card, make_recording):
    assert marked.parent == store.path(make_card(), "toy", "r1").parent
    assert marked.name == "r1.lost.json"
    assert [path.name for path in marked.parent.iterdir()] == ["r1.lost.json"]
    assert store.state(make_card(), make_recording(), SOURCE) == "lost"
    assert store.lost_reason(make_card(), make_recording(), SOURCE) == REASON
    assert store.state(make_card(), make_recording("r2"), SOURCE) == "missing"


def test_a_marker_can_be_read_by_others(marked, make_card):
    body = json.loads(marked.read_text())
    assert (body["recording"], body["reason"], body["source"]) == ("r1", REASON, SOURCE)
    assert (body["encoder"], body["schema"]) == (make_card().definition(), 1)


def test_other_signals_another_definition_or_release_are_tried(store, marked, make_card, make_recording, monkeypatch):
    assert store.state(make_card(), make_recording(), "6" * 64) == "missing"
    assert store.state(make_card(version="2"), make_recording(), SOURCE) == "missing"
    moved = store.lost_path(make_card(version="2"), "toy", "r1")
    moved.parent.mkdir()
    moved.write_bytes(marked.read_bytes())
    assert store.state(make_card(version="2"), make_recording(), SOURCE) == "missing"
    monkeypatch.setattr(embeddings, "__version__", "99")
    assert store.state(make_card(), make_recording(), SOURCE) == "missing"


def test_an_embedding_wins_and_takes_the_marker_away(store, marked, make_card, make_recording, embedding):
    path = store.save(make_card(), make_recording(), SOURCE, embedding)
    assert not marked.exists()
    assert store.state(make_card(), make_recording(), SOURCE) == "ok"
    store.mark_lost(make_card(), make_recording(), SOURCE, REASON)
    assert store.state(make_card(), make_recording(), SOURCE) == "ok"
    path.write_bytes(path.read_bytes()[:-1])
    assert store.state(make_card(), make_recording(), SOURCE) == "lost"
    marked.unlink()
    assert store.state(make_card(), make_recording(), SOURCE) == "damaged"


def test_every_flipped_byte_makes_it_no_marker(store, marked, make_card, make_recording):
    whole = marked.read_bytes()
    for position in range(len(whole) - 1):
        altered = bytearray(whole)
        altered[position] ^= 0x01
        marked.write_bytes(altered)
        assert store.state(make_card(), make_recording(), SOURCE) == "missing", position


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"{}", b"[" * 10**5, b" " * (2**20 + 1), b"\xff", b'{"sha256":1}']
)
def test_what_is_no_marker(store, marked, make_card, make_recording, content):
    marked.write_bytes(content)
    assert store.state(make_card(), make_recording(), SOURCE) == "missing"


def test_a_marker_that_cannot_be_read_is_told(store, marked, make_card, make_recording):
    marked.unlink()
    marked.mkdir()
    with pytest.raises(DataError, match=r"r1\.lost\.json: cannot be read"):
        store.state(make_card(), make_recording(), SOURCE)


def test_names_with_dots_stay_apart(store, make_card):
    names = ["a", "a.lost", "a.lost.json", "a.1", "a.2"]
    assert len({store.lost_path(make_card(), "toy", name) for name in names}) == len(names)


def test_what_the_disk_refuses_is_told(tmp_path):
    (tmp_path / "f").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        write_marker(tmp_path / "f" / "x.lost.json", {"a": 1}, "r")


def test_facts_must_be_the_same(tmp_path):
    write_marker(tmp_path / "m", {"a": 1, "b": [None, 2.5]}, "why")
    assert read_marker(tmp_path / "m", {"a": 1, "b": [None, 2.5]}) == "why"
    assert read_marker(tmp_path / "m", {"a": 1}) is None
    assert read_marker(tmp_path / "m", {"a": 1, "b": [None, 2.5], "c": 0}) is None
