"""Compiled by inductor the model computes what it computes otherwise. A minute a case on two cores, so all are slow."""

import pytest
import torch
from transformers import CompileConfig

from tests.test_modeling import SOURCE, TARGET, assert_close, build, pad

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]  # inductor's own warnings, a new set every release


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()


@torch.no_grad()
@pytest.mark.parametrize("variant", ["tiny", "small", "alibi", "base"])
def test_forward_and_generation_with_a_static_cache_are_one_graph(variant):
    model = build(variant)
    source, mask = pad(SOURCE, 3, "left")
    inputs = {"input_ids": source, "attention_mask": mask, "decoder_input_ids": TARGET}
    assert_close(torch.compile(model, fullgraph=True)(**inputs).logits, model(**inputs).logits)

    compiling = CompileConfig(fullgraph=True)
    compiling._compile_all_devices = True  # transformers compiles generation on accelerators only, unless told so
    settings = {"attention_mask": mask, "max_new_tokens": 12, "min_new_tokens": 12}
    written = model.generate(source, **settings, cache_implementation="static", compile_config=compiling)
    assert torch.equal(written, model.generate(source, **settings))


@torch.no_grad()
@pytest.mark.parametrize("variant", ["tiny", "small"])
def test_flex_attention_agrees_with_the_one_written_out(variant):
    source, mask = pad(SOURCE, 5, "right")
    eager, flex = (
        build(variant, attention=each)(input_ids=source, attention_mask=mask, decoder_input_ids=TARGET).logits
        for each in ("eager", "flex_attention")
    )
    assert_close(eager, flex)
