"""The tokenizers alone: code vectors, histograms, weights and gaps. Weights are small and random."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.codes import code_groups, code_vectors, shares
from hypnos_bench.encoders.hypnos import HypnosUntrained
from hypnos_bench.encoders.tokens import HypnosTokens
from hypnos_bench.errors import DataError, RecordingError, UsageError
from hypnos_bench.hypnos.infer import load_model, tokenize
from hypnos_bench.spec import digest
from hypnos_bench.store.embeddings import embedding_problem

ORDER = ["eeg_c3", "eeg_c4", "eog_e1", "eog_e2", "emg_chin", "ecg", "resp_abd", "resp_thx"]


@pytest.fixture(scope="module")
def bundle(untrained_cache):
    _ = HypnosUntrained(EncoderOptions(cache=untrained_cache, device="cpu")).card
    return next((untrained_cache / "weights").glob("hypnos-untrained*.safetensors"))


@pytest.fixture
def make(bundle):
    def encoder(per_modality=False, **chosen):
        return HypnosTokens(
            EncoderOptions(
                weights={"hypnos-tokens": str(bundle)},
                settings={"hypnos-tokens": chosen},
                per_modality=per_modality,
                device="cpu",
            )
        )

    return encoder


@pytest.fixture(scope="module")
def expected(bundle, psg, memory_recording):
    """Codes of a minute by the core itself, and the codebooks as the loaded tokenizers hold them."""
    recording = memory_recording(psg(2), 60)
    prepared = HypnosTokens(EncoderOptions(weights={"hypnos": str(bundle)}, device="cpu")).prepare(recording)
    _, tokenizers, metadata = load_model(bundle)
    tokens = tokenize(tokenizers, metadata, prepared.arrays)[0][0]
    codes = {m.name: tokens[:, at] for m, at in zip(metadata.modalities, metadata.columns, strict=True)}
    books = {name: [book.detach() for book in tokenizers[name].codebooks] for name in codes}
    return recording, prepared, tokenizers, codes, books


def test_a_row_is_the_sum_of_the_code_vectors_of_its_second(make, expected):
    recording, _, _, codes, books = expected
    each = make(per_modality=True).encode(recording)
    assert list(each.arrays) == ORDER
    for name, rows in each.arrays.items():
        exact = sum(torch.nn.functional.embedding(codes[name][:, k], book) for k, book in enumerate(books[name]))
        np.testing.assert_allclose(rows, exact.numpy(), rtol=2**-10, atol=1e-4)
    mean = make().encode(recording)
    wide = make(join="concat").encode(recording)
    np.testing.assert_allclose(
        mean.arrays["mean"], np.mean([r.astype(float) for r in each.arrays.values()], axis=0), atol=1e-3
    )
    np.testing.assert_array_equal(wide.arrays["concat"], np.concatenate(list(each.arrays.values()), axis=1))
    assert (mean.start_s, mean.step_s, len(mean.arrays["mean"])) == (0.0, 1.0, 60)


def test_the_sum_is_close_to_what_was_quantised(expected):
    """Residual quantisation: every level brings the sum nearer to the latent vector that it stands for."""
    _, prepared, tokenizers, codes, books = expected
    signal = torch.from_numpy(prepared.arrays["ecg"])[None, None]
    latent = torch.cat(list(tokenizers["ecg"].latents(signal)), 1)[0].numpy()
    plain = [book.numpy() for book in books["ecg"]]
    rest = [
        np.square(latent - code_vectors(plain[:k], codes["ecg"][:, :k].numpy())).mean()
        for k in range(1, len(plain) + 1)
    ]
    assert (np.diff([np.square(latent).mean(), *rest]) < 0).all()


def test_histograms_count_groups_of_first_codes(make, expected):
    recording, _, _, codes, books = expected
    out = make(kind="histogram", bins="16").encode(recording)
    each = make(kind="histogram", bins="16", per_modality=True).encode(recording)
    assert out.arrays["histogram"].shape == (2, 8 * 16)
    assert (out.start_s, out.step_s) == (0.0, 30.0)
    for k, (name, rows) in enumerate(each.arrays.items()):
        groups = code_groups(books[name][0].numpy(), 16)[codes[name][:, 0].numpy()]
        for epoch in range(2):
            counts, _ = np.histogram(groups[30 * epoch : 30 * epoch + 30], np.arange(17))
            np.testing.assert_allclose(rows[epoch], counts / 30, rtol=1e-6)
        np.testing.assert_array_equal(out.arrays["histogram"][:, 16 * k : 16 * k + 16], rows)
    np.testing.assert_allclose(out.arrays["histogram"].sum(axis=1), 8, rtol=1e-5)


@pytest.mark.parametrize(
    "chosen",
    [{}, {"join": "concat"}, {"kind": "histogram"}, {"per_modality": True}, {"kind": "histogram", "bins": "256"}],
)
def test_the_card_says_what_comes_out(make, expected, chosen):
    encoder = make(**chosen)
    out = encoder.encode(expected[0])
    assert embedding_problem(out, encoder.card) is None
    assert {rows.shape[1] for rows in out.arrays.values()} == {encoder.card.dim}
    assert encoder.card.step_s == out.step_s
    assert (encoder.card.id, encoder.card.lag_rows, encoder.card.marks) == ("hypnos-tokens", 0, ("untrained",))
    assert encoder.card.pretrained_on == ()  # random weights saw nobody


def test_rows_do_not_trail_their_signal(make, psg, memory_recording):
    """A change within second 70 is first seen in row 70, beyond the minute that sets the running z-score's start."""
    rate, unit, x = psg(3)["ECG"]
    changed = x.copy()
    changed[int(70.5 * rate) :] *= -1
    a, b = (
        make().encode(memory_recording({"ECG": (rate, unit, values)}, 90)).arrays["mean"] for values in (x, changed)
    )
    assert int(np.flatnonzero((a != b).any(axis=1))[0]) == 70
    a, b = (
        make(kind="histogram").encode(memory_recording({"ECG": (rate, unit, v)}, 90)).arrays["histogram"]
        for v in (x, changed)
    )
    assert np.flatnonzero((a != b).any(axis=1)).tolist() == [2]


def test_missing_channels(make, psg, memory_recording):
    signals = {name: psg(2)[name] for name in ("C3", "THX")}
    recording = memory_recording(signals, 60)
    each = make(per_modality=True).encode(recording)
    assert list(each.arrays) == list(each.channels) == ["eeg_c3", "resp_thx"]
    assert each.skipped["ECG"] == "absent"
    wide = make(join="concat").encode(recording).arrays["concat"].reshape(60, 8, -1)
    assert (wide[:, 1:7] == 0).all()
    np.testing.assert_array_equal(wide[:, 0], each.arrays["eeg_c3"])
    counts = make(kind="histogram").encode(recording).arrays["histogram"].reshape(2, 8, -1)
    np.testing.assert_allclose(counts.sum(axis=2), [[1, 0, 0, 0, 0, 0, 0, 1]] * 2, rtol=1e-5)
    with pytest.raises(RecordingError, match=r"no usable channel \(C3: C3: constant"):
        make().encode(memory_recording({"C3": (100.0, "uV", np.zeros(3000))}, 30))


def with_gap(signals, first_s, stop_s, channels):
    out = dict(signals)
    for channel in channels:
        rate, unit, x = signals[channel]
        x = x.copy()
        x[int(first_s * rate) : int(stop_s * rate)] = np.nan
        out[channel] = (rate, unit, x)
    return out


def test_gaps(make, psg, memory_recording):
    signals = {name: psg(4)[name] for name in ("C3", "ECG")}
    holed = memory_recording(with_gap(signals, 40, 50, signals), 120)
    rows = make().encode(holed).arrays["mean"]
    assert np.flatnonzero(np.isnan(rows).all(axis=1)).tolist() == list(range(40, 50))
    assert np.isfinite(np.delete(rows, np.arange(40, 50), axis=0)).all()
    counts = make(kind="histogram").encode(holed).arrays["histogram"]
    assert np.flatnonzero(np.isnan(counts).any(axis=1)).tolist() == [1]  # a third of it is missing
    np.testing.assert_allclose(counts[[0, 2, 3]].sum(axis=1), 2, rtol=1e-5)


def test_a_gap_of_one_channel_costs_only_its_own_histogram(make, psg, memory_recording):
    signals = {name: psg(8)[name] for name in ("C3", "ECG")}
    holed = memory_recording(with_gap(signals, 40, 50, ["ECG"]), 240)
    sides = make(kind="histogram").encode(holed).arrays["histogram"].reshape(8, 8, -1).sum(axis=2)
    np.testing.assert_allclose(sides[:, 0], 1, rtol=1e-5)
    np.testing.assert_allclose(sides[:, 5], [1, 0, 1, 1, 1, 1, 1, 1], rtol=1e-5)


def test_a_recording_below_an_epoch_has_no_histogram(make, psg, memory_recording):
    recording = memory_recording(psg(1), 29.0)
    short = dataclasses.replace(
        recording, signals=dataclasses.replace(recording.signals, signals={
            name: (rate, unit, x[: int(29 * rate)]) for name, (rate, unit, x) in recording.signals.signals.items()
        })
    )  # fmt: skip
    assert len(make().encode(short).arrays["mean"]) == 29
    with pytest.raises(RecordingError, match="shorter than one epoch"):
        make(kind="histogram").encode(short)


def test_together_as_alone(make, psg, memory_recording):
    encoder = make()
    one, two = memory_recording(psg(2), 60, "a"), memory_recording(psg(1, seed=1), 30, "b")
    lost = dataclasses.replace(encoder.prepare(two), recording="lost", arrays={"ecg": np.full(9, np.nan, np.float32)})
    found = encoder.encode_prepared([encoder.prepare(one), lost, encoder.prepare(two)])
    assert isinstance(found[1], RecordingError)
    for outcome, recording in ((found[0], one), (found[2], two)):
        alone = encoder.encode(recording)
        assert (outcome.channels, outcome.skipped) == (alone.channels, alone.skipped)
        np.testing.assert_array_equal(outcome.arrays["mean"], alone.arrays["mean"])
    assert encoder.batch_size() == 1


def test_no_transformer_is_read(make, expected, monkeypatch):
    for name in ("hypnos_bench.hypnos.infer.load_model", "hypnos_bench.hypnos.infer.RQTransformer"):
        monkeypatch.setattr(name, lambda *args, **kwargs: pytest.fail("the transformer was built"))
    assert make().encode(expected[0]).arrays["mean"].shape == (60, 16)


def test_weights_are_its_own_then_those_of_hypnos_then_the_released_ones(bundle, tmp_path, monkeypatch):
    def card(**weights):
        return HypnosTokens(EncoderOptions(weights=weights, device="cpu")).card

    own = card(**{"hypnos-tokens": str(bundle), "hypnos": str(tmp_path / "none")})
    assert own == card(hypnos=str(bundle))
    asked = []

    def resolve(path_or_repo):
        asked.append(path_or_repo)
        raise DataError("the Hub cannot be reached")

    monkeypatch.setattr("hypnos_bench.hypnos.bundle.resolve_bundle", resolve)
    with pytest.raises(DataError, match=r"Hypnos weights are missing: the Hub cannot be reached \(hf download"):
        card()
    assert asked == ["joncarter/hypnos"]


def test_untrained_weights_on_request(untrained_cache, bundle, expected, make):
    options = EncoderOptions(cache=untrained_cache, device="cpu", settings={"hypnos-tokens": {"weights": "untrained"}})
    encoder = HypnosTokens(options)
    assert encoder.card == make().card
    assert encoder.card.marks == ("untrained",)
    np.testing.assert_array_equal(encoder.encode(expected[0]).arrays["mean"], make().encode(expected[0]).arrays["mean"])


def test_every_setting_that_changes_numbers_changes_the_definition(make, bundle):
    variants = [{}, {"join": "concat"}, {"kind": "histogram"}, {"kind": "histogram", "bins": "16"}]
    cards = [make(**v).card for v in variants] + [make(per_modality=True).card]
    zero_phase = EncoderOptions(weights={"hypnos": str(bundle)}, zero_phase=True, device="cpu")
    cards.append(HypnosTokens(zero_phase).card)
    assert not cards[-1].causal
    assert cards[0].causal
    assert cards[0].note.startswith("Causal after the first minute, whose signal sets the start values")
    assert len({digest(card.definition()) for card in cards}) == len(cards)
    other = EncoderOptions(weights={"hypnos": str(bundle)}, precision="bf16", chunk_tokens=9, device="cpu")
    assert HypnosTokens(other).card == cards[0]  # tokenizers are float32 always, and know no chunks


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"kind": "histograms"}, "use one of embedding, histogram"),
        ({"bin": "64"}, "Did you mean 'bins'"),
        ({"kind": "histogram", "join": "concat"}, "histograms always are"),
        ({"per_modality": True, "join": "concat"}, "an array per modality was asked for"),
    ],
)
def test_settings_that_make_no_sense(make, chosen, told):
    with pytest.raises(UsageError, match=told):
        make(**chosen)


# --- functions


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.sampled_from([1, 2, 8, 16]), st.integers(16, 60))
def test_groups_are_even_and_do_not_depend_on_scale(seed, n_groups, n_codes):
    book = np.random.default_rng(seed).normal(size=(n_codes, 5)).astype(np.float32)
    groups = code_groups(book, n_groups)
    sizes = np.bincount(groups, minlength=n_groups)
    assert sizes.sum() == n_codes
    assert sizes.min() >= n_codes // n_groups
    assert sizes.max() <= -(-n_codes // n_groups)
    np.testing.assert_array_equal(code_groups(4 * book, n_groups), groups)
    order = np.random.default_rng(seed + 1).permutation(n_codes)
    np.testing.assert_array_equal(code_groups(book[order], n_groups), groups[order])  # names of codes do not matter


def test_like_codes_share_a_group():
    centres = 100 * np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
    book = np.repeat(centres, 4, axis=0) + np.random.default_rng(0).normal(size=(16, 2))
    groups = code_groups(book.astype(np.float32), 4)
    assert all(len(set(groups[4 * k : 4 * k + 4])) == 1 for k in range(4))
    assert len(set(groups)) == 4


def test_shares_of_incomplete_epochs():
    groups = np.array([0, 1, 1, 3, -1, 0, 0, 0, 0, 0, -1, -1, 2, 2, 2, 2, 2, 2, 2, 2, 1], np.int64)
    out = shares(groups, 10, 4)
    assert out.shape == (2, 4)  # the last token is no epoch
    np.testing.assert_allclose(out[0], np.array([6, 2, 0, 1]) / 9, rtol=1e-6)
    assert np.isnan(out[1]).all()  # two of ten are missing
