"""Whether a card says what a reader needs, in the types that tables need."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS
from hypnos_bench.conformance.trying import Check
from hypnos_bench.encoders.base import EncoderCard
from hypnos_bench.spec import digest


def check_card(card: EncoderCard) -> Check:
    """All fields; what it leaves open that it may leave open is told."""
    wrong = card_faults(card)
    left_open = {
        "dim": card.dim is None,
        "step_s": card.step_s is None,
        "pre-training cohorts": card.pretrained_on is None,
        "name of the weights": card.weights is not None and not card.weights_name,
    }
    unsaid = [name for name, here in left_open.items() if here]
    if wrong:
        return Check("card", "fail", "; ".join(wrong), {"faults": len(wrong)})
    words = f"complete; {card.alignment}" + (f"; leaves open: {', '.join(unsaid)}" if unsaid else "")
    return Check("card", "pass", words, {"faults": 0})


def card_faults(card: EncoderCard) -> list[str]:
    """Say what is wrong with a card, one line each; none for a good one."""
    faults = [f"{name} is empty" for name in ("id", "title", "version", "missing", "licence") if not _text(card, name)]
    faults += [f"{name} is no text" for name in ("note", "weights_name") if not isinstance(getattr(card, name), str)]
    faults += [
        f"{name} is {value!r}, not a number above 0"
        for name, value in (("step_s", card.step_s), ("window_s", card.window_s))
        if value is not None and not (_number(value) and value > 0)
    ]
    whole = {"dim": (card.dim, 1), "lag_rows": (card.lag_rows, 0)}
    faults += [
        f"{name} is {value!r}, not a whole number of at least {least}"
        for name, (value, least) in whole.items()
        if not (name == "dim" and value is None)
        and not (isinstance(value, int) and not isinstance(value, bool) and value >= least)
    ]
    if not isinstance(card.causal, bool):
        faults.append(f"causal is {card.causal!r}, not true or false")
    return faults + _list_faults(card) + _definition_faults(card)


def _list_faults(card: EncoderCard) -> list[str]:
    faults = []
    lists = {"channels": card.channels, "marks": card.marks, "pretrained_on": card.pretrained_on}
    for name, value in lists.items():
        if value is None and name == "pretrained_on":
            continue
        if not isinstance(value, tuple) or not all(isinstance(word, str) for word in value):
            faults.append(f"{name} is {value!r}, not a tuple of texts")
        elif name == "channels" and (strange := [c for c in value if c not in CANONICAL_CHANNELS]):
            faults.append(f"channels names {', '.join(strange)}; canonical are {', '.join(CANONICAL_CHANNELS)}")
    return faults


def _definition_faults(card: EncoderCard) -> list[str]:
    faults = []
    if card.weights is not None and not (isinstance(card.weights, str) and re.fullmatch("[0-9a-f]{64}", card.weights)):
        faults.append(f"weights is {card.weights!r}, not a SHA-256 in hexadecimal")
    if not isinstance(card.settings, Mapping):
        return [*faults, "settings is no mapping"]
    try:
        digest(card.definition())
    except (TypeError, ValueError) as error:
        faults.append(f"settings cannot enter a key: {error}")
    return faults


def _text(card: EncoderCard, name: str) -> bool:
    value = getattr(card, name)
    return isinstance(value, str) and bool(value.strip())


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
