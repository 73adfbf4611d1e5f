"""Where values come from: code with its data flow behind it, and connections of that graph to find.

    source     <code> code </s> variable variable ...           one token for each place of a variable, in order
    positions  1, 2, 3, ... for the code; 0 for each variable, which nothing else has
    visible    code sees code; a variable and the code it is written as see each other; a variable sees those its value
               comes from, and itself; <code> and </s> see everything
flow_edges
    edges      a fifth of the variables lose their connections to others: which were there? As many that were not.
flow_alignment
    edges      a fifth of the variables lose their connections to the code: which tokens is each written as?
    metric     average_precision (both)

A variable's token is the first one of its name; the paper's code has the mean of the vectors of the tokens it is
written as. An edge has no direction here: it is scored by a product of two vectors, which is the same both ways.

Method: GraphCodeBERT, Guo et al. 2021, section 4, https://arxiv.org/abs/2009.08366
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from elixir_coder.example import Example
from elixir_coder.tasks.identifiers import encode, encode_all
from elixir_coder.tasks.row import Row, Setup

_SHARE_OF_VARIABLES = 4  # a quarter of the row at most; the paper has 128 for 512 tokens of code


class Graph(NamedTuple):
    """Code and its variables as one sequence. source: the tokens of both. num_code: how many are before the variables.

    comes_from: (_, 2) a variable and one that its value comes from. written_as: (_, 2) a variable and a token of the
    code. All are places in the source.
    """

    source: list[int]
    num_code: int
    comes_from: np.ndarray
    written_as: np.ndarray

    @property
    def positions(self) -> list[int]:
        return [*range(1, self.num_code + 1), *[0] * (len(self.source) - self.num_code)]

    def visible(self, comes_from: np.ndarray, written_as: np.ndarray) -> np.ndarray:
        """(S, S) bool: which token (row) sees which (column), by these connections."""
        visible = np.eye(len(self.source), dtype=bool)
        visible[: self.num_code, : self.num_code] = True
        visible[[0, self.num_code - 1]] = True
        visible[comes_from[:, 0], comes_from[:, 1]] = True
        visible[written_as[:, 0], written_as[:, 1]] = True
        visible[written_as[:, 1], written_as[:, 0]] = True
        return visible


def graph_of(setup: Setup, example: Example, rng: np.random.Generator) -> Graph:
    """As much of the code as there is room for, from anywhere, with the variables that stand in it."""
    special = setup.special
    most = min(len(example.flows), setup.source_length // _SHARE_OF_VARIABLES)
    code = encode(setup, example.code).crop(setup.source_length - 2 - most, rng)
    if not len(code.ids):
        return Graph([special.code, special.eos], 2, _pairs([]), _pairs([]))
    num_code = len(code.ids) + 2
    start, end = code.starts[0], code.ends[-1]
    inside = [at for at, flow in enumerate(example.flows) if start <= flow.start and flow.end <= end][:most]
    place = {at: num_code + number for number, at in enumerate(inside)}

    names = list(dict.fromkeys(example.flows[at].name for at in inside))
    first = {name: ids[0] for name, ids in zip(names, encode_all(setup, names), strict=True)}
    comes_from, written_as = [], []
    for at, node in place.items():
        flow = example.flows[at]
        comes_from += [(node, place[source]) for source in flow.sources if source in place]
        written_as += [(node, 1 + token) for token in range(*code.spanned(flow.start, flow.end))]
    return Graph(
        source=[special.code, *code.ids.tolist(), special.eos, *(first[example.flows[at].name] for at in inside)],
        num_code=num_code,
        comes_from=_pairs(comes_from),
        written_as=_pairs(written_as),
    )


@dataclass(frozen=True)
class FlowEdges:
    """share: of the variables, how many lose their connections."""

    name: ClassVar[str] = "flow_edges"
    metric: ClassVar[str] = "average_precision"
    columns: ClassVar[tuple[str, ...]] = ("code", "flows")

    setup: Setup
    share: float = 0.2

    def accepts(self, example: Example) -> bool:
        return len(example.flows) > 2 and any(flow.sources for flow in example.flows)

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        graph = graph_of(self.setup, example, rng)
        edges = graph.comes_from
        connected = np.unique(edges)  # one without a connection has none to lose
        if not len(connected):
            return None
        taken = _some(connected, self.share, rng)
        masked = np.isin(edges, taken).any(axis=1)

        size = len(graph.source)
        others = np.zeros((size, size), dtype=bool)  # each pair once: the later variable, then the earlier
        others[taken, graph.num_code :] = others[graph.num_code :, taken] = True
        others[edges[:, 0], edges[:, 1]] = others[edges[:, 1], edges[:, 0]] = False
        asked = _balanced(-np.sort(-edges[masked]), np.argwhere(np.tril(others, -1)), rng)
        if not len(asked):
            return None
        visible = graph.visible(edges[~masked], graph.written_as)
        return Row(graph.source, [], graph.positions, visible, edges=asked)


@dataclass(frozen=True)
class FlowAlignment:
    """share: of the variables, how many lose their connections."""

    name: ClassVar[str] = "flow_alignment"
    metric: ClassVar[str] = "average_precision"
    columns: ClassVar[tuple[str, ...]] = ("code", "flows")

    setup: Setup
    share: float = 0.2

    def accepts(self, example: Example) -> bool:
        return bool(example.flows)

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        graph = graph_of(self.setup, example, rng)
        edges, size = graph.written_as, len(graph.source)
        if size == graph.num_code:
            return None
        taken = _some(np.arange(graph.num_code, size), self.share, rng)
        masked = np.isin(edges[:, 0], taken)

        others = np.zeros((size, size), dtype=bool)
        others[taken, 1 : graph.num_code - 1] = True
        others[edges[:, 0], edges[:, 1]] = False
        asked = _balanced(edges[masked], np.argwhere(others), rng)
        if not len(asked):
            return None
        visible = graph.visible(graph.comes_from, edges[~masked])
        return Row(graph.source, [], graph.positions, visible, edges=asked)


def _pairs(found: list[tuple[int, int]]) -> np.ndarray:
    return np.asarray(found, dtype=np.int32).reshape(-1, 2)


def _some(places: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.choice(places, size=max(1, round(share * len(places))), replace=False))


def _balanced(there: np.ndarray, not_there: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(E, 3) int32: as many pairs of either kind, in order, with 1 or 0 behind each."""
    number = min(len(there), len(not_there))
    kinds = []
    for pairs, label in ((there, 1), (not_there, 0)):
        chosen = pairs[np.sort(rng.choice(len(pairs), size=number, replace=False))]
        kinds.append(np.insert(chosen, 2, label, axis=1))
    return np.concatenate(kinds).astype(np.int32)
