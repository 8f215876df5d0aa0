"""Frames on given tokens, against the published package, and what a stream must keep."""

import numpy as np
import pytest
import torch

from hypnos_bench.hypnos.attention import band_mask
from hypnos_bench.hypnos.infer import embed, load_model

T = 173

MODELS = {
    "as-released": {},
    "gelu": {"swiglu": False},
    "no-qk-norm": {"qk_norm": False},
    "xsa": {"xsa": True},
    "xsa-gelu-no-qk-norm": {"xsa": True, "swiglu": False, "qk_norm": False},
    "whole-past": {"sliding_window": None, "global_every_n": None, "global_window": None},
    "global-is-whole-past": {"global_window": None},
    "only-global-windowed": {"sliding_window": None},
    "window-of-one": {"sliding_window": 1, "global_every_n": None},
    "window-longer-than-all": {"sliding_window": 500, "global_every_n": None},
    "modality-every-layer": {"modality_attn_every_n": 1},
    "modality-late": {"modality_attn_every_n": 1, "modality_attn_start_layer": 2},
    "modality-never": {"modality_attn_start_layer": 9},
    "modality-no-ffn": {"modality_use_ffn": False},
    "no-channel-embeddings": {"channel_embeddings": False},
    "no-cross-modal": {"disable_cross_modal_attention": True},
    "cls": {"use_cls": True},
    "cls-grouping": {"use_cls": True, "cls_independent_crp": True, "modality_grouping_alpha": 1.0},
    "depth-separate": {"share_trunk_depth_emb": False},
    "depth-equal-widths": {"share_trunk_depth_emb": False, "depth_dim": None},
    "depth-tied": {"tie_depth_io": True},
}
ABSENT = {"all": (), "one": ("ecg",), "leader": ("eeg_c3",), "alone": ("eeg_c3", "ecg", "eeg_c4")}


@pytest.fixture(scope="module")
def loaded(reference):
    """Function: both implementations of a bundle, loaded once."""
    known = {}

    def load(path):
        if path not in known:
            known[path] = (load_model(path), reference.load(path))
        return known[path]

    return load


@pytest.mark.parametrize("absent", ABSENT.values(), ids=ABSENT)
@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_frames_are_those_of_the_published_package(
    tiny_config, bundle_file, loaded, reference, make_tokens, our_frames, options, absent
):
    (model, _, metadata), (theirs, _, _) = loaded(bundle_file(tiny_config(model=options)))
    given = make_tokens(metadata, T, absent)
    for chunk in (50, 2048):
        expected = reference.frames(theirs, *given, chunk)
        found = our_frames(model, *given, chunk_tokens=chunk)
        assert found.shape == expected.shape
        assert found.dtype == torch.float32
        assert float((found - expected).abs().max()) <= 1e-5
    # Neither constant nor a copy of the input: a wrong layer would show.
    assert float(found.std(0).mean()) > 0.3


@pytest.mark.parametrize("chunk", [1, 64, 172, 173])
def test_chunk_boundaries(tiny_bundle, loaded, reference, make_tokens, our_frames, chunk):
    (model, _, metadata), (theirs, _, _) = loaded(tiny_bundle)
    given = make_tokens(metadata, T)
    expected = reference.frames(theirs, *given, chunk)
    assert float((our_frames(model, *given, chunk_tokens=chunk) - expected).abs().max()) <= 1e-5


def test_embed_is_the_published_call(tiny_bundle, loaded, reference, make_tokens):
    (model, _, metadata), (theirs, _, their_metadata) = loaded(tiny_bundle)
    given = make_tokens(metadata, T, ("ecg",))
    expected = reference.embed(theirs, *given, their_metadata, chunk_tokens=50)
    found = embed(model, *given, metadata, chunk_tokens=50)
    assert list(found) == list(expected) == ["eeg_c3", "eeg_c4", "resp_thx"]
    for name, array in found.items():
        assert array.dtype == np.float16
        assert array.flags.c_contiguous
        assert array.shape == (T, 32)
        # At most one rounding step of float16; next to zero its steps are finer than float32 sums are exact.
        step = np.spacing(np.maximum(np.abs(array), np.abs(expected[name]))).astype(np.float32)
        apart = np.abs(array.astype(np.float32) - expected[name].astype(np.float32))
        assert np.all(apart <= np.maximum(step, 2e-6))


def test_continuous_context_is_one_single_chunk(tiny_bundle, loaded, reference, make_tokens, our_frames):
    (model, _, metadata), (theirs, _, _) = loaded(tiny_bundle)
    given = make_tokens(metadata, 300, seed=5)
    expected = reference.frames(theirs, *given, 300)
    found = our_frames(model, *given, chunk_tokens=50, context="continuous")
    assert float((found - expected).abs().max()) <= 1e-5
    chunked = our_frames(model, *given, chunk_tokens=50)
    assert float((found - chunked)[50:].abs().max()) > 0.1


@pytest.mark.parametrize("options", [{}, {"sliding_window": None, "global_every_n": None}])
def test_blocks_do_not_change_the_result(tiny_config, bundle_file, make_tokens, our_frames, options):
    model, _, metadata = load_model(bundle_file(tiny_config(model=options)))
    given = make_tokens(metadata, T)
    whole = our_frames(model, *given, block_tokens=T)
    for block in (1, 5, 12, 64, 172):
        torch.testing.assert_close(our_frames(model, *given, block_tokens=block), whole, atol=3e-6, rtol=1e-5)


def test_a_frame_sees_earlier_tokens_only(tiny_bundle, make_tokens, our_frames):
    model, _, metadata = load_model(tiny_bundle)
    tokens, mask, channel_ids = make_tokens(metadata, T)
    before = our_frames(model, tokens, mask, channel_ids)
    for t in (0, 63, 64, 100, T - 1):
        changed = tokens.clone()
        changed[0, t, 0] = (changed[0, t, 0] + 1) % 32
        moved = (our_frames(model, changed, mask, channel_ids) != before).any(-1).any(-1).nonzero()[:, 0]
        # The next frame moves in all modalities at once; the last token is never seen.
        assert moved.tolist()[:1] == ([t + 1] if t < T - 1 else [])


def test_nothing_is_seen_beyond_the_summed_windows(tiny_bundle, make_tokens, our_frames):
    model, _, metadata = load_model(tiny_bundle)
    tokens, mask, channel_ids = make_tokens(metadata, 200)
    changed = tokens.clone()
    changed[0, 10] = (changed[0, 10] + 1) % 16
    moved = (our_frames(model, changed, mask, channel_ids) - our_frames(model, tokens, mask, channel_ids)).abs()
    reach = 11 + sum(model.config.window(i) - 1 for i in range(model.config.temporal_depth))
    moved = moved.amax((1, 2))
    assert moved[11] > 0.1
    assert torch.equal(moved[reach + 1 :], torch.zeros(200 - reach - 1))


def test_absent_modalities_leave_no_trace_but_their_position_counts(tiny_bundle, make_tokens, our_frames):
    model, _, metadata = load_model(tiny_bundle)
    tokens, mask, channel_ids = make_tokens(metadata, 60, ("eeg_c3",))
    junk = tokens.clone()
    junk[0, :, metadata.columns[0]] = 7
    frames = our_frames(model, tokens, mask, channel_ids)
    assert torch.equal(our_frames(model, junk, mask, channel_ids), frames)
    # The same tokens in the first place are another modality: position rows differ.
    moved, there = tokens.clone(), mask.clone()
    moved[0, :, metadata.columns[0]] = tokens[0, :, metadata.columns[2]]
    there[0, 0], there[0, 2] = True, False
    other = our_frames(model, moved, there, torch.tensor([[1, 5, 0, 7]]))
    assert float((other[:, 0] - frames[:, 1]).abs().max()) > 1e-2


def test_state_does_not_grow(tiny_bundle, make_tokens):
    model, _, metadata = load_model(tiny_bundle)
    tokens, _, channel_ids = make_tokens(metadata, 400)
    stream = model.stream([0, 1, 2, 3], channel_ids[0].tolist())
    for start in range(0, 400, 20):
        stream.push(tokens[:, start : start + 20])
    kept = [carry._buffer.shape[2] for carry in stream._carries]
    assert kept == [11 + 64, 39 + 64, 11 + 64, 39 + 64]  # the window's past, and room for a block


def test_band_mask_by_hand():
    no, inf = 0.0, float("-inf")
    expected = [[inf, no, no, inf, inf], [inf, inf, no, no, inf], [inf, inf, inf, no, no]]
    assert band_mask(3, 5, 2, torch.zeros(1)).tolist() == expected
    assert band_mask(2, 3, None, torch.zeros(1)).tolist() == [[no, no, inf], [no, no, no]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_shorter_types_stay_near(tiny_bundle, make_tokens, our_frames, dtype):
    model, _, metadata = load_model(tiny_bundle)
    short, tokenizers, _ = load_model(tiny_bundle, dtype=dtype)
    given = make_tokens(metadata, T)
    exact, near = our_frames(model, *given), our_frames(short, *given)
    assert near.dtype == torch.float32
    assert float(torch.cosine_similarity(exact, near, -1).min()) > 0.999
    assert {p.dtype for p in short.parameters()} == {dtype}
    assert {p.dtype for p in tokenizers["ecg"].parameters()} == {torch.float32}


@pytest.mark.parametrize("sizes", [[0, 1, 1, 30, 8], [40]])
def test_advance_is_push_one_second_earlier(tiny_bundle, make_tokens, sizes):
    model, _, metadata = load_model(tiny_bundle)
    tokens, _, channel_ids = make_tokens(metadata, 40)
    ids = channel_ids[0].tolist()
    pushed = model.stream([0, 1, 2, 3], ids).push(tokens)
    stream = model.stream([0, 1, 2, 3], ids)
    parts = [stream.advance(part) for part in tokens.split(sizes, 1)]
    assert parts[0].shape[2] == sizes[0] + 1
    advanced = torch.cat(parts, 2)
    assert advanced.shape[2] == 41
    torch.testing.assert_close(advanced[:, :, :40], pushed, atol=2e-6, rtol=1e-5)


def test_recordings_side_by_side_do_not_see_each_other(tiny_bundle, make_tokens):
    model, _, metadata = load_model(tiny_bundle)
    several = torch.cat([make_tokens(metadata, 90, seed=seed)[0] for seed in range(3)])
    ids = [0, 5, 7]
    together = model.stream([0, 1, 3], ids, batch=3)
    frames = torch.cat([together.push(part) for part in several.split(25, 1)], 2)
    assert frames.shape == (3, 3, 90, 32)
    for i in range(3):
        alone = model.stream([0, 1, 3], ids).push(several[i : i + 1])
        torch.testing.assert_close(frames[i : i + 1], alone, atol=2e-6, rtol=1e-5)
