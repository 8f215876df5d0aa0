"""A diagnosis in words: complete for what is damaged, short for what is not."""

from dataclasses import replace

from hypnos_bench.cohorts.base import Exclusion
from hypnos_bench.cohorts.card_toml import load_layout
from hypnos_bench.doctor import diagnose
from hypnos_bench.doctor.text import counted, report, verdict


def lines_of(cohort, checkups, layout=None, expected=""):
    return report(diagnose(cohort, checkups, layout), "/data", expected).splitlines()


def test_a_healthy_cohort_says_so_in_its_last_line(night, cohort_of):
    checkups = [night(1), night(2)]
    lines = lines_of(cohort_of(checkups), checkups, expected="2,907 recordings")
    assert lines[:2] == ["Made-up nights (made-up)", "files under /data"]
    assert lines[-1] == "made-up: nothing would be lost."
    assert "  2 recordings of 2 persons, 16.7 hours" in lines
    assert "  usable: headers 2, stage 2, events 2; left out: 0" in lines
    assert "  annotated by: nsrr-xml 2" in lines
    assert "  a complete download: 2,907 recordings" in lines
    assert "would be lost" not in lines


def test_the_label_balance_is_printed_in_per_cent(night, cohort_of):
    checkups = [night(1)]
    lines = lines_of(cohort_of(checkups), checkups)
    assert (
        "  stage: 1,000 epochs of 30 s: W 100 (10.0%), N1 50 (5.0%), N2 500 (50.0%), N3 150 (15.0%), R 200 (20.0%), "
        "unscored 0 (0.0%)"
    ) in lines
    assert "  epochs with respiratory: 3 (0.3% of scored epochs)" in lines
    assert "  epochs with arousal: 0 (0.0% of scored epochs); none in 1 recording" in lines


def test_rhythm_is_hours_and_record_labels_are_shares_of_recordings(night, cohort_of):
    labels = {"rhythm": {"N": 5400, "AFIB": 1800}, "record": {"A": 1}}
    checkups = [night(1, labels=labels, epochs_with={}), night(2, labels=labels, epochs_with={})]
    lines = lines_of(cohort_of(checkups, labels=("rhythm", "record")), checkups)
    assert "  rhythm: N 3.00 h (75.0%), AFIB 1.00 h (25.0%)" in lines
    assert "  record: A 2 (100.0%) of recordings" in lines


def test_channels_show_ways_rates_units_and_absence(night, cohort_of):
    checkups = [night(1), night(2, montage={"ECG": "ECG L - ECG R"}, rates_hz={"ECG": 512.0}, units={"ECG": ""})]
    lines = lines_of(cohort_of(checkups), checkups)
    assert "  ECG   ECG - ref (1) | ECG L - ECG R (1)" in lines
    assert "        256 Hz (1), 512 Hz (1); unit uV (1), blank (1)" in lines
    assert "  C3    C3 - ref (1) | absent (1)" in lines


def test_an_ecg_set_is_not_told_about_each_eeg_channel(night, cohort_of):
    checkups = [night(1, montage={"ECG": "II"}, rates_hz={"ECG": 200.0}, units={"ECG": "mV"})]
    lines = lines_of(cohort_of(checkups), checkups)
    assert "  in no recording: C3, C4, E1, E2, Chin, ABD, THX" in lines
    assert lines[-1] == "made-up: nothing would be lost."


def test_simulated_and_assumed_persons_are_said(night, cohort_of):
    checkups = [night(1)]
    lines = lines_of(cohort_of(checkups, simulated=True, persons_assumed=True), checkups)
    assert lines[0].startswith("SIMULATED: nobody was recorded. ")
    assert lines[-1] == "SIMULATED: made-up: nothing would be lost."
    assert any("a recording counts as its own person" in line for line in lines)


def test_every_damaged_recording_is_named_with_its_reason(night, cohort_of):
    checkups = [night(i, problems={"signals": f"fault {i}"}) for i in range(1, 41)]
    lines = lines_of(cohort_of(checkups), checkups)
    assert "  40 cases: signals cannot be read" in lines
    assert {f"      n{i:04d}: fault {i}" for i in range(1, 41)} <= set(lines)
    assert lines[-1] == "made-up: something would be lost: 40 files or recordings; see above."


def test_recordings_that_share_a_reason_stand_together(night, cohort_of):
    checkups = [
        night(i, problems={"annotation": f"no annotation file, expected at n{i:04d}.xml"}) for i in range(1, 11)
    ]
    lines = lines_of(cohort_of(checkups), checkups)
    named = ", ".join(f"n{i:04d}" for i in range(1, 9))
    assert f"      {named}, ... and 2 more (--json lists all): no annotation file, expected at (id).xml" in lines


def test_long_lists_are_bounded(night, cohort_of):
    checkups = [
        night(
            i,
            problems={"signals": f"fault {i}"},
            unused=tuple(f"x{i}-{k}" for k in range(9)),
            notes=(f"odd {'a' * i}",),
        )
        for i in range(1, 301)
    ]
    lines = lines_of(cohort_of(checkups), checkups)
    assert len(lines) < 130
    assert max(map(len, lines)) < 600
    assert "      ... and 240 more (--json lists all)" in lines


def test_what_the_card_leaves_out_is_told_apart_from_what_is_lost(night, cohort_of):
    checkups, layout = [night(1)], load_layout("mros")
    layout = replace(layout, exclude=(replace(layout.exclude[0], reason="withdrawn"),))
    cohort = cohort_of(checkups, excluded=[Exclusion("n0008", "withdrawn"), Exclusion("n0009", "found 2 times")])
    lines = lines_of(cohort, checkups, layout)
    stated = lines.index("left out as the card says")
    lost = lines.index("would be lost")
    assert lines[stated + 1] == "  n0008: withdrawn"
    assert lines[lost + 1 : lost + 3] == ["  1 case: cannot take part", "      n0009: found 2 times"]
    assert sum("n0009" in line for line in lines) == 1


def test_tables_say_whether_everything_was_found(night, cohort_of):
    checkups, layout = [night(1)], load_layout("mros")
    assert "  all found, with every row and column" in lines_of(cohort_of(checkups), checkups, layout)
    lines = lines_of(cohort_of(checkups, gaps=("recordings without a row in x.csv (3 times)",)), checkups, layout)
    assert "  1 thing not found: see below" in lines
    assert "      recordings without a row in x.csv (3 times)" in lines
    assert lines[-1] == "made-up: something would be lost: 1 finding about the whole cohort; see above."


def test_verdict_counts_recordings_once(night, cohort_of):
    checkups = [night(1, problems={"stage": "x"}, unknown={"y": 1})]
    d = diagnose(cohort_of(checkups, gaps=("z",)), checkups)
    assert verdict(d) == (
        "made-up: something would be lost: 1 file or recording and 1 finding about the whole cohort; see above."
    )


def test_numbers_agree_with_their_nouns():
    assert [counted(1, "person"), counted(2000, "person"), counted(0, "family", "families")] == [
        "1 person",
        "2,000 persons",
        "0 families",
    ]
