"""Tokens to signals, against the published package, and what streaming them must keep."""

import warnings

import pytest
import torch

from hypnos_bench.errors import UsageError
from hypnos_bench.hypnos.bundle import Bundle
from hypnos_bench.hypnos.decoder import SignalDecoder, shortest_tokens

T = 150

TOKENIZERS = {
    "as-released": {},
    "layer-norm": {"norm": "layer", "activation": "gelu", "n_filters": 16},
    "rms-norm": {"norm": "rms", "activation": "silu", "n_filters": 16},
    "no-norm": {"norm": None, "activation": "leaky"},
    "whole-past": {"window_size": None},
    "no-transformer": {"attention_depth": 0},
    "no-residuals": {"n_residual_layers": 0},
    "dilated": {"n_residual_layers": 3, "dilation_base": 3},
    "kernel-is-stride": {"stride_kernel_multiplier": 1},
    "kernel-three-strides": {"stride_kernel_multiplier": 3},
    "zero-padding": {"pad_mode": "constant"},
    "repeated-padding": {"pad_mode": "replicate"},
    "own-code-width": {"codebook_dim": None},
}


@pytest.fixture(scope="module")
def decoders(tiny_config, bundle_file, reference):
    """Function: our decoder and the published tokenizer of a stem."""
    known = {}

    def load(options, stem="eeg-q3"):
        path = bundle_file(tiny_config(tokenizer=options))
        if path not in known:
            known[path] = reference.load(path)[1:]
        tokenizers, metadata = known[path]
        name = next(m.name for m in metadata.modalities if m.tokenizer == stem)
        with Bundle(path, generating=True) as bundle:
            ours = SignalDecoder(bundle.metadata.tokenizers[stem].config, bundle.weights(f"tok/{stem}/"))
        return ours, tokenizers[name]

    return load


def published(tokenizer, tokens):
    """Signals by the published package, without its warning about slow attention."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tokenizer.decode_tokens(tokens)[:, 0]


def tokens_of(decoder, n, batch=1, seed=0):
    c = decoder.config
    shape = (batch, n, c.num_quantizers)
    return torch.randint(c.codebook_size, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("stem", ["eeg-q3", "ecg-q2", "resp-q1"])
@pytest.mark.parametrize("options", TOKENIZERS.values(), ids=TOKENIZERS)
def test_signals_are_those_of_the_published_package(decoders, options, stem):
    ours, theirs = decoders(options, stem)
    tokens = tokens_of(ours, T, batch=2)
    expected = published(theirs, tokens)
    found = ours.decode(tokens)
    assert found.shape == expected.shape == (2, T * ours.config.hop)
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) <= 1e-5
    assert float(found.std()) > 0.1


@pytest.mark.parametrize("options", TOKENIZERS.values(), ids=TOKENIZERS)
def test_blocks_do_not_change_the_signal(decoders, options):
    ours, _ = decoders(options)
    tokens = tokens_of(ours, T)
    whole = ours.decode(tokens, block_tokens=T)
    for block in (1, 7, 64, T - 1):
        torch.testing.assert_close(ours.decode(tokens, block_tokens=block), whole, atol=5e-6, rtol=1e-5)


def test_a_sample_is_made_of_its_own_and_earlier_tokens(decoders):
    ours, _ = decoders({})
    tokens, hop = tokens_of(ours, T), ours.config.hop
    before = ours.decode(tokens)
    for t in (12, 63, 64, T - 1):
        changed = tokens.clone()
        changed[0, t] = (changed[0, t] + 1) % ours.config.codebook_size
        moved = (ours.decode(changed) - before)[0].abs() > 1e-5
        assert not moved[: t * hop].any()
        assert moved[t * hop : (t + 1) * hop].float().mean() > 0.5


def test_signals_of_a_batch_do_not_touch(decoders):
    ours, _ = decoders({})
    tokens = tokens_of(ours, 40, batch=3)
    together = ours.decode(tokens)
    for row in range(3):
        torch.testing.assert_close(ours.decode(tokens[row : row + 1])[0], together[row], atol=3e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({}, 7),
        ({"n_residual_layers": 3, "dilation_base": 4}, 9),
        ({"pad_mode": "constant"}, 1),
        ({"pad_mode": "replicate"}, 1),
    ],
    ids=["as-released", "dilated", "constant", "replicate"],
)
def test_shortest_signal_is_that_of_the_published_package(decoders, options, least):
    ours, theirs = decoders(options)
    assert shortest_tokens(ours.config) == least
    tokens = tokens_of(ours, least)
    # One block of one token would be too short to be mirrored.
    found = ours.decode(tokens, block_tokens=1)
    torch.testing.assert_close(found, published(theirs, tokens), atol=1e-5, rtol=1e-5)
    if least > 1:
        with pytest.raises(RuntimeError, match="[Pp]adding"):
            published(theirs, tokens[:, 1:])
        with pytest.raises(UsageError, match=f"{least - 1} tokens are too few to be decoded; .* needs {least}"):
            ours.decode(tokens[:, 1:])
