"""A command that starts quickly imports less, and what it computes is the same. Each fact in a process of its own."""

import gc
import json
import subprocess
import sys

import pytest

from elixir_coder.generation.generator import DEFAULT_MODEL, Generator
from elixir_coder.generation.quick_start import quick_start, without_collection

PROMPT = "def area(radius) do\n"
HEAVY = {"torch._dynamo", "torch._inductor", "torch.distributed.tensor", "sympy", "scipy.optimize", "accelerate.state"}

WRITE = """
import gc, json, sys
from elixir_coder.generation import quick_start
{change}
with quick_start.quick_start():
    from elixir_coder.generation.generator import Generator
    generator = Generator()
text = generator.generate({prompt!r}, max_new_tokens=12)
found = dict(text=text, heavy=sorted(set(sys.modules) & {heavy}), collects=gc.isenabled())
{then}
print(json.dumps(found))
"""


def written(*, change: str = "", then: str = ""):
    """What a new process found when it had written with the shipped model."""
    program = WRITE.format(change=change, then=then, prompt=PROMPT, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], cwd=DEFAULT_MODEL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def text():
    return Generator().generate(PROMPT, max_new_tokens=12)


def test_nothing_is_imported_that_writing_does_not_take(text):
    assert written() == {"text": text, "heavy": [], "collects": True}


def test_what_was_not_imported_can_be_afterwards():
    found = written(
        then="""
import torch, transformers
found["compiled"] = torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)).item()
found["peer"] = transformers.T5ForConditionalGeneration.__module__
found["other"] = [transformers.models.bart.BartConfig().model_type, transformers.models.MarianConfig().model_type]
found["distributed"] = torch.distributed.is_available()
"""
    )
    assert (found["compiled"], found["distributed"]) == (2.0, True)
    assert (found["peer"], found["other"]) == ("transformers.models.t5.modeling_t5", ["bart", "marian"])


@pytest.mark.parametrize(
    "change",
    [
        "quick_start._DECORATORS = frozenset()",  # transformers asks torch's compiler for more
        "quick_start._NOT_NEEDED = ('is_no_longer_there',)",  # and no longer knows what it did
    ],
)
def test_another_transformers_is_imported_the_ordinary_way(change, text):
    found = written(change=change)
    assert found["text"] == text
    assert "sympy" in found["heavy"]


def test_where_transformers_is_imported_already_nothing_is_replaced():
    import torch.distributed
    import transformers

    before = dict(sys.modules)
    with quick_start():
        assert not gc.isenabled()
        assert torch.distributed.is_available()
        assert {name: sys.modules[name] for name in before if name != "torch._dynamo"} == {
            name: module for name, module in before.items() if name != "torch._dynamo"
        }
    assert gc.isenabled()
    assert sys.modules == before
    assert transformers.models.t5.T5Config().model_type == "t5"


def test_collection_stays_off_where_it_was_off():
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
