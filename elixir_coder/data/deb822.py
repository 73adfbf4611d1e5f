"""Debian's control-file format (deb822(5)): package indices, apt's source lists, debian/copyright."""

from __future__ import annotations

import re


def parse_deb822(text: str) -> list[dict[str, str]]:
    """The paragraphs of a Debian control file, field names in lower case, continuation lines joined by newlines."""
    paragraphs: list[dict[str, str]] = []
    for block in re.split(r"\n(?:[ \t]*\n)+", text.replace("\r\n", "\n")):
        fields: dict[str, str] = {}
        name = ""
        for line in block.split("\n"):
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and name:
                fields[name] += "\n" + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields:
            paragraphs.append(fields)
    return paragraphs
