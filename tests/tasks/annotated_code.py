"""What the tasks on annotated examples are tested on: a function, what is known of it, and texts of all kinds."""

import re

from hypothesis import strategies as st

from elixir_coder.example import Example, Flow, Triple
from elixir_coder.tasks.row import Setup, SpecialTokens
from tests.evaluation import small

TOKENIZER = small.small_tokenizer()

ADD = """def add(queue, item) do
  back = [item | queue.back]
  Queue.put(queue, :back, back)
end
"""


def setup_of(source_length=256, target_length=256, tokenizer=TOKENIZER):
    return Setup(tokenizer, SpecialTokens.of(tokenizer), source_length, target_length)


def example_of(code, **fields):
    given = {"path": "lib/a.ex", "package": "a", "version": "1", "licence": "MIT", "source": "folder"}
    return Example.of(code, **(given | {"kind": "function"} | fields))


def triple(code, subject, predicate, object, word, number=0):
    """About the place where a word stands for the `number`-th time."""
    start = [match.start() for match in re.finditer(rf"\b{re.escape(word)}\b", code)][number]
    return Triple(subject=subject, predicate=predicate, object=object, start=start, end=start + len(word))


def flows_of(code, *variables):
    """variables: a name, which of its places in the text it is, and the positions of those it comes from."""
    flows = []
    for name, number, *sources in variables:
        start = [match.start() for match in re.finditer(rf"\b{name}\b", code)][number]
        flows.append(Flow(name=name, start=start, end=start + len(name), sources=tuple(sources)))
    return tuple(flows)


ADD_EXAMPLE = example_of(
    ADD,
    name="Shop.Queue.add/2",
    flows=flows_of(
        ADD,
        ("queue", 0),
        ("item", 0),
        ("back", 0, 3, 4),
        ("item", 1, 1),
        ("queue", 1, 0),
        ("queue", 2, 0),
        ("back", 3, 2),
    ),
    triples=(
        triple(ADD, "Shop.Queue.add/2", "calls", "Queue.put/3", "add"),
        triple(ADD, "Shop.Queue.add/2", "is called by", "Shop.Queue.fill/1", "add"),
        triple(ADD, "Queue.put/3", "may answer", "Shop.Queue.Full", "put"),
    ),
    linearized="Shop.Queue.add/2 calls Queue.put/3. Queue.put/3 performs a write.",
)


@st.composite
def annotated_examples(draw):
    """Lines of code in which every word is a variable that comes from any others, and some are known of."""
    words = st.sampled_from(["a", "item", "back", "größe", "total_sum", "x1"])
    lines = draw(st.lists(st.lists(words, min_size=1, max_size=6), min_size=1, max_size=12))
    code = "def run do\n" + "".join(f"  {' + '.join(line)}\n" for line in lines) + "end\n"
    places = [match for match in re.finditer(r"\w+", code) if match[0] not in ("def", "run", "do", "end")]
    numbers = st.lists(st.integers(0, len(places) - 1), max_size=3, unique=True)
    flows = tuple(
        Flow(name=place[0], start=place.start(), end=place.end(), sources=tuple(n for n in draw(numbers) if n != at))
        for at, place in enumerate(places)
    )
    triples = tuple(
        Triple(subject=places[at][0], predicate="calls", object=draw(words), start=flows[at].start, end=flows[at].end)
        for at in draw(numbers)
    )
    text = " ".join(f"{each.subject} {each.predicate} {each.object}." for each in triples)
    return example_of(code, flows=flows, triples=triples, linearized=text)


def same(row, other):
    """Whether two rows are equal in every field."""
    return repr(row) == repr(other) and all(
        (getattr(row, name) is None) == (getattr(other, name) is None)
        and (getattr(row, name) is None or (getattr(row, name) == getattr(other, name)).all())
        for name in ("visible", "tags", "edges")
    )


def check_shape(row, setup):
    """What holds for every row, as the contract of `Row` has it."""
    size = len(row.source)
    assert 0 < size <= setup.source_length and len(row.target) <= setup.target_length
    if row.positions is not None:
        assert len(row.positions) == size and min(row.positions) >= 0 and max(row.positions) < setup.source_length
    if row.visible is not None:
        assert row.visible.shape == (size, size) and row.visible.dtype == bool and row.visible.diagonal().all()
    if row.tags is not None:
        assert row.tags.shape == (size,) and row.tags.dtype == "int8" and set(row.tags.tolist()) <= {1, 0, -100}
    if row.edges is not None:
        assert row.edges.dtype == "int32" and row.edges.shape[1:] == (3,) and len(row.edges) > 0
        assert (row.edges[:, :2] >= 0).all() and (row.edges[:, :2] < size).all()
        assert set(row.edges[:, 2].tolist()) <= {0, 1}
