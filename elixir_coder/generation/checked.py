"""The last word belongs to Elixir: ask its parser about a finished text, and cut back what it refuses.

    checked = last_word("  def a, do: 1\n", toolchain, prefix="defmodule A do\n", grammar=grammar)
    checked.text, checked.is_valid, checked.repair

Strict decoding writes what parses, but the grammar is ours and Elixir is not. So a text that Elixir refuses is cut at
the latest end of a line from which the grammar closes it in a way that Elixir takes. What is wrong stays wrong however
the text goes on, so the place is found by halving: some ten parses of half a millisecond each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from elixir_coder.toolchain.toolchain import Toolchain
from grammar_elixir_coder import frame

if TYPE_CHECKING:
    from decoding_elixir_coder import ElixirGrammar

CLOSING_BUDGET = 512  # tokens that closing may take: as deep as anybody nests, and no limit of the model's


@dataclass(frozen=True)
class Checked:
    """What Elixir takes of a text.

    text: what was written, repaired where that was needed. is_valid: whether Elixir takes it with what stands around
    it; False where even the prefix alone cannot be closed into something that it takes. cut: characters that were
    cut off. closing: what was put in their place. reason: what Elixir said of the text as it was, "" for nothing.
    """

    text: str
    is_valid: bool = True
    cut: int = 0
    closing: str = ""
    reason: str = ""

    @property
    def repair(self) -> str:
        """What was done, in words; "" for nothing."""
        if not self.reason:
            return ""
        if not self.is_valid:
            return f"Elixir refuses it, and no shorter text helps: {self.reason}"
        return f"Elixir refused it ({self.reason}); {self.cut} characters at its end were replaced by {self.closing!r}"


def last_word(
    text: str, toolchain: Toolchain, *, grammar: ElixirGrammar, prefix: str = "", suffix: str = ""
) -> Checked:
    """The text if prefix + text + suffix parses, else as much of it as can be closed into what does.

    grammar: closes what was cut; its entry point says what the three are together. Any vocabulary will do.
    Raises MissingDependencyError when there is no working Elixir.
    """
    before, after = frame(grammar.start)

    def refusal(candidate: str) -> str:
        report = toolchain.parse(before + prefix + candidate + suffix + after)
        return "" if report.ok else " ".join(report.findings[0].message.split())

    reason = refusal(text)
    if not reason:
        return Checked(text)

    def repaired(cut: int) -> Checked | None:
        closing = close(text[:cut], grammar, prefix, suffix)
        if closing is None or refusal(text[:cut] + closing):
            return None
        return Checked(text[:cut] + closing, cut=len(text) - cut, closing=closing, reason=reason)

    cuts = line_ends(text)
    low, high, best = 0, len(cuts) - 1, None
    while low <= high:
        middle = (low + high) // 2
        if found := repaired(cuts[middle]):
            low, best = middle + 1, found
        else:
            high = middle - 1
    # A cut in the middle of a call without its `end` may fail although a later one succeeds: then all are tried.
    best = best or next(filter(None, map(repaired, reversed(cuts))), None)
    return best or Checked(text, is_valid=False, reason=reason)


def close(text: str, grammar: ElixirGrammar, prefix: str = "", suffix: str = "") -> str | None:
    """What ends prefix + text (before the suffix) by the grammar; None where the text has left it."""
    from decoding_elixir_coder import GrammarError

    try:
        matcher = grammar.matcher(prefix + text, suffix or None)
        pieces = grammar.vocabulary.pieces
        return b"".join(pieces[index] for index in matcher.close(CLOSING_BUDGET)).decode()
    except (GrammarError, UnicodeDecodeError):
        return None


def line_ends(text: str) -> list[int]:
    """Where a text may be cut: before all of it, and behind each line that is not blank."""
    cuts, at = [0], 0
    for line in text.splitlines(keepends=True):
        at += len(line)
        if line.strip():
            cuts.append(at)
    return cuts
