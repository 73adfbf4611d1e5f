"""What the knowledge graph says of code, to be told from the code alone.

    source  <ontology> code </s>
    target  stop/1 calls GenServer.stop/2
            GenServer.stop/2 causes linked stop </s>
    metric  token_accuracy

One triple a line, as `Example.triples` has them: the most telling of each subject first. A function that stands alone
does not show its module, so that its own module's name is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elixir_coder.example import Example, Triple
from elixir_coder.tasks.identifiers import encode
from elixir_coder.tasks.row import Row, Setup

_MODULE = re.compile(r"(?:[A-Z]\w*\.)+(?=[^A-Z])")


@dataclass(frozen=True)
class Ontology:
    name: ClassVar[str] = "ontology"
    metric: ClassVar[str] = "token_accuracy"
    columns: ClassVar[tuple[str, ...]] = ("code", "kind", "name", "triples")

    setup: Setup

    def accepts(self, example: Example) -> bool:
        return bool(example.triples)

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        setup, special = self.setup, self.setup.special
        code = encode(setup, example.code).between(0, setup.source_length - 2)
        if not len(code.ids):
            return None
        shown = [triple for triple in example.triples if triple.end <= code.ends[-1]]
        module = _MODULE.match(example.name) if example.kind == "function" else None
        lines = [_line(triple, module[0] if module else "") for triple in shown]
        if not lines:
            return None
        target = [*setup.ids("\n".join(dict.fromkeys(lines))), special.eos]
        return Row([special.ontology, *code.ids.tolist(), special.eos], target[: setup.target_length])


def _line(triple: Triple, module: str) -> str:
    """module: with its dot."""
    return f"{_without(triple.subject, module)} {triple.predicate} {_without(triple.object, module)}"


def _without(words: str, module: str) -> str:
    """A function of the module by its own name; one of a module inside it keeps the whole."""
    own = words.removeprefix(module)
    return words if own[:1].isupper() else own
