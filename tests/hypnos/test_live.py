"""The live rows are the offline rows of continuous context, and they come in time."""

import numpy as np
import pytest
import torch

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.hypnos import StreamingEmbedder
from hypnos_bench.hypnos.infer import frames, load_model, tokenize
from hypnos_bench.hypnos.preprocess import filter_sections, preprocess_channels
from hypnos_bench.hypnos.random_bundle import SMALL_CONFIG
from hypnos_bench.signals.base import Signal
from hypnos_bench.signals.filters import forward
from hypnos_bench.signals.resample import resample

TAU_S = 5.0
MANY = {"C3": 128.0, "C4": 256.0, "Chin": 97.3, "ECG": 100.0, "ABD": 20.0, "THX": 256.0}


@pytest.fixture(scope="module")
def loaded(bundle_file):
    return load_model(bundle_file(SMALL_CONFIG))


def recorded(rates, seconds, seed=0):
    """Offset, drift, rhythm, noise and an artefact per channel."""
    signals = {}
    for i, (channel, rate_hz) in enumerate(rates.items()):
        rng, n = np.random.default_rng([seed, i]), round(rate_hz * seconds)
        t = np.arange(n) / rate_hz
        x = 100 + 40 * np.sin(2 * np.pi * 0.3 * t) + 20 * np.sin(2 * np.pi * 3 * t) * np.sin(t / 4)
        x += rng.standard_normal(n) * 8 + 0.05 * np.cumsum(rng.standard_normal(n))
        x[n // 2 : n // 2 + 3] += 2000
        signals[channel] = x
    return signals


def offline(loaded, signals, rates, tau_s=TAU_S):
    """Tokens and float32 rows per modality."""
    metadata = loaded[2]
    raw = {name: Signal(values, rates[name], "uV", name) for name, values in signals.items()}
    return embedded(loaded, preprocess_channels(raw, metadata, tau_seconds=tau_s))


def embedded(loaded, ready):
    model, tokenizers, metadata = loaded
    tokens, mask, ids = tokenize(tokenizers, metadata, ready, count="ceil")
    rows = torch.cat([block for _, block in frames(model, tokens, mask, ids, context="continuous")], 1)
    return tokens[0], dict(zip(ready, rows.numpy(), strict=True))


class Listener:
    """An embedder whose rows are collected, with the tokens that its temporal model was given."""

    def __init__(self, loaded, rates, **options):
        self.embedder = StreamingEmbedder(*loaded, rates, **options)
        self.parts, self.tokens, self.gaps = [], [], {}
        advance = self.embedder._stream.advance

        def listened(tokens):
            self.tokens.append(tokens[0])
            return advance(tokens)

        self.embedder._stream.advance = listened

    def take(self, new):
        assert new.first_second == self.n_rows
        assert len({rows.shape for rows in new.rows.values()}) == 1
        assert all(rows.dtype == np.float32 for rows in new.rows.values())
        self.parts.append(new.rows)
        for channel, seconds in new.gaps.items():
            self.gaps.setdefault(channel, set()).update(seconds)
        return len(new)

    def push(self, samples):
        return self.take(self.embedder.push(samples))

    def finish(self):
        return self.take(self.embedder.finish())

    @property
    def n_rows(self):
        return sum(len(next(iter(part.values()))) for part in self.parts)

    def assert_equals(self, expected):
        tokens, rows = expected
        assert self.n_rows == len(tokens)
        # First the tokens: a code that flipped at a near tie would make the rows differ for many seconds.
        np.testing.assert_array_equal(torch.cat(self.tokens).numpy(), tokens[:-1].numpy())
        assert list(self.parts[0]) == list(rows)
        for name, values in rows.items():
            found = np.concatenate([part[name] for part in self.parts])
            np.testing.assert_allclose(found, values, atol=1e-5, rtol=1e-5, err_msg=name)


def second(signals, rates, t):
    return {name: values[int(t * rates[name]) : int((t + 1) * rates[name])] for name, values in signals.items()}


@pytest.mark.parametrize("seed", range(3))
def test_rows_equal_the_offline_ones_however_channels_are_cut(loaded, seed):
    signals, rng = recorded(MANY, 23.37), np.random.default_rng(seed)
    live, at = Listener(loaded, MANY, tau_seconds=TAU_S), dict.fromkeys(MANY, 0)
    while any(at[name] < len(values) for name, values in signals.items()):
        sent = {}
        for name in rng.permutation(list(MANY))[: rng.integers(1, len(MANY) + 1)]:
            n = int(rng.choice([0, 1, 0.3 * MANY[name], MANY[name], 5 * MANY[name]]))
            sent[name] = signals[name][at[name] : at[name] + n]
            at[name] += n
        live.push(sent)
    live.finish()
    live.assert_equals(offline(loaded, signals, MANY))


@pytest.mark.parametrize("rates", [{"C4": 512.0}, {"THX": 10.0, "ECG": 256.0}, {"E2": 100.0, "E1": 200.0}], ids=str)
def test_any_channels_at_any_rate_by_the_second(loaded, rates):
    seconds = 15
    signals, live = recorded(rates, seconds), Listener(loaded, rates, tau_seconds=TAU_S)
    for t in range(seconds):
        live.push(second(signals, rates, t))
    live.finish()
    live.assert_equals(offline(loaded, signals, rates))


@pytest.mark.parametrize("extra", [-1, 0, 1, 63])
def test_the_end_counts_seconds_as_offline(loaded, extra):
    signals = {"C3": recorded({"C3": 128.0}, 12)["C3"][: 11 * 128 + extra]}
    live = Listener(loaded, {"C3": 128.0}, tau_seconds=TAU_S)
    live.push(signals)
    live.finish()
    live.assert_equals(offline(loaded, signals, {"C3": 128.0}))


def test_the_shortest_channel_ends_the_rows(loaded):
    rates = {"C3": 128.0, "C4": 128.0, "ABD": 32.0}
    signals = recorded(rates, 16)
    signals["C4"] = signals["C4"][: 13 * 128 + 5]
    live = Listener(loaded, rates, tau_seconds=TAU_S)
    live.push(signals)
    live.finish()
    live.assert_equals(offline(loaded, signals, rates))
    assert live.n_rows == 14


@pytest.mark.parametrize("rates", [{"C3": 128.0}, {"C3": 256.0, "ECG": 512.0}, {"C3": 100.0, "THX": 25.0}], ids=str)
def test_the_row_of_a_second_comes_with_that_second(loaded, rates):
    signals, live = recorded(rates, 16), Listener(loaded, rates, tau_seconds=TAU_S)
    came = [live.push(second(signals, rates, t)) for t in range(16)]
    assert came == [0] * 6 + [7] + [1] * 9  # the start is mirrored, by six seconds at the last convolution


def test_a_channel_of_ten_hertz_is_a_second_late(loaded):
    rates = {"C3": 128.0, "ABD": 10.0}
    signals, live = recorded(rates, 16), Listener(loaded, rates, tau_seconds=TAU_S)
    for t in range(16):
        live.push(second(signals, rates, t))
    assert live.n_rows == 15


def test_a_late_channel_holds_the_others_back(loaded):
    rates = {"C3": 128.0, "C4": 128.0, "ECG": 128.0}
    signals, live = recorded(rates, 20), Listener(loaded, rates, tau_seconds=TAU_S)
    for t in range(20):
        live.push({name: part for name, part in second(signals, rates, t).items() if name == "C3" or t < 12})
    assert live.n_rows == 12
    assert live.push({"C4": signals["C4"][12 * 128 :]}) == 0
    assert live.push({"ECG": signals["ECG"][12 * 128 :]}) == 8


def test_the_first_minute_comes_together(loaded):
    rates = {"ABD": 32.0}
    signals, live = recorded(rates, 63), Listener(loaded, rates)
    came = [live.push(second(signals, rates, t)) for t in range(63)]
    assert came == [0] * 59 + [60, 1, 1, 1]
    live.finish()
    live.assert_equals(offline(loaded, signals, rates, 60.0))


def test_start_values_spare_the_wait(loaded):
    """Given those that offline takes from the first minute, the rows are the same and come early."""
    rates = {"C3": 128.0, "THX": 64.0}
    signals = recorded(rates, 64)
    starts = {}
    for m in loaded[2].modalities:
        if m.channels[0] in rates:
            filtered = resample(signals[m.channels[0]], rates[m.channels[0]], m.sample_rate).astype(np.float64)
            for sos in filter_sections(m, 50.0):
                filtered = forward(sos, filtered)
            minute = filtered[: 60 * m.sample_rate]
            starts[m.channels[0]] = (minute.mean(), minute.var())
    live = Listener(loaded, rates, start_values=starts)
    came = [live.push(second(signals, rates, t)) for t in range(64)]
    assert came == [0] * 6 + [7] + [1] * 57
    live.finish()
    live.assert_equals(offline(loaded, signals, rates, 60.0))


def test_start_values_of_one_stream_fit_the_next(loaded):
    rates = {"C3": 128.0, "ABD": 32.0}
    signals = recorded(rates, 30)
    first = StreamingEmbedder(*loaded, rates, tau_seconds=TAU_S)
    first.push({name: values[: int(4 * rates[name])] for name, values in signals.items()})
    with pytest.raises(UsageError, match="'C3' has no start values: its first minute is not over yet"):
        first.start_values()
    first.push({name: values[int(4 * rates[name]) :] for name, values in signals.items()})
    starts = first.start_values()
    band = np.var(signals["C3"][-5 * 128 :])
    assert 0 < starts["C3"][1] < 3 * band
    again = StreamingEmbedder(*loaded, rates, tau_seconds=TAU_S, start_values=starts)
    for name, moments in again.start_values().items():
        assert moments == pytest.approx(starts[name])
    assert len(again.push({name: values[: int(10 * rates[name])] for name, values in signals.items()})) == 10


def test_gaps_are_held_and_reported(loaded):
    rates = {"C3": 128.0, "ECG": 200.0}
    clean = recorded(rates, 20)
    broken = {name: values.copy() for name, values in clean.items()}
    broken["C3"][:5] = np.nan  # before anything finite came
    broken["C3"][9 * 128 - 3 : 11 * 128 + 1] = [np.nan, np.inf, -np.inf] + [np.nan] * 257
    broken["ECG"][12 * 200 : 13 * 200] = np.nan
    broken["ECG"][19 * 200 + 7] = 1e39  # infinite as float32
    repaired = {name: values.copy() for name, values in clean.items()}
    repaired["C3"][:5] = 0
    repaired["C3"][9 * 128 - 3 : 11 * 128 + 1] = clean["C3"][9 * 128 - 4]
    repaired["ECG"][12 * 200 : 13 * 200] = clean["ECG"][12 * 200 - 1]
    repaired["ECG"][19 * 200 + 7] = clean["ECG"][19 * 200 + 6]
    live = Listener(loaded, rates, tau_seconds=TAU_S)
    for t in range(20):
        live.push(second(broken, rates, t))
        assert set(live.gaps.get("ECG", ())) <= {t} | {12}
    live.finish()
    assert live.gaps == {"C3": {0, 8, 9, 10, 11}, "ECG": {12, 19}}
    live.assert_equals(offline(loaded, repaired, rates))


def test_preprocessed_signals_of_several_tokenizers(tiny_bundle, make_signals):
    loaded = load_model(tiny_bundle)
    signals = make_signals(loaded[2], 50.6)
    channel = {m.name: m.channels[0] for m in loaded[2].modalities}
    rates = {m.channels[0]: m.sample_rate for m in loaded[2].modalities}
    live = Listener(loaded, rates, preprocessed=True)
    came = [live.push(second({channel[n]: x for n, x in signals.items()}, rates, t)) for t in range(51)]
    assert came[10:] == [1] * 41
    live.finish()
    live.assert_equals(embedded(loaded, signals))
    with pytest.raises(UsageError, match="'C3' has no start values: the signals came preprocessed"):
        live.embedder.start_values()


def test_preprocessed_gaps_are_held_too(tiny_bundle, make_signals):
    loaded = load_model(tiny_bundle)
    signals = {"eeg_c4": make_signals(loaded[2], 30)["eeg_c4"]}
    broken = signals["eeg_c4"].copy()
    broken[200:230] = np.nan
    signals["eeg_c4"][200:230] = broken[199]
    live = Listener(loaded, {"C4": 16}, preprocessed=True)
    live.push({"C4": broken})
    live.finish()
    assert live.gaps == {"C4": {12, 13, 14}}
    live.assert_equals(embedded(loaded, signals))


def test_signals_that_are_not_preprocessed_are_found_out(tiny_bundle):
    live = StreamingEmbedder(*load_model(tiny_bundle), {"C4": 16}, preprocessed=True)
    with pytest.raises(DataError, match="C4: samples too large to be computed with"):
        live.push({"C4": np.full(400, 3e38)})


def held_bytes(thing, seen):
    """Bytes of the arrays and tensors in the state of an object; models do not count."""
    if id(thing) in seen or isinstance(thing, torch.nn.Module):
        return 0
    seen.add(id(thing))
    if isinstance(thing, torch.Tensor):
        return thing.untyped_storage().nbytes()
    if isinstance(thing, np.ndarray):
        return thing.nbytes if thing.base is None else thing.base.nbytes
    inside = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list | tuple) else ()
    inside = [*inside, *getattr(thing, "__dict__", {}).values()]
    return sum(held_bytes(one, seen) for one in inside)


def test_memory_does_not_grow(loaded):
    rates = {"C3": 200.0, "ABD": 25.0}
    signals, live = recorded(rates, 90), StreamingEmbedder(*loaded, rates, tau_seconds=TAU_S)
    held = []
    for t in range(90):
        live.push(second(signals, rates, t))
        held.append(held_bytes(live, set()))
    assert max(held[60:]) <= max(held[45:60])
    assert min(held) > 1000


def test_a_stream_ends_once(loaded):
    live = StreamingEmbedder(*loaded, {"C3": 128.0}, tau_seconds=TAU_S)
    live.push({"C3": recorded({"C3": 128.0}, 10)["C3"]})
    live.finish()
    for call in (live.finish, lambda: live.push({})):
        with pytest.raises(UsageError, match="this stream is finished"):
            call()


def test_too_short_a_signal(loaded):
    live = StreamingEmbedder(*loaded, {"C3": 128.0, "ABD": 32.0}, tau_seconds=TAU_S)
    assert len(live.push({"C3": np.ones(300)})) == 0
    with pytest.raises(DataError, match="channel 'ABD' was announced, but no sample of it was sent"):
        live.finish()
    live.push({"ABD": np.ones(75)})
    with pytest.raises(DataError, match=r"channel C3: a signal of 2.34375 s is too short"):
        live.finish()


@pytest.mark.parametrize(
    ("rates", "options", "message"),
    [
        ({}, {}, "no channel was announced; the model knows C3, C4"),
        ({"EKG": 128.0}, {}, "the model knows no channel 'EKG', only C3, .*Did you mean 'ECG'"),
        ({"C3": 0.5}, {}, "'C3': rate must be a number, at least 1 Hz, not 0.5"),
        ({"C3": np.nan}, {}, "rate must be a number, at least 1 Hz"),
        ({"C3": "256"}, {}, "'C3': rate must be a number, at least 1 Hz, not '256'"),
        ({"C3": None}, {}, "rate must be a number, at least 1 Hz, not None"),
        (["C3"], {}, "rates_hz must map channels to rates in Hz, not be a list"),
        ({"C3": 128.0}, {"notch_freq": None}, "notch_freq must be a frequency in Hz, not None"),
        ({"C3": 128.0}, {"tau_seconds": "60"}, "tau_seconds must be a positive number, not '60'"),
        ({"C3": 128.0}, {"start_values": [(0, 1)]}, "start_values must map channels to .*, not be a list"),
        ({"C3": 128.0}, {"start_values": {"C3": 3}}, "must be a mean and a positive variance, not 3"),
        ({"C3": 128.0}, {"start_values": {"C3": (0, 1, 2)}}, "must be a mean and a positive variance"),
        ({"C3": 128.0}, {"start_values": {"C3": "12"}}, "must be a mean and a positive variance, not '12'"),
        ({"C3": 128.0}, {"tau_seconds": 0.0}, "tau_seconds must be a positive number"),
        ({"C3": 128.0}, {"start_values": {"C4": (0, 1)}}, "start_values are given for C4; needed for exactly C3"),
        ({"C3": 128.0}, {"start_values": {"C3": (0, 0)}}, "must be a mean and a positive variance"),
        ({"C3": 128.0}, {"start_values": {"C3": (0, 1)}, "preprocessed": True}, "are for raw signals"),
        ({"C3": 256.0}, {"preprocessed": True}, "preprocessed signals are at 128 Hz, not 256 Hz"),
    ],
)
def test_what_cannot_be_streamed(loaded, rates, options, message):
    with pytest.raises(UsageError, match=message) as error:
        StreamingEmbedder(*loaded, rates, **options)
    assert "\n" not in str(error.value)


def test_an_impossible_notch(loaded):
    with pytest.raises(DataError, match="do not fit its 128 Hz"):
        StreamingEmbedder(*loaded, {"C3": 256.0}, notch_freq=70.0)


@pytest.mark.parametrize(
    "samples", [None, np.ones(3), [("C3", np.ones(3))]], ids=lambda samples: type(samples).__name__
)
def test_samples_without_channels(loaded, samples):
    live = StreamingEmbedder(*loaded, {"C3": 128.0})
    with pytest.raises(UsageError, match="samples must map channels to their new samples, not be a"):
        live.push(samples)


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ({"C4": np.ones(3)}, UsageError, "channel 'C4' was not announced; this stream has C3, ABD"),
        ({"C3": np.ones((1, 3))}, UsageError, r"must be one row of real numbers, not float64 \(1, 3\)"),
        ({"C3": ["a"]}, UsageError, "must be one row of real numbers, not <U1"),
        ({"C3": np.ones(3, complex)}, UsageError, "not complex128"),
        ({"C3": [[1, 2], [3]]}, UsageError, "'C3' must be one row of real numbers .*inhomogeneous"),
        ({"C3": torch.ones(3, dtype=torch.bfloat16)}, UsageError, "'C3' must be one row of real numbers .*BFloat16"),
        ({"C3": torch.ones(3, dtype=torch.cfloat).conj()}, UsageError, "one row of real numbers .*conjugate"),
        ({"C3": None}, UsageError, "must be one row of real numbers, not object"),
        ({"ABD": np.ones(301 * 32)}, DataError, "'ABD' would be 301 s ahead of 'C3', at most 300 s are kept"),
    ],
)
def test_a_refused_push_changes_nothing(loaded, samples, error, message):
    rates = {"C3": 128.0, "ABD": 32.0}
    signals, live = recorded(rates, 10), Listener(loaded, rates, tau_seconds=TAU_S)
    live.push(second(signals, rates, 0))
    with pytest.raises(error, match=message):
        live.push({"ABD": signals["ABD"][32:64], **samples})
    live.push({name: values[int(rates[name]) :] for name, values in signals.items()})
    live.finish()
    live.assert_equals(offline(loaded, signals, rates))
