"""Tokens equal those of the published package, apart from ties that float64 proves."""

import numpy as np
import pytest
import torch

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.hypnos.infer import Tokenizers, load_model, tokenize
from hypnos_bench.hypnos.tokenizer import token_count

VARIANTS = {
    "as-released": {},
    "no-norm-gelu": {"norm": None, "activation": "gelu"},
    "layer-silu": {"norm": "layer", "activation": "silu"},
    "rms-leaky": {"norm": "rms", "activation": "leaky"},
    "dilated": {"n_residual_layers": 3, "dilation_base": 2},
    "no-residual": {"n_residual_layers": 0, "activation": "relu"},
    "no-transformer": {"attention_depth": 0},
    "whole-past": {"window_size": None},
    "zero-padding": {"pad_mode": "constant", "stride_kernel_multiplier": 1, "last_kernel_size": 3},
    "edge-padding": {"pad_mode": "replicate", "activation": "linear"},
    "own-code-width": {"codebook_dim": None},
}
# Float32 distances |x|^2 - 2x.e + |e|^2 of a vector that itself carries the encoder's rounding.
TIE = 2e-5


def assert_equal_but_for_ties(tokenizer, signal, ours, theirs):
    """Every difference starts at a level where float64 sees two codes equally near; deeper levels follow from it."""
    assert ours.shape == theirs.shape
    differing = (ours != theirs).any(1).nonzero()[:, 0].tolist()
    if not differing:
        return
    exact = tokenizer.__class__.double(tokenizer)
    latents = torch.cat(list(exact.latents(torch.from_numpy(signal).double()[None, None])), 1)[0]
    books = [book.detach() for book in exact.codebooks]
    exact.float()
    for t in differing:
        level = int((ours[t] != theirs[t]).nonzero()[0, 0])
        rest = latents[t] - sum((books[k][ours[t, k]] for k in range(level)), torch.zeros_like(latents[t]))
        a, b = (books[level][tokens[t, level]] for tokens in (ours, theirs))
        margin = (rest - a).square().sum() - (rest - b).square().sum()
        scale = rest.square().sum() + a.square().sum()
        assert abs(margin) <= TIE * scale, f"token {t}, level {level}: no tie, margin {margin / scale:.1e}"


def columns_by_name(metadata, tokens):
    return {m.name: tokens[0, :, c] for m, c in zip(metadata.modalities, metadata.columns, strict=True)}


def compare(reference, path, signals, **options):
    _, tokenizers, metadata = load_model(path)
    ours = tokenize(tokenizers, metadata, signals, **options)
    _, their_tokenizers, their_metadata = reference.load(path)
    theirs = reference.tokenize(their_tokenizers, their_metadata, signals)
    assert torch.equal(ours[1], theirs[1])
    assert torch.equal(ours[2], theirs[2])
    assert all(a.dtype == b.dtype for a, b in zip(ours, theirs, strict=True))
    mine, published = columns_by_name(metadata, ours[0]), columns_by_name(metadata, theirs[0])
    for name, tokens in mine.items():
        if name in signals:
            assert_equal_but_for_ties(tokenizers[name], signals[name], tokens, published[name])
        else:
            assert not tokens.any()
            assert not published[name].any()
    return ours[0]


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_tokens_are_those_of_the_published_package(tiny_config, bundle_file, reference, make_signals, options):
    path = bundle_file(tiny_config(tokenizer=options))
    metadata = load_model(path)[2]
    tokens = compare(reference, path, make_signals(metadata, 173.3))
    assert tokens.shape[1] == 174
    # Not a single code everywhere: equality would prove nothing.
    assert all(len(torch.unique(tokens[0, :, k])) > 4 for k in range(tokens.shape[2]))


@pytest.mark.parametrize("seconds", [6, 7.5, 64, 65.9, 130.0625])
@pytest.mark.parametrize("absent", [(), ("eeg_c3",), ("eeg_c4", "resp_thx")])
def test_odd_lengths_and_absent_modalities(tiny_bundle, reference, make_signals, seconds, absent):
    metadata = load_model(tiny_bundle)[2]
    compare(reference, tiny_bundle, make_signals(metadata, seconds, absent, seed=3))


def test_modalities_of_unequal_length_are_cut_to_the_shortest(tiny_bundle, reference, make_signals):
    metadata = load_model(tiny_bundle)[2]
    signals = make_signals(metadata, 40)
    signals["eeg_c4"] = signals["eeg_c4"][: 31 * 16 + 3]
    assert compare(reference, tiny_bundle, signals).shape[1] == 32


def test_beyond_1800_seconds_a_partial_token_is_dropped(tiny_bundle, reference, make_signals):
    metadata = load_model(tiny_bundle)[2]
    signals = make_signals(metadata, 1801.5, ("eeg_c3", "eeg_c4"))
    assert compare(reference, tiny_bundle, signals, count="ceil").shape[1] == 1802
    _, tokenizers, _ = load_model(tiny_bundle)
    assert tokenize(tokenizers, metadata, signals)[0].shape[1] == 1801


def test_the_proof_of_a_tie_rejects_a_wrong_token(tiny_bundle, make_signals):
    _, tokenizers, metadata = load_model(tiny_bundle)
    signal = make_signals(metadata, 30)["eeg_c3"]
    tokenizer = tokenizers["eeg_c3"]
    tokens = tokenizer.tokenize(torch.from_numpy(signal)[None, None])[0]
    wrong = tokens.clone()
    wrong[11, 1] = (wrong[11, 1] + 1) % 32
    assert_equal_but_for_ties(tokenizer, signal, tokens, tokens.clone())
    with pytest.raises(AssertionError, match="token 11, level 1: no tie"):
        assert_equal_but_for_ties(tokenizer, signal, tokens, wrong)


@pytest.mark.parametrize("options", [{}, {"n_residual_layers": 3, "dilation_base": 2}, {"window_size": None}])
def test_latents_do_not_depend_on_blocks(tiny_config, bundle_file, make_signals, options):
    path = bundle_file(tiny_config(tokenizer=options))
    _, tokenizers, metadata = load_model(path)
    for name, signal in make_signals(metadata, 97.4).items():
        x = torch.from_numpy(signal)[None, None]
        whole = torch.cat(list(tokenizers[name].latents(x, block_tokens=1000)), 1)
        assert whole.shape[1] == 98
        for block in (7, 16, 97, 98):
            parts = torch.cat(list(tokenizers[name].latents(x, block_tokens=block)), 1)
            torch.testing.assert_close(parts, whole, atol=2e-6, rtol=1e-5)


def test_a_token_sees_its_second_and_one_sample_more(tiny_bundle, make_signals):
    _, tokenizers, metadata = load_model(tiny_bundle)
    tokenizer = tokenizers["eeg_c3"].double()
    x = torch.from_numpy(make_signals(metadata, 60)["eeg_c3"]).double()[None, None]

    def latents(signal):
        return torch.cat(list(tokenizer.latents(signal)), 1)[0]

    before = latents(x)
    for sample, first_changed in ((20 * 16, 19), (20 * 16 + 1, 20), (20 * 16 + 15, 20)):
        changed = x.clone()
        changed[..., sample] += 1
        moved = (latents(changed) != before).any(1).nonzero()[:, 0]
        assert moved[0] == first_changed


def test_batch_gives_what_single_signals_give(tiny_bundle, make_signals):
    _, tokenizers, metadata = load_model(tiny_bundle)
    signals = make_signals(metadata, 50)
    x = torch.from_numpy(np.stack([signals["eeg_c3"], signals["eeg_c4"]]))[:, None]
    both = tokenizers["eeg_c3"].tokenize(x)
    for row in range(2):
        assert torch.equal(both[row], tokenizers["eeg_c3"].tokenize(x[row : row + 1])[0])


def test_the_first_of_equal_codes_wins(edited_bundle):
    book = "tok/eeg-q3/quantizer.quantizers.0.embedding.weight"

    def repeat_a_row(tensors):
        kind, shape, data = tensors[book]
        rows = np.frombuffer(data, "<f4").reshape(shape).copy()
        rows[20] = rows[5]
        tensors[book] = (kind, shape, rows.tobytes())

    tokenizer = load_model(edited_bundle(repeat_a_row))[1]["eeg_c3"]
    assert torch.equal(tokenizer.codebooks[0][20], tokenizer.codebooks[0][5])
    assert tokenizer.quantize(tokenizer.codebooks[0][[20, 7]].detach()[None])[0, :, 0].tolist() == [5, 7]


@pytest.mark.parametrize(
    ("n", "rule", "expected"),
    [
        (128, "auto", 1),
        (129, "auto", 2),
        (1800 * 128, "auto", 1800),
        (1800 * 128 + 64, "auto", 1801),  # 1800.5 s
        (1801 * 128 + 64, "auto", 1801),  # 1801.5 s
        (1801 * 128 + 64, "ceil", 1802),
        (28800 * 128, "auto", 28800),
    ],
)
def test_token_count(n, rule, expected):
    assert token_count(n, 128, rule) == expected


def test_shortest_signal_is_that_of_the_published_package(tiny_bundle, reference):
    _, tokenizers, _ = load_model(tiny_bundle)
    _, theirs, _ = reference.load(tiny_bundle)
    for n, fits in ((5 * 16, False), (5 * 16 + 1, True)):
        x = torch.randn(1, 1, n, generator=torch.Generator().manual_seed(0))
        if fits:
            assert tokenizers["eeg_c3"].tokenize(x).shape == (1, 6, 3)
            assert theirs["eeg_c3"].tokenize(x).shape == (1, 6, 3)
        else:
            with pytest.raises(DataError, match=r"5 s is too short for this tokenizer; it needs more than 5 s"):
                tokenizers["eeg_c3"].tokenize(x)
            with pytest.raises(RuntimeError):
                theirs["eeg_c3"].tokenize(x)


def test_short_signal_names_its_modality(tiny_bundle, make_signals):
    _, tokenizers, metadata = load_model(tiny_bundle)
    signals = make_signals(metadata, 20) | {"ecg": np.zeros(16, np.float32)}
    with pytest.raises(DataError, match=r"modality ecg \(tokenizer ecg-q2\): a signal of 1 s is too short"):
        tokenize(tokenizers, metadata, signals)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_one_bad_second_reaches_what_causality_says_and_is_reported(tiny_bundle, make_signals, value):
    _, tokenizers, metadata = load_model(tiny_bundle)
    signals = make_signals(metadata, 80)
    clean = tokenize(tokenizers, metadata, signals)[0]
    signals["ecg"][30 * 16 : 31 * 16] = value
    with pytest.warns(
        UserWarning, match=r"modality ecg: 16 of 1280 samples are not finite.* its tokens at (\d+)-(\d+) s"
    ):
        tokens = tokenize(tokenizers, metadata, signals)[0]
    ecg = metadata.columns[1]
    others = [c for c in range(tokens.shape[2]) if c not in range(ecg.start, ecg.stop)]
    assert torch.equal(tokens[..., others], clean[..., others])
    changed = (tokens != clean).any(-1)[0].nonzero()[:, 0]
    # Token 29 sees the first sample of second 30. Convolutions reach some 8 s back here, two layers of window 6 ten more.
    assert int(changed.min()) == 29
    assert 40 <= int(changed.max()) < 29 + 8 + 10 + 3
    tainted = tokens[0, 29 : int(changed.max()) + 1, ecg]
    assert not tainted.any()


def test_bad_samples_taint_every_later_token_without_a_window(tiny_config, bundle_file, make_signals):
    _, tokenizers, metadata = load_model(bundle_file(tiny_config(tokenizer={"window_size": None})))
    x = torch.from_numpy(make_signals(metadata, 60)["ecg"])[None, None].repeat(2, 1, 1)
    x[1, 0, 400] = np.nan
    tokens, tainted = tokenizers["ecg"].tokenize_and_report(x, block_tokens=7)
    assert tainted == [[], [(24, 60)]]
    assert torch.equal(tokens[0, :24], tokens[1, :24])


def test_infinite_samples_reach_as_far_as_missing_ones(tiny_config, bundle_file, make_signals):
    # An activation can make an infinite value finite again, above all with few filters.
    _, tokenizers, metadata = load_model(bundle_file(tiny_config(tokenizer={"n_filters": 2})))
    x = torch.from_numpy(make_signals(metadata, 60)["ecg"])[None, None].repeat(3, 1, 1)
    x[:, 0, 400] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    tokens, tainted = tokenizers["ecg"].tokenize_and_report(x)
    assert tainted[0][0][0] == 24
    assert tainted[1] == tainted[2] == tainted[0]
    assert torch.equal(tokens[1], tokens[0])


def test_a_stream_ends_once(tiny_bundle, make_signals):
    _, tokenizers, metadata = load_model(tiny_bundle)
    stream = tokenizers["ecg"].stream()
    x = torch.from_numpy(make_signals(metadata, 20)["ecg"]).double()[None, None]  # of another type than the weights
    tokens = torch.cat((stream.push(x), stream.finish()), 1)
    assert torch.equal(tokens, tokenizers["ecg"].tokenize(x.float()))
    with pytest.raises(UsageError, match="the signal has ended; start another stream"):
        stream.push(x)
    with pytest.raises(UsageError, match="has ended already"):
        stream.finish()
    with pytest.raises(UsageError, match="must be 'auto' or 'ceil', not 'floor'"):
        tokenizers["ecg"].tokenize(x.float(), count="floor")


def test_signals_follow_the_tokenizer_to_its_device(tiny_bundle):
    tokenizer = load_model(tiny_bundle)[1]["ecg"].to("meta")
    stream = tokenizer.stream()
    for n in (3, 40):  # nothing waits at the first push, something at the second
        assert stream.push(torch.zeros(1, 1, n)).device.type == "meta"


def test_a_signal_of_which_nothing_is_left_is_refused(tiny_bundle, make_signals):
    _, tokenizers, metadata = load_model(tiny_bundle)
    signals = make_signals(metadata, 20)
    signals["ecg"][::16] = np.nan
    with pytest.raises(
        DataError, match=r"modality ecg: 20 of 320 samples are not finite numbers, and they reach every"
    ):
        tokenize(tokenizers, metadata, signals)


@pytest.mark.parametrize("seconds", [6.9, 7, 40, 40.1])
def test_a_stream_gives_the_same_tokens_however_it_is_cut(tiny_bundle, make_signals, seconds):
    _, tokenizers, metadata = load_model(tiny_bundle)
    rng = np.random.default_rng(3)
    signals = make_signals(metadata, seconds)
    x = torch.from_numpy(np.stack([signals["eeg_c3"], signals["eeg_c4"]]))[:, None]
    tokenizer = tokenizers["eeg_c3"]
    whole = tokenizer.tokenize(x)
    for longest in (1, 5, 40, 200):
        stream, parts, at = tokenizer.stream(2), [], 0
        while at < x.shape[-1]:
            n = int(rng.integers(0, longest + 1))
            parts.append(stream.push(x[..., at : at + n]))
            at = min(at + n, x.shape[-1])
            done = sum(part.shape[1] for part in parts)
            complete = max(at - 1, 0) // 16  # a token needs its second and one sample more
            assert done == (complete if at > 6 * 16 else 0)
        parts.append(stream.finish())
        assert torch.equal(torch.cat(parts, 1), whole)


def test_unknown_and_missing_signals(tiny_bundle, make_signals):
    _, tokenizers, metadata = load_model(tiny_bundle)
    with pytest.raises(UsageError, match="Did you mean 'eeg_c3'"):
        tokenize(tokenizers, metadata, {"eeg_C3": np.zeros(1000, np.float32)})
    with pytest.raises(DataError, match="no modality is present; the model knows eeg_c3, ecg"):
        tokenize(tokenizers, metadata, {"ecg": None})


def test_tokenizers_are_read_on_first_use_and_kept_within_bounds(tiny_bundle, monkeypatch):
    _, tokenizers, _ = load_model(tiny_bundle)
    assert isinstance(tokenizers, Tokenizers)
    assert list(tokenizers) == ["eeg_c3", "ecg", "eeg_c4", "resp_thx"]
    first = tokenizers["eeg_c3"]
    assert tokenizers["eeg_c4"] is first
    assert tokenizers["ecg"] is not first
    assert tokenizers["eeg_c3"] is first
    monkeypatch.setattr("hypnos_bench.hypnos.infer._KEEP_BYTES", 1)
    assert tokenizers["resp_thx"] is tokenizers["resp_thx"]
    assert tokenizers["eeg_c3"] is not first
    kept = tokenizers["eeg_c3"]
    tokenizers.release()
    assert tokenizers["eeg_c3"] is not kept
