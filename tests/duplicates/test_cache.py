"""The cache: nothing is read twice, nothing damaged is believed."""

import numpy as np
import pytest

from hypnos_bench.duplicates import Fingerprint, FingerprintCache, envelope_fingerprint, fingerprint_all, rr_fingerprint
from hypnos_bench.errors import DataError, IntegrityError, RecordingError


@pytest.fixture
def cache(tmp_path):
    return FingerprintCache(tmp_path / "fingerprints")


def same(one: Fingerprint, other: Fingerprint):
    assert (one.kind, one.channel, one.values.dtype) == (other.kind, other.channel, other.values.dtype)
    np.testing.assert_array_equal(one.values, other.values)


def test_what_is_saved_is_loaded(cache, beats, eeg):
    for source, made in {
        "ab": rr_fingerprint(beats(0, hours=0.5)),
        "cd": envelope_fingerprint(eeg(0, 0.5), 64.0, channel="C3"),
    }.items():
        assert source not in cache
        cache.save(source, made)
        assert source in cache
        same(cache.load(source), made)
    cache.save("ef", None)
    assert cache.load("ef") is None


def test_equal_content_gives_equal_bytes(tmp_path, beats):
    made = rr_fingerprint(beats(0, hours=0.2))
    one, other = FingerprintCache(tmp_path / "a"), FingerprintCache(tmp_path / "b")
    one.save("ab", made)
    other.save("ab", made)
    assert one.path("ab").read_bytes() == other.path("ab").read_bytes()


def test_a_rerun_reads_no_signals(cache, memory_recording, eeg):
    recording = memory_recording({"C3": (64.0, eeg(0, 0.5))}, 1800)
    first = cache.obtain(recording, "ab")
    assert recording.signals.read_labels == ["C3"]
    same(cache.obtain(recording, "ab"), first)
    assert recording.signals.read_labels == ["C3"]
    flat = memory_recording({"C3": (64.0, np.zeros(64 * 1800))}, 1800)
    assert cache.obtain(flat, "cd") is None
    assert cache.obtain(flat, "cd") is None
    assert flat.signals.read_labels == ["C3"]


@pytest.mark.parametrize("place", [0.02, 0.3, 0.9])
def test_damage_is_noticed_and_made_again(cache, memory_recording, eeg, place):
    recording = memory_recording({"C3": (64.0, eeg(0, 0.5))}, 1800)
    first = cache.obtain(recording, "ab")
    path = cache.path("ab")
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0x11
    path.write_bytes(bytes(content))
    with pytest.raises(IntegrityError):
        cache.load("ab")
    same(cache.obtain(recording, "ab"), first)
    assert cache.remade == 1
    same(cache.load("ab"), first)


def test_another_recordings_file_is_not_believed(cache, beats):
    cache.save("ab", rr_fingerprint(beats(0, hours=0.2)))
    cache.path("ab").rename(cache.path("cd"))
    with pytest.raises(IntegrityError, match="other signals"):
        cache.load("cd")


def test_what_is_not_there(cache):
    with pytest.raises(DataError, match="cannot be read"):
        cache.load("ab")


def test_an_unreadable_recording_is_not_stored(cache, memory_recording, unreadable):
    recording = memory_recording({"ECG": unreadable})
    with pytest.raises(RecordingError):
        cache.obtain(recording, "ab")
    assert "ab" not in cache


def test_a_cohort_is_sorted_into_found_without_and_failed(cache, memory_recording, eeg, unreadable):
    recordings = [
        memory_recording({"C3": (64.0, eeg(0, 0.5))}, 1800, "good"),
        memory_recording({"C3": (64.0, eeg(1, 0.5))}, 60, "short"),
        memory_recording({"C3": unreadable}, 1800, "broken"),
    ]
    report = fingerprint_all(recordings, {"good": "aa", "short": "bb", "broken": "cc"}, cache)
    assert list(report.found) == ["good"]
    assert report.without == ["short"]
    assert [(e.recording, e.reason, e.transient) for e in report.failed] == [("broken", "cut off at byte 17", False)]
