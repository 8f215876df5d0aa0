"""A cohort card in words, for ``hypnos-bench show cohort``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS
from hypnos_bench.cohorts.card import Annotation, CohortLayout, Endpoint, Exclude, Flag, Table
from hypnos_bench.cohorts.covariates import AHI_DEFINITIONS


def describe(layout: CohortLayout) -> dict[str, str]:
    """Everything a card says, as lines under headings; silent parts are left out."""
    card, files = layout.card, layout.layout
    family = ", else ".join(filter(None, (layout.persons.family, layout.persons.family_name)))
    shown = {
        "id": card.id,
        "title": card.title,
        "labels": ", ".join(card.labels),
        "settings": layout.settings_file,
        "split": f"{card.split.kind}, by person" + (" and family" if family else ""),
        "encoders": ", ".join(card.encoders),
        "example": files.example,
        "files": f"{files.file} + {' or '.join(files.suffixes)} ({files.format})",
        "folder": files.signals or "the root, any subfolder",
        "top folder": " or ".join(f"{folder}/ (may be left out)" for folder in files.folders),
        "person": files.person,
        "visit": files.visit,
        "passed over": _lines(f"{skip.file}: {skip.reason}" for skip in layout.skip),
        "annotations": _lines(map(_annotation, layout.annotations)),
        "unusable": "nights without N1, N3 and REM (scored as sleep or wake only)" if layout.full_staging else "",
        "channels": _lines(_channels(layout)),
        "mains": _mains(layout),
        "tables": _lines(map(_table, layout.tables)),
        "same person": _lines(" = ".join(group) for group in layout.persons.same),
        "persons by": layout.persons.column or ", ".join(layout.persons.alike),
        "family by": family,
        "record label": _record(layout),
        "covariates": _lines(_covariate(*entry) for entry in layout.covariates.columns.items()),
        "constants": ", ".join(f"{name} = {value}" for name, value in layout.covariates.constants.items()),
        "flags": _lines(map(_flag, layout.flags)),
        "exclusions": _lines(map(_exclusion, layout.exclude)),
        "outcomes": _lines(map(_endpoint, layout.outcomes)),
        "wide outcomes": _wide(layout),
        "follow-up": _follow_up(layout),
        "expected": expected_text(layout),
        "unsure": _lines(layout.unsure),
        "access": card.access,
        "licence": card.licence,
        "citation": card.citation,
        "source": card.source,
        "note": card.note,
    }
    return {name: text for name, text in shown.items() if text}


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _settings(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _annotation(annotation: Annotation) -> str:
    path = "in the signal file" if annotation.path == "{signals}" else annotation.path
    extra = [f"with {template} ({name})" for name, template in annotation.beside.items()]
    extra += [_settings(part) for part in (annotation.options, annotation.words, annotation.when) if part]
    return f"{annotation.kind}: {path}" + (f" [{'; '.join(extra)}]" if extra else "")


def _channels(layout: CohortLayout) -> Iterable[str]:
    for channel in CANONICAL_CHANNELS:
        rules = layout.channels.get(channel, ())
        text = " | ".join(map(str, rules)) or ("general alias table" if layout.aliases else "absent")
        unit = f" in {layout.units[channel]}" if channel in layout.units else ""
        yield f"{channel.ljust(4)} {text}{unit}"


def _mains(layout: CohortLayout) -> str:
    by = [f"{group} {value}: {hz:g}" for group, table in layout.mains_by.items() for value, hz in table.items()]
    return f"{layout.mains_hz:g} Hz" + (f" ({', '.join(by)})" if by else "")


def _table(table: Table) -> str:
    key = table.key if isinstance(table.key, str) else " or ".join(table.key)
    visit = f", visit {table.visit}" if table.visit else ""
    return f"{table.glob} by {key} = {table.match}{visit}{' (optional)' if table.optional else ''}"


def _record(layout: CohortLayout) -> str:
    if layout.record is None:
        return ""
    codes = ", ".join(layout.record.codes) or ("SCP statements" if layout.record.form == "scp" else "any code")
    return f"{layout.record.column}: {codes}"


def _wide(layout: CohortLayout) -> str:
    wide = layout.wide_outcomes
    if wide is None:
        return ""
    files = " + ".join(filter(None, (wide.is_event, wide.time_to_event, wide.demographics)))
    return f"{files} by {wide.key} = {wide.match}, in {wide.unit}"


def _covariate(name: str, columns: Sequence[str]) -> str:
    meaning = f" ({AHI_DEFINITIONS[name]})" if name in AHI_DEFINITIONS else ""
    return f"{name}: {' | '.join(columns)}{meaning}"


def _flag(flag: Flag) -> str:
    effect = f"not for {', '.join(flag.scope)}" if flag.scope else "remark"
    return f"{flag.column} {'contains' if flag.contains else '='} {flag.value}: {effect}: {flag.reason}"


def _exclusion(rule: Exclude) -> str:
    who = [*_ids(rule.persons), *_ids(rule.recordings), *(f"{k} = {v}" for k, v in rule.where.items())]
    visit = f" at visit {rule.visit}" if rule.visit else ""
    return f"{', '.join(who) or 'all recordings'}{visit}: not for {', '.join(rule.scope)}: {rule.reason}"


def _ids(ids: Sequence[str]) -> list[str]:
    return [*ids] if len(ids) <= 15 else [*ids[:12], f"... {len(ids)} in all"]


def _endpoint(outcome: Endpoint) -> str:
    time = " | ".join(outcome.time) or "end of follow-up"
    prevalent = f"; not at risk: {', '.join(outcome.prevalent)}" if outcome.prevalent else ""
    return f"{outcome.id}: {outcome.event} in {', '.join(outcome.happened)}; time {time}{prevalent}"


def _follow_up(layout: CohortLayout) -> str:
    if not layout.outcomes:
        return ""
    clock = layout.clock
    offset = "".join(f"; visit {visit} starts at {column}" for visit, column in clock.offset.items())
    return f"{clock.unit}, censored at {', '.join(clock.censor) or 'the time column'}{offset}"


def expected_text(layout: CohortLayout) -> str:
    """What a complete download holds, in words; empty when the card does not say."""
    expected = layout.expected
    counts = [(expected.recordings, "recordings"), (expected.persons, "persons")]
    text = ", ".join(f"{n} {what}" for n, what in counts if n is not None)
    return ". ".join(part for part in (text, expected.note) if part)
