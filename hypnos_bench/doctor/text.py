"""A diagnosis in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hypnos_bench.cohorts.base import Exclusion
from hypnos_bench.doctor.checkup import UNSCORED
from hypnos_bench.doctor.diagnosis import MISSING, Diagnosis

_FEW = 12  # entries of a list that are shown; --json has all
_MANY = 60  # reasons, each with the recordings it concerns: what is damaged should be seen
_NAMED = 8  # recordings that share a reason


def report(diagnosis: Diagnosis, where: str, expected: str = "") -> str:
    """Everything a person should look at, the verdict last.

    Parameters
    ----------
    diagnosis : Diagnosis
    where : str
        The folder that was searched.
    expected : str
        What a complete download holds.
    """
    d = diagnosis
    mark = "SIMULATED: nobody was recorded. " if d.simulated else ""
    parts = [
        [f"{mark}{d.title} ({d.cohort})", f"files under {where}"],
        _section("found", _found(d, expected)),
        _section("channels", _channels(d)),
        _section("labels", _labels(d)),
        _section("tables", _tables(d)),
        _section("covariates", [_counts(d.covariates)] if d.covariates else []),
        _section("outcomes", (f"{name}: {_counts(counts)}" for name, counts in d.outcomes.items())),
        _section("not used for some labels", _lines(d.ruled_out)),
        _section("headers read with repairs", _lines(d.repairs)),
        _section("labels of files that no channel is made of", [_counts(d.unused)] if d.unused else []),
        _section("texts that no table knows", _lines({repr(text): n for text, n in d.unknown.items()})),
        _section("remarks", [*_few(d.remarks), *_lines(d.notes), *_lines(d.quality)]),
        _section("left out as the card says", _cases(_expected(d))),
        _section("would be lost", _losses(d)),
        [verdict(d)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def verdict(diagnosis: Diagnosis) -> str:
    """One line: whether anything would be lost without having been asked for."""
    mark = "SIMULATED: " if diagnosis.simulated else ""
    if not diagnosis.losses:
        return f"{mark}{diagnosis.cohort}: nothing would be lost."
    affected = {case.recording for loss in diagnosis.losses for case in loss.cases}
    whole = sum(not loss.cases for loss in diagnosis.losses)
    parts = [counted(len(affected), "file or recording", "files or recordings")] if affected else []
    parts += [counted(whole, "finding") + " about the whole cohort"] if whole else []
    return f"{mark}{diagnosis.cohort}: something would be lost: {' and '.join(parts)}; see above."


def counted(n: int, one: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    body = [f"  {line}" for line in lines]
    return [title, *body] if body else []


def _found(d: Diagnosis, expected: str) -> list[str]:
    persons = counted(d.n_persons, "person")
    families = f" in {counted(d.n_split_units, 'family', 'families')}" if d.n_split_units < d.n_persons else ""
    visits = f" ({', '.join(f'visit {visit}: {n:,}' for visit, n in d.visits.items())})" if len(d.visits) > 1 else ""
    lines = [f"{counted(d.n_recordings, 'recording')}{visits} of {persons}{families}, {d.hours:,.1f} hours"]
    if d.persons_assumed:
        assumed = "a recording that no table names a person for" if d.tables else "nothing says who is who: a recording"
        lines.append(f"{assumed} counts as its own person{'' if d.tables else ' (--person-pattern)'}")
    labelled = "".join(f", {kind} {n:,}" for kind, n in d.n_labelled.items())
    lines.append(f"usable: headers {d.n_readable:,}{labelled}; left out: {len(d.excluded):,}")
    lines.append(f"annotated by: {_counts(d.annotations)}")
    return [*lines, f"a complete download: {expected}"] if expected else lines


def _channels(d: Diagnosis) -> list[str]:
    lines, nowhere = [], []
    for channel, ways in d.montage.items():
        made = {way: n for way, n in ways.items() if way != MISSING}
        if not made:
            nowhere.append(channel)
            continue
        absent = f" | absent ({ways[MISSING]:,})" if MISSING in ways else ""
        shown = [f"{way} ({n:,})" for way, n in made.items()]
        rates = ", ".join(_few([f"{hz} Hz ({n:,})" for hz, n in d.rates_hz[channel].items()]))
        units = ", ".join(_few([f"{unit} ({n:,})" for unit, n in d.units[channel].items()]))
        lines.append(f"{channel.ljust(4)}  {' | '.join(_few(shown))}{absent}")
        lines.append(f"{' ' * 4}  {rates}; unit {units}")
    return [*lines, f"in no recording: {', '.join(nowhere)}"] if nowhere else lines


def _labels(d: Diagnosis) -> list[str]:
    lines = []
    for kind, totals in d.labels.items():
        whole = sum(totals.values())
        if kind == "stage" and whole:
            shares = ", ".join(f"{name} {n:,.0f} ({n / whole:.1%})" for name, n in totals.items())
            lines.append(f"stage: {whole:,.0f} epochs of 30 s: {shares}")
        elif kind in ("rhythm", "minutes") and whole:
            parts = [f"{code} {s / 3600:,.2f} h ({s / whole:.1%})" for code, s in _ranked(totals)]
            lines.append(f"{kind}: {', '.join(_few(parts))}")
        elif kind == "record" and whole:
            parts = [f"{code} {n:,.0f} ({n / d.n_labelled[kind]:.1%})" for code, n in _ranked(totals)]
            lines.append(f"record: {', '.join(_few(parts))} of recordings")
        else:
            lines.append(f"{kind}: {_counts(dict(_ranked(totals)))}{_without_any(d) if kind == 'events' else ''}")
    scored = sum(n for name, n in d.labels.get("stage", {}).items() if name != UNSCORED)
    for scope, n in d.epochs_with.items():
        share = f" ({n / scored:.1%} of scored epochs)" if scored else ""
        none = f"; none in {counted(d.n_without_events[scope], 'recording')}" if d.n_without_events[scope] else ""
        lines.append(f"epochs with {scope}: {n:,}{share}{none}")
    return [*lines, f"  (an epoch counts by {d.event_rule})"] if d.epochs_with else lines


def _ranked(totals: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))


def _without_any(d: Diagnosis) -> str:
    n = d.n_without_events["any"]
    return f"; {counted(n, 'recording')} without a single one" if n else ""


def _tables(d: Diagnosis) -> list[str]:
    if not d.tables:
        return []
    found = (
        f"{counted(len(d.gaps), 'thing')} not found: see below" if d.gaps else "all found, with every row and column"
    )
    return [f"looked for: {', '.join(d.tables)}", found]


def _expected(d: Diagnosis) -> list[Exclusion]:
    unexpected = {case for loss in d.losses for case in loss.cases}
    return [exclusion for exclusion in d.excluded if exclusion not in unexpected]


def _losses(d: Diagnosis) -> list[str]:
    lines = []
    for loss in d.losses:
        lines.append(f"{counted(len(loss.cases), 'case')}: {loss.what}" if loss.cases else loss.what)
        lines += [f"    {line}" for line in [*_cases(loss.cases), *_few(loss.details, _MANY)]]
    return lines


def _cases(cases: Sequence[Exclusion]) -> list[str]:
    """One line per reason; recordings that share one but for their id stand together."""
    shared: dict[str, list[Exclusion]] = {}
    for case in cases:
        shared.setdefault(case.reason.replace(case.recording, "(id)"), []).append(case)
    lines = []
    for shape, alike in shared.items():
        if len(alike) == 1:
            lines.append(f"{alike[0].recording}: {alike[0].reason}")
        else:
            lines.append(f"{', '.join(_few([case.recording for case in alike], _NAMED))}: {shape}")
    return _few(lines, _MANY)


def _counts(counts: Mapping[str, float]) -> str:
    return ", ".join(_few([f"{name} {n:,.0f}" for name, n in counts.items()])) or "none"


def _lines(counts: Mapping[str, int]) -> list[str]:
    return _few([f"{text} ({n:,})" for text, n in counts.items()])


def _few(entries: Sequence[str], most: int = _FEW) -> list[str]:
    more = len(entries) - most
    return [*entries[:most], f"... and {more:,} more (--json lists all)"] if more > 0 else [*entries]
