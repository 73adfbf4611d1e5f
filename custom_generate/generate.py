"""`model.generate(..., grammar="elixir")`: a model loaded from here writes Elixir, or says why it cannot.

    model = AutoModelForSeq2SeqLM.from_pretrained(REPOSITORY, trust_remote_code=True)
    model.generate(**source, decoder_input_ids=begun, max_new_tokens=64, grammar="elixir")

With `trust_remote_code=True`, transformers puts `generate` of this file in the place of the model's own. Without
`grammar` it is the model's own: whatever is given goes through untouched, and only torch and transformers are needed.

For another model, given its tokenizer and the place of this repository:

    other.generate(**inputs, custom_generate=REPOSITORY, trust_remote_code=True,
                   tokenizer=tokenizer, grammar="elixir", grammar_code=REPOSITORY)

transformers copies only this file when it loads a model, and finds no sibling above its folder. So the grammar's files
are fetched at the first call that asks for them, from where this file came from. A requirements.txt beside this file
would keep a model from loading where llguidance is not installed, so there is none. `model.save_pretrained` copies the
model's code and not this folder: what it writes knows no `grammar`, and says so.
"""

import functools
import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoTokenizer, GenerationConfig, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import get_class_from_dynamic_module

DEFAULT_BUDGET = 20  # new tokens: what transformers writes when neither the call nor the model says how many
_SETTINGS = frozenset(vars(GenerationConfig()))
_LOOK_AT_SCORES = (
    *("min_p", "epsilon_cutoff", "eta_cutoff", "top_h", "p_less", "renormalize_logits"),
    *("watermarking_config", "output_scores", "assistant_early_exit"),
)


def generate(
    *inputs: Any,
    model: PreTrainedModel,
    grammar: str | None = None,
    grammar_start: str | Sequence[str] = "file",
    grammar_mode: str = "strict",
    grammar_prefix: str | Sequence[str] | None = None,
    grammar_suffix: str | Sequence[str | None] | None = None,
    grammar_code: str | None = None,
    **arguments: Any,
) -> Any:
    """What `model.generate` gives, kept inside Elixir where `grammar` is "elixir".

    grammar_start: what the text is as a whole: "file", "module_body", "function", "expression", "test_file", "pattern"
        or "typespec".
    grammar_mode: "strict" for text that parses; "accept" for all of Elixir and a little more.
    grammar_prefix: code that stands before what is written, and is part of the whole. By default the text of
        `decoder_input_ids`, and nothing for a model that is only a decoder, whose prompt need not be code.
    grammar_suffix: code that stands behind it, for a hole: prefix, what is written and suffix together are Elixir.
    grammar_code: folder or Hub repository with the grammar's files; by default the one that the model was loaded from.
    tokenizer: the model's; by default the one that lies beside it.

    Start, prefix and suffix may be lists with one for each row of the batch. What is written ends within
    max_new_tokens. The rest is passed on. Raises ImportError without llguidance, and ValueError for a grammar, a start
    or a mode that is not there, for a prefix that no Elixir begins with, and for these settings without a grammar.
    """
    if grammar is None:
        if (grammar_start, grammar_mode, grammar_prefix, grammar_suffix) != ("file", "strict", None, None):
            raise ValueError('grammar_start, _mode, _prefix and _suffix do nothing by themselves; add grammar="elixir"')
        return type(model).generate(model, *inputs, **arguments)
    if grammar != "elixir":
        raise ValueError(f'no such grammar: {grammar!r}; there is "elixir", and None for none')
    names = list(inspect.signature(type(model).generate).parameters)[1:]  # without self
    arguments = dict(zip(names, inputs)) | arguments
    processor_class = _processor_class(model, grammar_code)
    tokenizer = arguments.get("tokenizer") or _tokenizer_beside(model)
    config = _settings(model, arguments)
    num_begun, begun = _begun(model, tokenizer, config, arguments)
    processor = processor_class(
        tokenizer,
        start=grammar_start,
        mode=grammar_mode,
        prefix=begun if grammar_prefix is None else grammar_prefix,
        suffix=grammar_suffix,
        max_new_tokens=_budget(model, config, arguments, num_begun),
        prompt_length=None if arguments.get("inputs_embeds") is not None else num_begun,
        eos_token_id=config.eos_token_id,
        do_sample=None if _needs_every_score(model, config, arguments) else bool(config.do_sample),
        num_beams=config.num_beams,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
    )
    arguments["logits_processor"] = LogitsProcessorList([*(arguments.get("logits_processor") or ()), processor])
    return type(model).generate(model, **arguments)


def _processor_class(model: PreTrainedModel, repository: str | None) -> Any:
    """ElixirGrammarProcessor, of this repository alone: another model's folder is not trusted to hold code."""
    if repository is not None:
        return _class_from(repository, None)
    if _came_with_this(model):
        return _class_from(model.name_or_path, _revision(model))
    try:
        from decoding_elixir_coder import ElixirGrammarProcessor
    except ImportError:
        raise ValueError(
            "grammar_code is missing: say from which folder or Hub repository the grammar's files are to be taken "
            "for a model that was not loaded from there"
        ) from None
    return ElixirGrammarProcessor


def _came_with_this(model: PreTrainedModel) -> bool:
    """Whether transformers put this file's `generate` into the model, which it does where its user trusts the code."""
    replaced = vars(model).get("generate")
    return getattr(getattr(replaced, "func", None), "__module__", None) == __name__


def _revision(model: PreTrainedModel) -> str | None:
    """The commit that a model of the Hub was taken from."""
    return getattr(model.config, "_commit_hash", None)


@functools.lru_cache(maxsize=8)
def _class_from(repository: str, revision: str | None) -> Any:
    return get_class_from_dynamic_module("decoding_elixir_coder.ElixirGrammarProcessor", repository, revision=revision)


def _tokenizer_beside(model: PreTrainedModel) -> PreTrainedTokenizerBase:
    try:
        return _tokenizer_of(model.name_or_path, _revision(model), _came_with_this(model))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"there is no tokenizer beside the model ({model.name_or_path!r}); give it as tokenizer=..."
        ) from error


@functools.lru_cache(maxsize=8)  # the grammar is compiled once for each tokenizer object
def _tokenizer_of(repository: str, revision: str | None, is_trusted: bool) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(repository, revision=revision or "main", trust_remote_code=is_trusted)


def _settings(model: PreTrainedModel, arguments: dict[str, Any]) -> GenerationConfig:
    """The settings as transformers puts them together: those of the call, of its generation_config, of the model."""
    given = {name: value for name, value in arguments.items() if name in _SETTINGS}
    return model._prepare_generation_config(arguments.get("generation_config"), **given)[0]


def _needs_every_score(model: PreTrainedModel, config: GenerationConfig, arguments: dict[str, Any]) -> bool:
    """Whether somebody behind the grammar looks at more than the token that will be written."""
    if config.prompt_lookup_num_tokens and getattr(model, "runtime", None) is None:
        return True  # transformers' own drafts; those of the fast runtime are one token after the other
    if arguments.get("assistant_model") is not None or arguments.get("custom_generate") is not None:
        return True
    is_typical = config.typical_p is not None and config.typical_p < 1
    return is_typical or any(getattr(config, name, None) for name in _LOOK_AT_SCORES)


def _begun(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: GenerationConfig, arguments: dict[str, Any]
) -> tuple[int, str | list[str]]:
    """How many tokens each row has before the first new one, and their text: the code begun in the decoder."""
    if not model.config.is_encoder_decoder:
        given = next(arguments[n] for n in ("inputs", "input_ids", "inputs_embeds") if arguments.get(n) is not None)
        return given.shape[1], ""
    ids = arguments.get("decoder_input_ids")
    if ids is None:
        return 1, ""
    is_started = bool((ids[:, 0] == config.decoder_start_token_id).any())  # else transformers puts it before the rows
    special = torch.tensor(tokenizer.all_special_ids, device=ids.device)
    texts = [tokenizer.decode(row[~torch.isin(row, special)], clean_up_tokenization_spaces=False) for row in ids]
    return ids.shape[1] + (not is_started), texts


def _budget(model: PreTrainedModel, config: GenerationConfig, arguments: dict[str, Any], num_begun: int) -> int:
    """How many new tokens transformers will let the model write."""
    if config.max_new_tokens is not None:
        return config.max_new_tokens
    configs = (arguments.get("generation_config"), model.generation_config)
    lengths = [arguments.get("max_length"), *(getattr(each, "max_length", None) for each in configs)]
    if any(length is not None for length in lengths):
        most = config.max_length - num_begun
    else:
        room = getattr(model.config, "max_position_embeddings", None) or math.inf
        most = min(DEFAULT_BUDGET, room - num_begun)
    if most < 1:
        raise ValueError(f"{num_begun} tokens are there, which leaves no room for new ones; set max_new_tokens")
    return most
