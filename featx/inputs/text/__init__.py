"""Texts as a kind of input: where they come from, and how they become tokens for a network."""

from featx.inputs.text.fingerprint import text_contents, text_hashes, text_words
from featx.inputs.text.preparation import PADDING, TextPreparation, Tokenizer
from featx.inputs.text.source import (
    SOURCES,
    TEXT_SUFFIXES,
    FileText,
    LazyText,
    StoredText,
    StringText,
    TextContent,
    as_source,
    is_text_file,
)

__all__ = [
    "PADDING",
    "SOURCES",
    "TEXT_SUFFIXES",
    "FileText",
    "LazyText",
    "StoredText",
    "StringText",
    "TextContent",
    "TextPreparation",
    "Tokenizer",
    "as_source",
    "is_text_file",
    "text_contents",
    "text_hashes",
    "text_words",
]
