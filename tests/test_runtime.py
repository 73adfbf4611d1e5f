"""The fast runtime against the plain model: the same numbers for every form of it, however they are asked for."""

import os
import threading
from contextlib import contextmanager

import pytest
import torch
from transformers.utils import logging

import kernels_elixir_coder as kernels
from configuration_elixir_coder import ElixirCoderConfig
from modeling_elixir_coder import ElixirCoderForConditionalGeneration
from runtime_elixir_coder import RUNTIME_DTYPES, FastLinear, accelerate

pytestmark = pytest.mark.compiler
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SIZES = {
    "vocab_size": 301,
    "d_model": 72,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 6,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 100,
    "decoder_ffn_dim": 100,
    "max_position_embeddings": 256,
}
FORMS = {
    "sinusoidal": {},
    "llama": {
        "norm_type": "rmsnorm",
        "gated_ffn": True,
        "use_bias": False,
        "position_embedding_type": "rotary",
        "num_key_value_heads": 2,
        "cross_attention_gate": True,
        "activation_function": "swish",
    },
    "t5": {
        "norm_type": "rmsnorm",
        "gated_ffn": True,
        "use_bias": False,
        "position_embedding_type": "relative",
        "activation_function": "gelu_new",
    },
    "alibi, post-norm": {
        "position_embedding_type": "alibi",
        "norm_position": "post",
        "layernorm_embedding": True,
        "lm_head_bias": True,
        "activation_function": "relu",
        "tie_word_embeddings": False,
    },
    "learned, odd heads": {"position_embedding_type": "learned", "scale_embedding": True, "head_dim": 20},
    "several heads": {"separate_decoder_heads": ("explanation",), "norm_type": "rmsnorm"},
}


def model_of(form: str, dtype: str | None = None, **settings) -> ElixirCoderForConditionalGeneration:
    """The same random weights for every dtype, with something in each bias, norm and gate."""
    torch.manual_seed(0)
    model = ElixirCoderForConditionalGeneration(ElixirCoderConfig(**SIZES | FORMS[form] | settings)).eval()
    for parameter in model.parameters():
        parameter.data = parameter + 0.1 * torch.randn_like(parameter) if parameter.dim() < 2 else 3 * parameter
    if dtype is not None:
        assert accelerate(model, dtype) is None
    return model


@pytest.fixture(scope="module")
def texts():
    generator = torch.Generator().manual_seed(1)
    source = torch.randint(3, 301, (2, 40), generator=generator)
    mask = torch.ones_like(source)
    mask[1, 30:] = 0
    return source, mask, torch.randint(3, 301, (2, 20), generator=generator)


def stepwise(model, texts, sizes=(12, 1, 1, 1, 5)) -> torch.Tensor:
    """Logits of both targets, written together in passes of these sizes."""
    source, mask, target = texts
    state = model.runtime.state(model.runtime.read(source, mask), capacity=1)
    parts, begin = [], 0
    for size in sizes:
        part = state.step([row[begin : begin + size].tolist() for row in target], keep_all=True)
        parts.append(part.clone().view(len(target), size, -1))
        begin += size
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2), ("int8", 6e-2)])
@pytest.mark.parametrize("form", FORMS)
def test_logits_are_those_of_the_plain_model(form, dtype, tolerance, texts):
    source, mask, target = texts
    with torch.inference_mode():
        plain = model_of(form)(input_ids=source, attention_mask=mask, decoder_input_ids=target).logits
        fast = model_of(form, dtype)
        forward = fast(input_ids=source, attention_mask=mask, decoder_input_ids=target).logits
    written = stepwise(fast, texts)
    size = plain.abs().max()
    assert (forward - plain).abs().max() <= tolerance * size
    assert (written - plain[:, : written.shape[1]]).abs().max() <= tolerance * size


@pytest.mark.parametrize("dtype", RUNTIME_DTYPES)
@pytest.mark.parametrize("form", ["sinusoidal", "llama", "t5"])
def test_numbers_do_not_depend_on_what_else_is_in_a_pass(form, dtype, texts):
    source, mask, target = texts
    model = model_of(form, dtype)
    expected = stepwise(model, texts)
    assert torch.equal(stepwise(model, texts, (20,)), expected)
    assert torch.equal(stepwise(model, texts, (1,) * 20), expected)
    torch.set_num_threads(2)
    try:
        assert torch.equal(stepwise(model, texts, (3, 17)), expected)
    finally:
        torch.set_num_threads(1)
    alone = model.runtime.state(model.runtime.read(source, mask)[1:])
    assert torch.equal(alone.step([target[1].tolist()], keep_all=True), expected[1])


def test_a_step_in_the_background_gives_the_same(texts):
    model = model_of("llama", "int8")
    source, mask, target = texts
    state = model.runtime.state(model.runtime.read(source, mask))
    for begin in range(0, 20, 5):
        tokens = [row[begin : begin + 5].tolist() for row in target]
        state.begin(tokens, keep_all=True)
        parts = state.finish().view(2, 5, -1)
        assert torch.equal(parts, stepwise(model, texts, (20,))[:, begin : begin + 5])


def test_rows_grow_shrink_and_move(texts):
    model = model_of("llama", "float32")
    source, mask, target = texts
    expected = stepwise(model, texts)
    state = model.runtime.state(model.runtime.read(source, mask), capacity=4)
    state.step([target[0, :9].tolist(), target[1, :4].tolist()])
    state.truncate(0, 6)
    state.reorder([1, 0, 0, 1, 1])
    assert state.lengths == [4, 6, 6, 4, 4]
    tokens = [target[1, 4:8].tolist(), [], target[0, 6:9].tolist(), [7, 8], []]
    written = state.step(tokens, keep_all=True).clone()
    assert torch.equal(written[:4], expected[1, 4:8])
    assert torch.equal(written[4:7], expected[0, 6:9])
    state.reorder([2, 1])
    again = state.step([target[0, 9:10].tolist(), target[0, 6:9].tolist()])
    assert torch.equal(again, torch.stack([expected[0, 9], expected[0, 8]]))


def test_a_task_has_its_own_head(texts):
    source, _, target = texts
    model = model_of("several heads", "float32")
    with torch.inference_mode():
        expected = model(input_ids=source, decoder_input_ids=target, decoder_head="explanation").logits
    state = model.runtime.state(model.runtime.read(source), head="explanation")
    written = state.step([row.tolist() for row in target], keep_all=True).view(2, 20, -1)
    assert (written - expected).abs().max() <= 1e-6 * expected.abs().max()
    with pytest.raises(ValueError, match=r"no decoder head called 'nothing'.*explanation"):
        model.runtime.state(model.runtime.read(source), head="nothing")


class TestReading:
    def test_a_text_is_encoded_once_whatever_its_padding(self, texts):
        source, mask, _ = texts
        model = model_of("t5", "int8")
        rows = []
        model.get_encoder().register_forward_hook(
            lambda module, args, kwargs, output: rows.append(len(output.last_hidden_state)), with_kwargs=True
        )
        first = model.runtime.read(source, mask)
        left = torch.cat([source[1, 30:], source[1, :30]])[None], torch.cat([mask[1, 30:], mask[1, :30]])[None]
        again = model.runtime.read(*left)
        other = model.runtime.read(torch.cat([source[:1], source[:1] + 0, source[:1].flip(1)]))
        assert rows == [2, 1]
        assert again == [first[1]] and other[:2] == [first[0]] * 2
        assert torch.equal(model.runtime.states(again, left[1])[0, 10:], first[1].states)

    def test_memory_is_bounded_and_the_oldest_goes_first(self, texts):
        source, mask, _ = texts
        model = model_of("t5", "int8")
        model.runtime.source_bytes = 2 * model.runtime.read(source, mask)[0].nbytes
        model.runtime.read(source[:1])  # used again, so the other one is the oldest
        model.runtime.read(source[:1].flip(1))
        kept = list(model.runtime._sources.values())
        assert sum(each.nbytes for each in kept) <= model.runtime.source_bytes
        assert kept[0] is model.runtime.read(source[:1])[0]
        model.runtime.forget()
        assert not model.runtime._sources

    def test_nothing_is_kept_when_told_so(self, texts):
        model = model_of("t5", "int8")
        model.runtime.source_bytes = 0
        assert model.runtime.read(texts[0])[0] is not model.runtime.read(texts[0])[0]


@pytest.fixture(scope="module")
def state():
    model = model_of("t5", "int8")
    return model.runtime.state(model.runtime.read(torch.tensor([[5, 6]])))


class TestBadInput:
    @pytest.mark.parametrize(
        ("tokens", "message"),
        [
            ([[301]], "token 301 is not in the vocabulary of 301"),
            ([[-1]], "token -1 is not in the vocabulary"),
            ([[]], "no row got a token"),
            ([[1], [2]], "there are 1 rows, got tokens for 2"),
            ([[1] * 257], "257 tokens, more than max_position_embeddings=256"),
        ],
    )
    def test_tokens(self, state, tokens, message):
        with pytest.raises(ValueError, match=message):
            state.step(tokens)
        assert state.lengths == [0]

    def test_truncation(self, state):
        with pytest.raises(ValueError, match="row 0 has 0 tokens, of which 3 cannot be kept"):
            state.truncate(0, 3)


class TestProcesses:
    def test_several_threads_at_once(self, texts):
        model = model_of("llama", "int8")
        expected = stepwise(model, texts)
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(stepwise(model, texts, (1,) * 20))) for _ in range(4)]
        torch.set_num_threads(2)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            torch.set_num_threads(1)
        assert len(answers) == 4 and all(torch.equal(answer, expected) for answer in answers)

    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_a_child_of_a_fork_has_its_own_threads(self, texts):
        model = model_of("t5", "int8")
        source, mask, target = texts
        torch.set_num_threads(2)
        try:
            state = model.runtime.state(model.runtime.read(source, mask))
            expected = state.step([row.tolist() for row in target]).clone()
            child = os.fork()
            if child == 0:
                other = model.runtime.state(model.runtime.read(source, mask))
                os._exit(0 if torch.equal(other.step([row.tolist() for row in target]), expected) else 1)
            assert os.waitpid(child, 0)[1] == 0
        finally:
            torch.set_num_threads(1)


@contextmanager
def warnings_of_transformers():
    """Let pytest's caplog see them: they do not go up to the root by themselves."""
    logging.enable_propagation()
    try:
        yield
    finally:
        logging.disable_propagation()


@pytest.fixture(scope="module")
def plain():
    return ElixirCoderForConditionalGeneration.from_pretrained(ROOT, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def fast():
    return ElixirCoderForConditionalGeneration.from_pretrained(ROOT, runtime="fast", runtime_dtype="float32")


class TestLoading:
    @pytest.mark.parametrize(
        "settings",
        [
            {"num_beams": 4},
            {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.5},
            {"num_beams": 1, "output_scores": True},
            {"prompt_lookup_num_tokens": 4, "num_beams": 1},
        ],
        ids=str,
    )
    def test_the_loops_of_transformers_write_the_same(self, plain, fast, settings):
        source = torch.randint(100, 9000, (1, 30), generator=torch.Generator().manual_seed(2))
        settings = settings | {"do_sample": False, "max_new_tokens": 20, "return_dict_in_generate": True}
        written = [model.generate(source, **settings).sequences for model in (plain, fast)]
        assert torch.equal(*written)

    def test_left_padded_beginnings(self, plain, fast):
        source = torch.randint(100, 9000, (2, 30), generator=torch.Generator().manual_seed(3))
        begun = torch.randint(100, 9000, (2, 6), generator=torch.Generator().manual_seed(4))
        begun[0, 0] = begun[1, 3] = 1
        begun[1, :3] = 0
        mask = torch.ones_like(begun)
        mask[1, :3] = 0
        for settings in ({"num_beams": 3}, {}):
            given = {"decoder_input_ids": begun, "decoder_attention_mask": mask, "max_new_tokens": 12, **settings}
            assert torch.equal(*(model.generate(source, do_sample=False, **given) for model in (plain, fast)))

    def test_every_linear_layer_is_packed_and_none_is_kept(self, fast):
        kinds = [type(module) for module in fast.modules() if "Linear" in type(module).__name__]
        assert set(kinds) == {FastLinear}

    def test_the_plain_model_takes_what_only_the_fast_one_uses(self, plain, fast):
        source = torch.randint(100, 9000, (1, 30), generator=torch.Generator().manual_seed(5))
        hints = {"prediction": [5, 6, 7], "prompt_lookup_num_tokens": 0}
        written = [model.generate(source, do_sample=False, max_new_tokens=6, **hints) for model in (plain, fast)]
        assert torch.equal(*written)

    def test_a_table_in_bfloat16_stays_one(self, plain, fast):
        assert fast.get_input_embeddings().weight.dtype == torch.bfloat16 and fast.dtype == torch.float32
        ids = torch.tensor([[5, 6, 7]])
        assert torch.equal(fast.get_input_embeddings()(ids), plain.get_input_embeddings()(ids))
        inexact = model_of("t5", "int8")
        assert inexact.get_input_embeddings().weight.dtype == torch.float32

    def test_it_stays_where_it_is(self, fast):
        assert fast.to("cpu").float() is fast
        for move in (lambda: fast.to(torch.bfloat16), lambda: fast.to("meta"), fast.half):
            with pytest.raises(ValueError, match="stays float32 on the CPU"):
                move()
        assert fast.generate(torch.tensor([[5, 6]]), max_new_tokens=3).shape[1] == 4

    def test_it_is_not_saved(self, fast, tmp_path):
        with pytest.raises(ValueError, match="packed weights"):
            fast.save_pretrained(tmp_path)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"runtime": "quick"}, "runtime must be"),
            ({"runtime": "fast", "runtime_dtype": "int3"}, "runtime_dtype must"),
        ],
    )
    def test_unknown_settings(self, settings, message):
        with pytest.raises(ValueError, match=message):
            ElixirCoderForConditionalGeneration.from_pretrained(ROOT, **settings)

    @pytest.mark.parametrize(
        ("settings", "reason"),
        [
            ({"dtype": torch.bfloat16}, "computes in float32, not in torch.bfloat16"),
            ({"device_map": "meta"}, "computes on the CPU, not on meta"),
        ],
    )
    def test_elsewhere_it_is_plain_and_says_so(self, settings, reason, caplog):
        with warnings_of_transformers():
            model = ElixirCoderForConditionalGeneration.from_pretrained(ROOT, runtime="fast", **settings)
        assert model.runtime is None and reason in caplog.text and "runs in PyTorch instead" in caplog.text

    def test_without_a_compiler_it_is_plain_and_says_so(self, caplog, monkeypatch):
        monkeypatch.setenv("CC", "no-such-compiler")
        kernels.library.cache_clear()
        with warnings_of_transformers():
            model = ElixirCoderForConditionalGeneration.from_pretrained(ROOT, runtime="fast")
        kernels.library.cache_clear()
        assert model.runtime is None and "no C compiler" in caplog.text
        assert model.generate(torch.tensor([[5, 6]]), max_new_tokens=3).shape[1] == 4
