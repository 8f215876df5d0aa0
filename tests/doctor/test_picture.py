"""The overview: every recording has its place, faults stay visible, texts do not run into each other."""

import io
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS
from hypnos_bench.doctor import diagnose
from hypnos_bench.doctor.picture import draw

FAULT = to_rgb("#D55E00")


@pytest.fixture
def drawn(monkeypatch):
    """The figure of the last picture, beside its bytes."""
    kept = []
    save = Figure.savefig

    def spy(self, *args, **more):
        kept.append(self)
        return save(self, *args, **more)

    monkeypatch.setattr(Figure, "savefig", spy)
    return kept


def pixels(png):
    """Without the legends on the right."""
    return matplotlib.image.imread(io.BytesIO(png))[:, :1350, :3]


def share_of(image, color):
    return float((np.abs(image - np.array(color)).max(axis=-1) < 0.02).mean())


def texts_of(figure):
    texts = [figure._suptitle, *(text for axes in figure.axes for text in axes.get_legend().get_texts())]
    for axes in figure.axes:
        texts += [axes.title, axes._left_title, axes.xaxis.label, *axes.get_yticklabels(), *axes.get_xticklabels()]
    return [text for text in texts if text.get_text() and text.get_visible()]


def assert_no_overlap(figure):
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts_of(figure)]
    for i, (one, box) in enumerate(boxes):
        assert box.x0 >= -1, one
        assert box.x1 <= figure.bbox.x1 + 1, one
        for other, second in boxes[i + 1 :]:
            across = min(box.x1, second.x1) - max(box.x0, second.x0)
            down = min(box.y1, second.y1) - max(box.y0, second.y0)
            assert across <= 1 or down <= 1, (one, other)


def many(night, n):
    return [night(i, recording=f"mros-visit{1 + i % 2}-aa{i:04d}", visit=str(1 + i % 2)) for i in range(n)]


@pytest.mark.parametrize("n", [0, 1, 3, 40, 41, 4000])
def test_texts_keep_apart_whatever_the_number_of_recordings(night, cohort_of, drawn, n):
    checkups = many(night, n)
    card = {"simulated": True, "persons_assumed": True, "title": "A cohort with quite a long title " * 5}
    png = draw(diagnose(cohort_of(checkups, **card), checkups))
    assert png.startswith(b"\x89PNG")
    assert_no_overlap(drawn[0])


@pytest.mark.parametrize(("n", "named"), [(3, True), (40, True), (41, False)])
def test_few_recordings_are_named(night, cohort_of, drawn, n, named):
    checkups = many(night, n)
    draw(diagnose(cohort_of(checkups), checkups))
    labels = [text.get_text() for text in drawn[0].axes[1].get_xticklabels()]
    assert (labels == sorted(c.recording for c in checkups)) == named


def test_simulated_and_assumed_are_in_the_picture(night, cohort_of, drawn):
    checkups = [night(1)]
    draw(diagnose(cohort_of(checkups, simulated=True, persons_assumed=True), checkups))
    title = drawn[0]._suptitle.get_text()
    assert title.startswith("SIMULATED: nobody was recorded\n")
    assert "a recording without one counts as its own" in title
    assert "1 recording of 1 person, 8.3 hours" in title


def test_shares_of_stages_are_shares_of_the_raster(night, cohort_of, drawn):
    checkups = [night(1, labels={"stage": {"W": 250, "N2": 500, "R": 250}})]
    draw(diagnose(cohort_of(checkups), checkups))
    raster = drawn[0].axes[1].images[0].get_array()
    assert share_of(raster, to_rgb("#E69F00")) == pytest.approx(0.25, abs=0.01)
    assert share_of(raster, to_rgb("#0072B2")) == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(raster[-1, 0], to_rgb("#E69F00"))  # waking at the bottom


@pytest.mark.parametrize("n", [5, 4000])
@pytest.mark.parametrize("part", ["signals", "annotation", "stage"])
def test_one_fault_stays_visible_among_many(night, cohort_of, n, part):
    checkups = many(night, n)
    before = share_of(pixels(draw(diagnose(cohort_of(checkups), checkups))), FAULT)
    nothing = {"montage": {}, "rates_hz": {}, "units": {}} if part == "signals" else {}
    checkups[3] = replace(checkups[3], problems={part: "broken"}, labels={}, **nothing)
    after = share_of(pixels(draw(diagnose(cohort_of(checkups), checkups))), FAULT)
    assert before == 0
    assert after > 1e-4


def test_one_absent_channel_stays_visible_among_many(night, cohort_of, drawn):
    checkups = many(night, 4000)
    checkups[100] = replace(checkups[100], montage={c: c for c in CANONICAL_CHANNELS if c != "Chin"})
    draw(diagnose(cohort_of(checkups), checkups))
    chin = drawn[0].axes[0].images[0].get_array()[4]
    assert (np.abs(chin - 1).max(axis=-1) < 0.02).sum() == 1
    assert "absent" in [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()]


def test_faults_and_labels_never_share_a_colour(night, cohort_of, drawn):
    codes = {f"R{i}": 10.0 + i for i in range(12)}
    checkups = [night(1, labels={"rhythm": codes}), night(2, labels={}, problems={"annotation": "cut"})]
    draw(diagnose(cohort_of(checkups, labels=("rhythm",)), checkups))
    legend = drawn[0].axes[1].get_legend()
    colors = [patch.get_facecolor()[:3] for patch in legend.get_patches()]
    assert [text.get_text() for text in legend.get_texts()] == [
        *("R11", "R10", "R9", "R8", "R7", "R6", "others"),
        *("cannot be used",),
    ]
    assert len(set(colors)) == len(colors)
    assert drawn[0].axes[1].get_title(loc="left") == "Heart rhythm per recording"


def test_a_cohort_without_stages_or_channels_is_drawn_too(night, cohort_of, drawn):
    checkups = [night(i, labels={}, montage={}, rates_hz={}, units={}) for i in range(3)]
    draw(diagnose(cohort_of(checkups), checkups))
    assert [text.get_text() for text in drawn[0].axes[1].get_legend().get_texts()] == ["none, or not to be used"]
    assert_no_overlap(drawn[0])


def test_the_same_diagnosis_gives_the_same_bytes(night, cohort_of):
    checkups = many(night, 7)
    d = diagnose(cohort_of(checkups), checkups)
    assert draw(d) == draw(d)
