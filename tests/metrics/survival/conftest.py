"""Published survival data, and simulated follow-up."""

from types import SimpleNamespace

import numpy as np
import pytest


def _arff(path, names):
    lines = [line.strip() for line in path.read_text().splitlines()]
    rows = [line.split(",") for line in lines if line and line[0] not in "%@"]
    return {name: [row[k].strip("'") for row in rows] for k, name in enumerate(names)}


def _numbers(table, names):
    return [np.array(table[name], dtype=float) for name in names]


def _is(table, name, *levels):
    return [np.array([value == level for value in table[name]], dtype=float) for level in levels]


def _veteran(folder):
    table = _arff(
        folder / "sksurv_veteran.arff", ["trt", "cell", "time", "status", "karnofsky", "months", "age", "prior"]
    )
    x = [*_numbers(table, ["karnofsky", "months", "age"]), *_is(table, "trt", "test")]
    x += [*_is(table, "cell", "large", "smallcell", "squamous"), *_is(table, "prior", "yes")]
    return x, _numbers(table, ["time"])[0], _is(table, "status", "dead")[0]


def _whas500(folder):
    names = [
        "age",
        "gender",
        "hr",
        "sysbp",
        "diasbp",
        "bmi",
        "cvd",
        "afb",
        "sho",
        "chf",
        "av3",
        "miord",
        "mitype",
        "los",
    ]
    table = _arff(folder / "sksurv_whas500.arff", [*names, "lenfol", "fstat"])
    return _numbers(table, names), *_numbers(table, ["lenfol", "fstat"])


def _gbsg2(folder):
    names = ["horTh", "age", "menostat", "tsize", "tgrade", "pnodes", "progrec", "estrec", "time", "cens"]
    table = _arff(folder / "sksurv_GBSG2.arff", names)
    x = [*_is(table, "horTh", "yes"), *_numbers(table, ["age"]), *_is(table, "menostat", "Pre")]
    x += [*_numbers(table, ["tsize"]), *_is(table, "tgrade", "II", "III")]
    return [*x, *_numbers(table, ["pnodes", "progrec", "estrec"])], *_numbers(table, ["time", "cens"])


def _rossi(folder):
    table = np.loadtxt(folder / "lifelines_rossi.csv", delimiter=",", skiprows=1)
    return table[:, 2:].T, table[:, 0], table[:, 1]


_READERS = {"veteran": _veteran, "whas500": _whas500, "GBSG2": _gbsg2, "rossi": _rossi}


@pytest.fixture
def published(shared_data):
    """Covariates, times and events of a published data set, by name."""

    def read(name):
        columns, time, event = _READERS[name](shared_data / "survival")
        return SimpleNamespace(x=np.column_stack(list(columns)), time=time, event=event.astype(bool))

    return read


@pytest.fixture
def simulate():
    """People whose log hazard is known; `ties` rounds times and risks so that many are equal."""

    def make(n, seed=0, ties=False, rate=0.1, years=12.0):
        rng = np.random.default_rng(seed)
        true = rng.normal(size=n)
        onset, end = rng.exponential(1 / (rate * np.exp(true))), rng.uniform(0, years, n)
        time, event = np.minimum(onset, end), onset <= end
        risk = true + rng.normal(scale=0.7, size=n)
        if ties:
            time, risk = np.ceil(time), np.round(risk)
        return SimpleNamespace(time=time, event=event, risk=risk, true=true, rate=rate, rng=rng)

    return make
