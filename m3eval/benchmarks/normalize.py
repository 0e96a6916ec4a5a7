"""Normalisations of documents that a benchmark prescribes. `benchmark.text.normalize` names one.

``strip`` takes white space off both ends, as BEIR, MTEB and FlagEmbedding's evaluation package do
after they joined title and text.

``mkqa`` is what FlagEmbedding's MKQA script does to the corpus, and only to the corpus: lower case,
then the punctuation rules that Contriever took over from ChemDataExtractor. Answers are not
normalised, so an answer with a curly apostrophe never matches. That is part of the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

# What characters become -> those characters. Tildes are not replaced.
REPLACEMENTS: Mapping[str, str] = {
    "": "\u0001\u0002\u0003\u0004\u0005\u0006\u0007\u0008\u000e\u000f"  # control characters
    "\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b"
    "\u00ad",  # soft hyphen
    " ": "\u000b\u000c\u0085",  # vertical tab, form feed, next line
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2043"  # hyphens and dashes
    "\u2212\uff0d\u207b",  # minuses
    '"': "\u201c\u201d\u201e\u201f",  # double quotes
    "'": "\u2018\u2019\u201a\u201b\u055a\ua78b\ua78c\uff07"  # single quotes and apostrophes
    "`\u00b4"  # accents standing alone
    "\u2032\u2035",  # primes
    "''": "\u2033\u2036",
    "'''": "\u2034\u2037",
    "''''": "\u2057",
    "...": "\u2026",
    "/": "\u2044\u2215",
}
_TABLE = str.maketrans(
    {character: target for target, characters in REPLACEMENTS.items() for character in characters}
)


def mkqa(text: str) -> str:
    """The text in lower case with plain ASCII punctuation."""
    return text.lower().translate(_TABLE).replace(" . . . ", " ... ")


NORMALIZERS: Mapping[str, Callable[[str], str]] = {"none": str, "strip": str.strip, "mkqa": mkqa}
