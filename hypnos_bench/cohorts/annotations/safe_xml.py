"""XML of scoring programs: read without document types, entities or outside files, and its list of scored events."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

import defusedxml.ElementTree as SafeET
from defusedxml.common import DefusedXmlException

from hypnos_bench.cohorts.annotations.runs import AnnotationError

MAX_XML_BYTES = 8 * 1024 * 1024
"""A night's annotation is well under 1 MiB. Parsing takes a hundred times the bytes: 64 MiB would take 6 GB."""

_OTHER_ROOTS = {"PSGAnnotation": "an NSRR annotation", "CMPStudyConfig": "a Profusion export"}


@dataclass(frozen=True, slots=True)
class ScoredElement:
    """One ``ScoredEvent``: its place in the file, what it is called, and the texts of its children."""

    number: int
    name: str
    fields: Mapping[str, str | None]

    @property
    def where(self) -> str:
        """Where it stands, for messages."""
        return f"ScoredEvent {self.number} ({self.name[:60]!r})"

    def text(self, tag: str) -> str:
        """Text of a child, empty when there is none."""
        return (self.fields.get(tag) or "").strip()

    def seconds(self, tag: str) -> float:
        """Time in a child.

        Raises
        ------
        AnnotationError
            When it is missing, negative or no number.
        """
        try:
            value = float(self.fields.get(tag) or "")
        except ValueError:
            value = math.nan
        if not 0.0 <= value < math.inf:
            raise AnnotationError(f"{self.where}: <{tag}> is {self.text(tag)!r}, expected seconds of at least 0")
        return value


def parse_xml(data: bytes, root_tag: str) -> Element:
    """Root of a scoring file with 30-s epochs.

    Parameters
    ----------
    data : bytes
        The whole file.
    root_tag : str
        What its root element must be.

    Raises
    ------
    AnnotationError
        When it is too large, malformed, holds a document type or entities, is of another kind, or has other epochs.
    """
    if len(data) > MAX_XML_BYTES:
        raise AnnotationError(f"{len(data)} bytes of XML, above the limit of {MAX_XML_BYTES}")
    try:
        root = _tree(data)
    except DefusedXmlException as error:
        raise AnnotationError(f"refused XML with a document type or entities ({type(error).__name__})") from error
    except (ParseError, ValueError, LookupError) as error:  # the last two: an encoding that is unknown or a lie
        raise AnnotationError(f"malformed XML: {error}") from error
    if root.tag != root_tag:
        other = f", {_OTHER_ROOTS[root.tag]}" if root.tag in _OTHER_ROOTS else ""
        raise AnnotationError(f"the root element is <{root.tag}>{other}, expected <{root_tag}>")
    epoch_length = (root.findtext("EpochLength") or "30").strip()
    if epoch_length not in ("30", "30.0"):
        raise AnnotationError(f"<EpochLength> is {epoch_length!r}: only 30-s epochs are read")
    return root


def scored_events(root: Element, name_tag: str) -> Iterator[ScoredElement]:
    """Scored events in file order; the words before a ``|`` in `name_tag` are what an event is called."""
    for number, element in enumerate(root.iterfind("./ScoredEvents/ScoredEvent"), start=1):
        fields = {child.tag: child.text for child in element}
        yield ScoredElement(number, (fields.get(name_tag) or "").partition("|")[0].strip(), fields)


def _tree(data: bytes) -> Element:
    builder = TreeBuilder()
    parser = SafeET.XMLParser(target=builder, forbid_dtd=True)
    # The refusals of defusedxml are handlers of the same expat parser and stay. Elements go straight to the
    # builder, which is compiled: through the parser's Python methods a file takes twice the time.
    expat = parser.parser
    expat.ordered_attributes = False
    expat.StartElementHandler = builder.start
    expat.EndElementHandler = builder.end
    expat.CharacterDataHandler = builder.data
    parser.feed(data)
    root: Element = parser.close()
    return root
