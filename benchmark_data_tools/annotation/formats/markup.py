"""XML that comes from elsewhere, parsed without what could make it grow."""

from xml.etree import ElementTree

__all__ = ["parse_xml"]


def parse_xml(data: bytes) -> ElementTree.Element:
    """Return the root of an XML document.

    Raises:
        ValueError: It is none, or has entities of its own, which may grow without end.
    """
    if b"<!ENTITY" in data:
        raise ValueError("XML must have no entities of its own, got some: export it anew")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # of unknown encodings, too
        raise ValueError(f"XML must be whole, got an error: {error}") from error
