"""What a leaky split adds is told beside the honest table."""

from hypnos_bench.report.comparison import comparisons
from hypnos_bench.report.leak import leak_lines, leaks
from hypnos_bench.report.markdown import write_report
from hypnos_bench.report.tables import terminal_tables
from hypnos_bench.spec import SampleSpec, SplitSpec

RECORDING, PERSON = SplitSpec("osf-recording", lists="1" * 64), SplitSpec("osf-person", lists="1" * 64)


def pair(make, honest=PERSON, **more):
    return [
        make("osf", kappa=0.80, split=RECORDING, marks=("leaky",), test=381),
        make("osf", kappa=0.78, split=honest, test=227, **more),
    ]


def test_the_difference_is_printed(make, tmp_path):
    cells = pair(make)
    lines = leak_lines(comparisons(cells))
    assert lines[-1] == "- osf at 1%: 0.800 - 0.780 = 0.020"
    assert "381 recordings are tested under osf-recording, 227 under osf-person" in lines[0]
    assert lines[-1] in terminal_tables(cells, color=False, width=120)
    page = write_report(cells, tmp_path)[0].read_text()
    assert "What the leak adds" in page
    assert "| osf *leaky* | 1% | 0.800 | 0.780 | 0.020 |" in page


def test_only_tables_of_the_same_question_and_lists_are_set_side_by_side(make):
    assert len(leaks(comparisons(pair(make)))) == 1
    assert leaks(comparisons(pair(make, honest=SplitSpec("osf-person", lists="2" * 64)))) == []
    assert leaks(comparisons(pair(make, honest=SplitSpec("cv5")))) == []
    assert leaks(comparisons(pair(make, fingerprint="b" * 64))) == []
    assert leaks(comparisons([make(split=RECORDING, kappa=0.8), make(split=PERSON, kappa=None)])) == []


def test_other_samples_are_not_subtracted(make):
    few = make("osf", kappa=0.4, split=PERSON, test=2, sample=SampleSpec(common="c" * 64))
    clean = make("osf", kappa=0.5, split=PERSON, test=9, sample=SampleSpec(untested="u" * 64))
    found = leaks(comparisons([*pair(make), few, clean]))
    assert [leak.pairs[0][3].mean for leak in found] == [0.78]
    assert "#" in found[0].words  # there are other tables of that name


def test_how_a_listed_split_was_made_is_told(make, tmp_path):
    page = write_report(pair(make), tmp_path)[0].read_text()
    assert "digest of the lists 111111111111; persons are on both sides" in page
    assert "digest of the lists 111111111111; divided by person" in page
    assert "salt" not in page


def test_epochs_dealt_out_stand_against_persons_dealt_out(make):
    cells = [make(split=SplitSpec("epoch"), marks=("leaky",), kappa=0.9), make(split=SplitSpec("cv5"), kappa=0.7)]
    (leak,) = leaks(comparisons(cells))
    assert (leak.leaky.split, leak.honest.split) == ("epoch", "cv5")


def test_listed_splits_are_named(make):
    words = {c.split: c.split_words for c in comparisons(pair(make))}
    assert words["osf-recording"].startswith("LEAKY")
    assert words["osf-person"] == "OSF's published lists of recordings, without test recordings of training persons"
