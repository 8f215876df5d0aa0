"""When rows are: from what a file states, and against the length of its recording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hypnos_bench.encoders.precomputed.statement import TIMES

_HELP = (
    "add an array epoch_start_s, or the numbers start_s and step_s "
    "(to each file or its .json, or for all in card.json); OSF arrays: layout osf"
)
_SLACK_S = 1e-6


def row_times(times: Mapping[str, Any], n_rows: int) -> tuple[float, float]:
    """Start and step of rows in seconds from what a file states.

    Raises
    ------
    ValueError
        When times are missing, uneven or impossible, with what to add.
    """
    if "epoch_start_s" in times:
        starts = np.asarray(times["epoch_start_s"])
        if starts.shape != (n_rows,) or starts.dtype.kind not in "fiu":
            raise ValueError(
                f"epoch_start_s is {starts.dtype} of shape {starts.shape}, there are {n_rows} rows; "
                "give one start in seconds per row"
            )
        start, step = _even(starts.astype(np.float64), times)
    elif "start_s" in times and "step_s" in times:
        start, step = number(times, "start_s"), number(times, "step_s")
    else:
        raise ValueError(f"says not when its rows are; {_HELP}")
    if not (np.isfinite(start) and start >= 0 and np.isfinite(step) and step > 0):
        raise ValueError(f"impossible times: start {start:g} s, step {step:g} s")
    return start, step


def times_of(
    found: Mapping[str, Any],
    stated: Mapping[str, Any],
    n_rows: int,
    *,
    held: Mapping[str, Any] | None = None,
    layout_step_s: float | None = None,
) -> tuple[float, float]:
    """Start and step of rows in seconds: the file's own times, and what card and sidecar say where it says nothing.

    Parameters
    ----------
    found : mapping
        Arrays and numbers of the file.
    stated : mapping
        What card and sidecar say.
    n_rows : int
    held : mapping, optional
        Times that hold where nobody says anything.
    layout_step_s : float, optional
        Step of a layout that fixes it; its rows start at 0 where nothing else is said.

    Raises
    ------
    ValueError
        As :func:`row_times`; when two statements differ, or another step than the layout's is stated.
    """
    own = {name: found[name] for name in TIMES if name in found}
    said = {name: stated[name] for name in TIMES if name in stated}
    if layout_step_s is not None:
        held = {"start_s": 0.0, "step_s": layout_step_s}
        start, step = row_times({**held, **said, **own}, n_rows)
        if abs(step - layout_step_s) > _SLACK_S:
            raise ValueError(f"step_s is said to be {step:g} s, the layout has rows of {layout_step_s:g} s")
    else:
        start, step = row_times({**said, **own} or held or {}, n_rows)
    for who, times in (("the file", own), ("card.json or the file's .json", said)):
        for name, value in (("start_s", start), ("step_s", step)):
            if name in times and not abs(number(times, name) - value) <= _SLACK_S:
                raise ValueError(
                    f"{who} says {name} {number(times, name):g}, but by its own times it is {value:g}; keep the one "
                    "that is right"
                )
    return start, step


def first_start(found: Mapping[str, Any], stated: Mapping[str, Any]) -> float:
    """Where the first row starts, in seconds, before anything is checked: 0 where nothing is said."""
    times = {**stated, **found}
    starts = np.asarray(times.get("epoch_start_s", ()))
    if starts.size and starts.dtype.kind in "fiu":
        return float(starts.ravel()[0])
    return number(times, "start_s") if "start_s" in times else 0.0


def coverage(start_s: float, step_s: float, n_rows: int, duration_s: float, *, short_s: float, partial: bool) -> str:
    """Words for a report when rows do not cover a whole recording, else an empty text. Nothing is trimmed.

    Parameters
    ----------
    start_s, step_s : float
    n_rows : int
    duration_s : float
        Length of the recording. The last row may reach beyond it (models that pad), but must begin within.
    short_s : float
        By how much rows may end before the recording, since models drop what does not fill a last window.
    partial : bool
        Whether they may end at any time.

    Raises
    ------
    ValueError
        For more rows than the recording has time, or fewer than that: the commonest sign of a wrong step or of
        another recording's file.
    """
    end_s = start_s + n_rows * step_s
    lengths = f"its {n_rows} rows of {step_s:g} s end at {end_s:g} s, the recording at {duration_s:g} s"
    if end_s - step_s >= duration_s - _SLACK_S:
        raise ValueError(f"{lengths}; check step_s, start_s and that the file belongs to this recording")
    if duration_s - end_s > short_s + _SLACK_S and not partial:
        raise ValueError(
            f'{lengths}: {duration_s - end_s:g} s are not covered; check step_s, or say "partial": true in '
            "card.json or the file's .json when rows may end early"
        )
    if start_s > _SLACK_S or duration_s - end_s > _SLACK_S:
        return f"covers {start_s:g} to {min(end_s, duration_s):g} s of {duration_s:g} s"
    return ""


def number(values: Mapping[str, Any], name: str) -> float:
    """One number of a file. Raises ``ValueError`` when it is none."""
    value = np.asarray(values[name])
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise ValueError(f"{name} is not one number")
    return float(value.reshape(()))


def _even(starts: np.ndarray[Any, np.dtype[np.float64]], times: Mapping[str, Any]) -> tuple[float, float]:
    steps = np.diff(starts)
    step = number(times, "step_s") if "step_s" in times else float(steps[0]) if len(steps) else None
    if step is None:
        raise ValueError("one row has no step; add step_s")
    if not np.isfinite(starts).all() or not np.allclose(steps, step, rtol=0, atol=1e-6):
        row = int(np.argmax(~np.isclose(steps, step, rtol=0, atol=1e-6))) + 1 if len(steps) else 0
        where = f"row {row} starts {steps[row - 1]:g} s after the one before" if row else "its only start is no number"
        raise ValueError(
            f"epoch_start_s is not even: {where}, step is {step:g} s; fill gaps with rows of the model, or with NaN "
            'rows and "nan_rows": "no-signal": rows cannot be skipped'
        )
    return float(starts[0]), step
