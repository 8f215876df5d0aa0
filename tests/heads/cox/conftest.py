"""Simulated cohorts with outcomes, and published tables read as they are."""

import csv

import numpy as np
import pytest
from scipy.io import arff

from hypnos_bench.heads.survival_rows import SurvivalRows


@pytest.fixture(scope="session")
def make_survival():
    def make(n=300, d=8, m=3, seed=0, per_person=1, days=False, signal=1.0, censored=0.6, excluded=0.0):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) / np.sqrt(d)
        x = x * 10.0 ** rng.uniform(-2, 2, d) + 10 * rng.standard_normal(d)
        z = (x - x.mean(axis=0)) / x.std(axis=0)
        eta = signal * z @ rng.standard_normal((d, m)) / np.sqrt(d)
        time = rng.exponential(size=(n, m)) * np.exp(-eta)
        limit = np.quantile(time, 1 - censored, axis=0) * rng.uniform(0.5, 1.5, (n, m))
        event = time <= limit
        time = np.minimum(time, limit) + 1e-3
        if days:  # coarse times: many ties
            time = np.ceil(time * 20 / time.max()) / 20
        at_risk = rng.random((n, m)) >= excluded
        names = tuple(f"outcome-{i}" for i in range(m))
        return SurvivalRows(x.astype(np.float32), time, event, at_risk, names, np.arange(n) // per_person)

    return make


@pytest.fixture(scope="session")
def table(shared_data):
    """Columns of a published data set, by name: numbers as float, words as str."""

    def read(name):
        path = shared_data / "survival" / name
        if not path.is_file():
            pytest.skip(f"published survival data are not here: ../shared/data/survival/{name} is missing")
        if path.suffix == ".arff":
            records, _ = arff.loadarff(path)
            columns = {key: records[key] for key in records.dtype.names}
            return {k: np.char.decode(v, "utf-8") if v.dtype.kind == "S" else v for k, v in columns.items()}
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        return {key: np.array([float(row[key] or "nan") for row in rows]) for key in rows[0]}

    return read
