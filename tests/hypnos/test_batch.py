"""Several recordings side by side get what each gets alone."""

import copy
import re

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnos_bench.encoders.base import mean_over_modalities
from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.hypnos import batch as module
from hypnos_bench.hypnos.batch import embed_many, tokenize_many
from hypnos_bench.hypnos.infer import embed, frames, load_model, tokenize
from hypnos_bench.hypnos.random_bundle import write_random_bundle
from hypnos_bench.hypnos.temporal import Stream

NAMES = ("eeg_c3", "ecg", "eeg_c4", "resp_thx")

absences = st.sets(st.sampled_from(NAMES), max_size=3)
no_reset = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def loaded(tiny_bundle):
    return load_model(tiny_bundle)


@no_reset
@given(
    recordings=st.lists(st.tuples(st.integers(1, 150), absences), min_size=1, max_size=5),
    at_once=st.integers(1, 5),
    chunk=st.none() | st.integers(1, 70),
)
def test_frames_side_by_side_are_those_of_each_alone(loaded, make_tokens, recordings, at_once, chunk):
    model, _, metadata = loaded
    several = [make_tokens(metadata, n, absent, seed=i) for i, (n, absent) in enumerate(recordings)]
    context = "continuous" if chunk is None else "chunked"
    found = embed_many(model, several, metadata, context=context, chunk_tokens=chunk, at_once=at_once)
    for arrays, given_tokens, (n, absent) in zip(found, several, recordings):
        alone = embed(model, *given_tokens, metadata, context=context, chunk_tokens=chunk)
        assert list(arrays) == list(alone) == [name for name in NAMES if name not in absent]
        for name, rows in alone.items():
            assert arrays[name].dtype == np.float16
            assert arrays[name].shape == (n, model.embed_dim)
            assert arrays[name].flags.c_contiguous
            np.testing.assert_allclose(arrays[name], rows, rtol=2**-10, atol=1e-6)  # at most the last bit of float16


def test_blocks_agree_with_single_frames_to_float32_rounding(loaded, make_tokens, monkeypatch):
    """The same before rounding to float16, where a difference of 1e-6 can be seen."""
    model, _, metadata = loaded
    several = [make_tokens(metadata, n, seed=n) for n in (40, 90, 131)]
    push, kept = Stream.push, []

    def remember(stream, tokens):
        kept.append(push(stream, tokens))
        return kept[-1]

    monkeypatch.setattr(Stream, "push", remember)
    embed_many(model, several, metadata, at_once=3)
    together = torch.cat(kept, 2)
    monkeypatch.undo()
    for row, given_tokens in zip(together, several):
        alone = torch.cat([part for _, part in frames(model, *given_tokens, context="continuous")], 1)
        torch.testing.assert_close(row[:, : alone.shape[1]], alone, rtol=0, atol=1e-6)


@no_reset
@given(
    recordings=st.lists(st.tuples(st.floats(3, 90), absences), min_size=1, max_size=4),
    count=st.sampled_from(["auto", "ceil"]),
)
def test_tokens_side_by_side_are_those_of_each_alone(loaded, make_signals, recordings, count):
    _, tokenizers, metadata = loaded
    several = [make_signals(metadata, seconds, absent, seed=i) for i, (seconds, absent) in enumerate(recordings)]
    for found, signals in zip(tokenize_many(tokenizers, metadata, several, count=count), several):
        if isinstance(found, DataError):
            with pytest.raises(DataError, match=re.escape(str(found))):
                tokenize(tokenizers, metadata, signals, count=count)
            continue
        alone = tokenize(tokenizers, metadata, signals, count=count)
        for one, other in zip(found, alone):
            assert torch.equal(one, other)
            assert one.dtype == other.dtype


def test_the_count_rule_holds_for_each_recording_by_itself(loaded, make_signals):
    """Half a second more counts up to 1800 s and not beyond, whatever lies beside it."""
    _, tokenizers, metadata = loaded
    lengths = {20.5: 21, 1800.5: 1801, 1801.5: 1801, 1900.0: 1900}
    several = [make_signals(metadata, seconds, absent=NAMES[:3]) for seconds in lengths]
    found = tokenize_many(tokenizers, metadata, several)
    assert [tokens.shape[1] for tokens, _, _ in found] == list(lengths.values())


def test_modalities_of_unlike_length_are_cut_to_the_shortest_of_their_own_recording(loaded, make_signals):
    _, tokenizers, metadata = loaded
    uneven = make_signals(metadata, 60)
    uneven["ecg"] = uneven["ecg"][: 50 * 16]
    (short, _, _), (whole, _, _) = tokenize_many(tokenizers, metadata, [uneven, make_signals(metadata, 60, seed=1)])
    assert (short.shape[1], whole.shape[1]) == (50, 60)
    assert torch.equal(short, tokenize(tokenizers, metadata, uneven)[0])


def test_what_is_wrong_with_one_recording_is_said_and_does_not_touch_the_others(loaded, make_signals):
    _, tokenizers, metadata = loaded
    good, lost, short = (make_signals(metadata, seconds, seed=1) for seconds in (40, 40, 2))
    lost["ecg"][:] = np.nan
    found = tokenize_many(tokenizers, metadata, [lost, good, {}, {"ecg": None}, short])
    alone = tokenize(tokenizers, metadata, good)
    assert all(torch.equal(one, other) for one, other in zip(found[1], alone))
    messages = [str(found[i]) for i in (0, 2, 3, 4)]
    assert all(isinstance(found[i], DataError) for i in (0, 2, 3, 4))
    assert "ecg" in messages[0]
    assert "640 of 640 samples are not finite" in messages[0]
    assert "no modality is present" in messages[1]
    assert messages[1] == messages[2]
    assert "too short" in messages[3]
    with pytest.raises(UsageError, match="eeg_c3"):
        tokenize_many(tokenizers, metadata, [good, {"eeg_c33": good["ecg"]}])


def test_a_gap_is_treated_and_told_as_in_the_single_call(loaded, make_signals):
    _, tokenizers, metadata = loaded
    gap = make_signals(metadata, 90)
    gap["ecg"][700] = np.nan
    with pytest.warns(UserWarning, match="ecg: 1 of 1440 samples are not finite"):
        _, (found, _, _) = tokenize_many(tokenizers, metadata, [make_signals(metadata, 90, seed=1), gap])
    with pytest.warns(UserWarning, match="ecg"):
        alone, _, _ = tokenize(tokenizers, metadata, gap)
    assert torch.equal(found, alone)


def test_the_given_arrays_are_left_alone_and_may_be_read_only(loaded, make_signals):
    _, tokenizers, metadata = loaded
    signals = make_signals(metadata, 30)
    before = copy.deepcopy(signals)
    for array in signals.values():
        array.flags.writeable = False
    tokenize_many(tokenizers, metadata, [signals, signals])
    for name, array in signals.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("absent", [(), ("ecg",), NAMES[1:]])
def test_the_mean_is_that_of_the_stored_rows_to_the_bit(loaded, make_tokens, absent):
    model, _, metadata = loaded
    several = [make_tokens(metadata, n, absent, seed=n) for n in (70, 30)]
    each = embed_many(model, several, metadata, at_once=2)
    for arrays, averaged in zip(each, embed_many(model, several, metadata, average=True, at_once=2)):
        assert list(averaged) == ["mean"]
        np.testing.assert_array_equal(averaged["mean"], mean_over_modalities(arrays).astype(np.float16))


def test_channel_ids_part_recordings_with_the_same_modalities(loaded, make_tokens):
    model, _, metadata = loaded
    tokens, mask, ids = make_tokens(metadata, 30)
    other = (tokens, mask, ids.flip(1))
    found = embed_many(model, [(tokens, mask, ids), other], metadata, at_once=2)
    for arrays, given_tokens in zip(found, [(tokens, mask, ids), other]):
        alone = embed(model, *given_tokens, metadata, context="continuous")
        for name, rows in alone.items():
            np.testing.assert_allclose(arrays[name], rows, rtol=2**-10, atol=1e-6)
    assert not np.array_equal(found[0]["ecg"], found[1]["ecg"])


def test_nothing_gives_nothing(loaded, make_tokens):
    model, tokenizers, metadata = loaded
    assert embed_many(model, [], metadata) == []
    assert tokenize_many(tokenizers, metadata, []) == []
    tokens, mask, ids = make_tokens(metadata, 5)
    assert embed_many(model, [(tokens, ~mask, ids)], metadata) == [{}]


def test_tokens_that_do_not_fit_and_contexts_without_chunks_are_refused(loaded, make_tokens):
    model, _, metadata = loaded
    tokens, mask, ids = make_tokens(metadata, 5)
    with pytest.raises(UsageError, match="must lie in"):
        embed_many(model, [(tokens + 1000, mask, ids)], metadata)
    for words in ({"context": "chunked"}, {"chunk_tokens": 5}, {"context": "endless"}):
        with pytest.raises(UsageError, match="context"):
            embed_many(model, [(tokens, mask, ids)], metadata, **words)


@pytest.mark.parametrize("average", [False, True])
def test_damaged_weights_are_told_and_rows_beyond_the_end_are_not_looked_at(loaded, make_tokens, monkeypatch, average):
    model, _, metadata = loaded
    several = [make_tokens(metadata, n, seed=n) for n in (20, 100)]
    push = Stream.push

    def spoil(row, second):
        count = [0]

        def spoiled(stream, tokens):
            out = push(stream, tokens).clone()
            start, count[0] = count[0], count[0] + tokens.shape[1]
            if start <= second < count[0]:
                out[row, 0, second - start, 3] = torch.inf
            return out

        monkeypatch.setattr(Stream, "push", spoiled)

    spoil(0, 50)  # beyond the end of the shorter
    embed_many(model, several, metadata, average=average, at_once=2)
    spoil(1, 50)
    with pytest.raises(DataError, match="near second 0 are not finite"):
        embed_many(model, several, metadata, average=average, at_once=2)


def test_bfloat16_rows_point_the_same_way(tmp_path):
    path = write_random_bundle(tmp_path / "small.safetensors", seed=1)
    (full, tokenizers, metadata), (short, _, _) = (load_model(path, dtype=d) for d in (torch.float32, torch.bfloat16))
    rng = np.random.default_rng(0)
    signals = {m.name: rng.standard_normal(40 * m.sample_rate).astype(np.float32) for m in metadata.modalities}
    several = tokenize_many(tokenizers, metadata, [signals])
    for average in (False, True):
        (a,), (b,) = (embed_many(model, several, metadata, average=average) for model in (full, short))
        for name, rows in a.items():
            x, y = rows.astype(np.float64), b[name].astype(np.float64)
            cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
            assert cosine.min() >= 0.9999
            assert not np.array_equal(rows, b[name])


def test_blocks_from_cuda_come_one_late_and_never_before_their_copy(monkeypatch):
    log = []

    class OnDevice:
        device = torch.device("cuda")

        def __init__(self, name):
            self.name = name

    class CopyEvent:
        def __init__(self):
            self.n = len([e for e in log if e[0] == "record"])
            log.append(("record", self.n))

        def synchronize(self):
            log.append(("copied", self.n))

    monkeypatch.setattr(module, "_pinned_copy", lambda x: f"copy of {x.name}")
    stream = type("Stream", (), {"record_event": staticmethod(CopyEvent)})
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)

    def blocks():
        for i in range(3):
            log.append(("queued", i))
            yield 128 * i, (OnDevice(f"rows {i}"), OnDevice(f"flags {i}"))

    for start, (half, finite) in module._on_host(blocks()):
        log.append(("delivered", start // 128))
        assert (half, finite) == (f"copy of rows {start // 128}", f"copy of flags {start // 128}")
    order = "queued 0 record 0 queued 1 record 1 copied 0 delivered 0 queued 2 record 2 copied 1 delivered 1"
    assert " ".join(f"{what} {i}" for what, i in log) == f"{order} copied 2 delivered 2"
