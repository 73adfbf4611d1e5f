"""The one datum that flows through data, tasks and training: a piece of Elixir, where it came from, and what is known
of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

KINDS = (
    "file",  # a source file as its authors wrote it
    "module",  # one module of a file
    "function",  # all clauses of one function, with its documentation and specifications
    "test_pair",  # code and the ExUnit file about it, in `tests`
    "change",  # a commit: `before`, the message as `instruction`, and `code` after it
    "violation",  # clean code and `before`, the same with a fault written in; both labelled by the real tools
    "exercise",  # written by us, with tests that ran: instruction, code, tests, explanation
    "clarification",  # an instruction that leaves something open, the question to ask, and the program for one answer
    "dialogue",  # an exercise and what is asked of it next, in `turns`
)


@dataclass(frozen=True, kw_only=True)
class Label:
    """One thing that Credo or Sobelow said.

    tool: `credo` or `sobelow`. check: the tool's name of the rule. line: from 1 in the text it is about; 0 for the
    whole of it.
    """

    tool: str
    check: str
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One variable where it stands in `code`, and where its value comes from.

    start, end: characters of `code`, end exclusive. sources: positions in `Example.flows` of the variables it comes
    from. Method: GraphCodeBERT, https://arxiv.org/abs/2009.08366
    """

    name: str
    start: int
    end: int
    sources: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Triple:
    """One statement of the knowledge graph about something in `code`, in words a model reads.

    start, end: the characters of `code` that are the subject, end exclusive; -1 where it is not written there.
    Method: K-BERT, https://arxiv.org/abs/1909.07606
    """

    subject: str
    predicate: str
    object: str
    start: int = -1
    end: int = -1


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One message of a conversation. role: `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True)
class Example:
    """One piece of Elixir with its provenance; what does not apply is empty.

    Where it is from, always there:
    code: the text, UTF-8 decodable. path: POSIX path inside the package. package, version: as the source names them.
    licence: an SPDX-like identifier, or "unknown". sha256: of the UTF-8 bytes of `code`, hexadecimal.
    source: the collector it came through, e.g. "debian", "hex" or "synthesis".

    What it is: kind: one of `KINDS`. name: `Module.function/arity`, or the module; "" for a file. parent: the sha256
    of the file it was taken from. line: where it begins in that file.

    In words: instruction: what is asked for, or the documentation. explanation: what the code does and why.
    tests: ExUnit code that `code` passes. test_type: exunit, doctest, property, liveview, conn or data_case.
    matched: how it was found that the tests are about the code, one of `pairs.WAYS`.
    question, answers: what to ask where the instruction is ambiguous, and the possible answers. turns: a conversation.

    Before and after: before: the code that became `code`, or a faulty twin of it. diagnosis: what is wrong with it.
    injected: the rule that wrote the fault; "" for a natural one.

    Annotation: labels: of `code`; before_labels: of `before`; checked_by: tools that judged both, with their versions,
    e.g. "credo 1.7.12": what such a tool did not name is a negative.
    specs, guards, patterns, callbacks: as written, of `code`. flows: its variables. triples, linearized: what the
    knowledge graph says of it, with places and as a text. difficulty: 1 (plain) to 5; 0 is not judged.
    operations: what an exercise is made of.
    """

    code: str
    path: str
    package: str
    version: str
    licence: str
    sha256: str
    source: str
    kind: str = "file"
    name: str = ""
    parent: str = ""
    line: int = 0
    instruction: str = ""
    explanation: str = ""
    tests: str = ""
    test_type: str = ""
    matched: str = ""
    question: str = ""
    answers: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    before: str = ""
    diagnosis: str = ""
    injected: str = ""
    labels: tuple[Label, ...] = ()
    before_labels: tuple[Label, ...] = ()
    checked_by: tuple[str, ...] = ()
    specs: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    callbacks: tuple[str, ...] = ()
    flows: tuple[Flow, ...] = ()
    triples: tuple[Triple, ...] = ()
    linearized: str = ""
    difficulty: int = 0
    operations: tuple[str, ...] = ()

    @classmethod
    def of(cls, code: str, **fields: Any) -> Example:
        """An example with its checksum worked out from the code."""
        return cls(code=code, sha256=hashlib.sha256(code.encode()).hexdigest(), **fields)
