"""One usable label per channel, also when a file repeats or leaves out names."""

from __future__ import annotations

from collections.abc import Iterable


def unique_labels(labels: Iterable[str]) -> list[str]:
    """Labels that identify each channel, in file order.

    The first of several equal labels keeps its name, the later ones become ``"ECG#2"``, ``"ECG#3"``: they can be
    read, but no alias table ever picks them. A blank label becomes ``"#4"`` by its place in the file, counted from 1.
    """
    labels = [label.strip() for label in labels]
    taken = set(labels)
    seen: set[str] = set()
    unique = []
    for place, label in enumerate(labels, start=1):
        name, number = (label, 2) if label else (f"#{place}", 2)
        while name in seen or (name != label and name in taken):
            name = f"{label}#{number}" if label else f"#{place}#{number}"
            number += 1
        seen.add(name)
        unique.append(name)
    return unique
