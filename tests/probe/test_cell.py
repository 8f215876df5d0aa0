"""The life of a cell: nobody on two sides, leaky splits that say so, families in inner folds, imputation by training rows."""

from dataclasses import replace

import numpy as np
import pytest

from hypnos_bench.cohorts.base import CohortCard
from hypnos_bench.encoders.base import EncoderCard
from hypnos_bench.errors import IntegrityError
from hypnos_bench.exposure import Exposure
from hypnos_bench.heads.registry import default_settings
from hypnos_bench.heads.rows import ArrayRows
from hypnos_bench.probe import Probe, ProbeData, Targets, division, run_cell
from hypnos_bench.probe.cell import _families
from hypnos_bench.probe.design import design
from hypnos_bench.probe.parallel import run_cells
from hypnos_bench.spec import CellSpec, HeadSpec, InputSpec, Shots, SplitSpec
from hypnos_bench.splits import Fold
from hypnos_bench.taskfiles import load_task

TASK = load_task("staging-wake")
CARD = EncoderCard("enc", "An encoder", "1", 30.0, None, True, 0, (), "none", pretrained_on=("toyset",))


def data(n_persons=10, nights=2, epochs=30, seed=0):
    """Two nights a person; a person's own offset makes epochs of one person easy to learn from each other."""
    rng = np.random.default_rng(seed)
    n = n_persons * nights * epochs
    person = np.repeat(np.arange(n_persons), nights * epochs)
    y = rng.integers(0, 2, n)
    own = rng.normal(size=(n_persons, 2, 8)) * 3  # what wake looks like is different in everybody
    x = rng.normal(size=(n, 8)) + own[person, y]
    return ProbeData(
        everyone={f"p{i}": f"p{i}" for i in range(n_persons)},
        recordings=[f"p{i}n{k}" for i in range(n_persons) for k in range(nights)],
        persons=[f"p{i}" for i in range(n_persons) for _ in range(nights)],
        first_row=np.arange(n_persons * nights + 1) * epochs,
        targets=Targets(y.astype(np.int64)),
        rows=ArrayRows(x.astype(np.float32)),
    )


def spec(split="cv5", seed=0, **changes):
    cohort = {"id": "toyset", "fingerprint": "f", "simulated": False}
    head = HeadSpec("lda", default_settings("lda"))
    made = CellSpec(TASK.definition(), cohort, CARD.definition(), head, SplitSpec(split), Shots.parse("100%"), seed, bootstrap=20)  # fmt: skip
    return replace(made, **changes)


def probe():
    return Probe(TASK, CohortCard("toyset", "Toy", ("stage",)), CARD, "command", "cpu")


def test_leaky_splits_are_marked_and_score_higher():
    scores = {}
    for split in ("cv5", "recording", "epoch"):
        cell, side = run_cell(spec(split), probe(), data())
        assert cell.status == "ok", cell.message
        assert ("leaky" in cell.n["marks"]) == (split != "cv5")
        assert cell.n["persons_test"] == 10
        assert cell.n["recordings_test"] == len(side.recordings) == 20
        assert cell.n["units_test"] == 600
        scores[split] = cell.scores["auroc"]["value"]
    assert scores["cv5"] < scores["recording"] - 0.1
    assert scores["cv5"] < scores["epoch"] - 0.1


def test_leaky_splits_go_with_everybody_only():
    cell, side = run_cell(spec("epoch", shots=Shots.parse("10%")), probe(), data())
    assert cell.status == "failed"
    assert "--shots 100%" in cell.message
    assert side is None


def test_a_split_that_leaks_by_a_bug_is_no_number(monkeypatch):
    broken = [Fold(train=("p0", "p1", "p2"), test=("p2", "p3"))]
    monkeypatch.setattr(division, "folds", lambda *_: broken)
    with pytest.raises(IntegrityError, match="p2"):
        run_cell(spec(), probe(), data())


def test_duplicates_and_families_stay_together_in_inner_folds():
    rows = replace(data(4, 1, 2), everyone={"p0": "x", "p1": "p1", "p2": "x", "p3": "p3"})
    codes = _families(rows, np.arange(8))
    assert codes[0] == codes[1] == codes[4] == codes[5]
    assert len(set(codes.tolist())) == 3


def test_demographics_are_filled_from_training_rows_alone():
    table = np.array([[50.0, 1.0], [np.nan, 0.0], [70.0, 1.0], [np.nan, np.nan]])
    rows = replace(
        data(4, 1, 1),
        rows=ArrayRows(np.arange(8, dtype=np.float32).reshape(4, 2)),
        first_row=np.arange(5),
        demographics=table,
    )
    train, test = np.array([0, 1]), np.array([2, 3])
    left, right, filled = design(rows, InputSpec(demographics=("age", "sex")), train, test)
    assert filled == {"demographics_filled": 3}
    both = np.empty((2, 4), np.float32)
    left.read_into(0, both)
    np.testing.assert_array_equal(both, [[0, 1, 50, 1], [2, 3, 50, 0]])
    right.read_into(0, both)
    np.testing.assert_array_equal(both, [[4, 5, 70, 1], [6, 7, 50, 0.5]])
    alone, _, _ = design(rows, InputSpec(demographics=("age", "sex"), embedding=False), train, test)
    assert alone.shape == (2, 2)


def test_rows_masked_at_test_only_are_never_learned_from():
    plain = data(4, 1, 2)
    other = np.full((8, 8), 7.0, np.float32)
    rows = replace(plain, tested=ArrayRows(other), picked=np.arange(8), tested_picked=np.arange(8))
    train, test = np.arange(4), np.arange(4, 8)
    for inputs, beside in ((InputSpec(), 0), (InputSpec(demographics=("age",)), 1)):
        seen = replace(rows, demographics=np.zeros((8, 1))) if beside else rows
        left, right, _ = design(seen, inputs, train, test)
        found = [np.empty((4, 8 + beside), np.float32) for _ in range(2)]
        left.read_into(0, found[0])
        right.read_into(0, found[1])
        assert not (found[0][:, :8] == 7).any()
        assert (found[1][:, :8] == 7).all()


def test_an_exposed_encoder_is_told_with_its_test_persons():
    exposure = Exposure("enc", "toyset", {"p1": ("pretrain",), "p77": ("pretrain",)}, True, True, ("list",))
    cell, _ = run_cell(spec(), replace(probe(), exposure=exposure), data())
    block = cell.n["exposure"]
    assert (block["status"], block["persons"], block["persons_test"]) == ("person seen", 1, 10)
    assert "pre-trained on this cohort" in cell.n["marks"]
    failed, _ = run_cell(spec(shots=Shots.parse("30p")), replace(probe(), exposure=exposure), data())
    assert (failed.status, failed.n["exposure"]["status"]) == ("failed", "cohort seen")


@pytest.mark.parametrize("split", ["cv5", "recording", "epoch"])
def test_untested_persons_teach_as_before(split):
    whole, _ = run_cell(spec(split), probe(), data())
    part, side = run_cell(spec(split), replace(probe(), untested=frozenset({"p3", "p4", "p99"})), data())
    assert set(side.persons) == {f"p{i}" for i in range(10)} - {"p3", "p4"}
    assert part.n["untested"] == {"persons": 2, "who": ["p3", "p4"], "recordings": 4, "units": 120}
    assert [fold["units_train"] for fold in part.n["folds"]] == [fold["units_train"] for fold in whole.n["folds"]]
    assert part.provenance["split_hash"] == whole.provenance["split_hash"]
    nobody, side = run_cell(spec(split), replace(probe(), untested=frozenset(f"p{i}" for i in range(10))), data())
    assert (nobody.status, side) == ("failed", None)
    assert "leaves nobody to test" in nobody.message


def test_cells_in_processes_are_those_of_one_process():
    specs = [spec(seed=seed, shots=Shots.parse("30%")) for seed in range(4)]
    rows = data()

    def scores(workers):
        found = run_cells(specs, probe(), rows, workers)
        return {cell.spec["seed"]: cell.scores["auroc"]["value"] for cell, _ in found}

    one, three = scores(1), scores(3)
    assert one == three
    assert len(set(one.values())) > 1


def test_a_process_that_is_killed_ends_the_run_with_a_line(monkeypatch):
    import os
    import signal

    from hypnos_bench.errors import DataError
    from hypnos_bench.probe import parallel

    monkeypatch.setattr(parallel, "run_cell", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(DataError, match="fewer --workers"):
        list(run_cells([spec(seed=s) for s in range(3)], probe(), data(), 2))
