"""Do the runtimes that we export to compute what PyTorch computes, and how fast do they write?

    python benchmarks/bench_runtimes.py --data corpus --llama_cpp DIR [--exports DIR]

Each runtime reads files of the corpus's test split that the model never saw: the first 256 tokens are the source, the
next 64 are given to the decoder one by one. Against PyTorch in float32 the table gives the largest difference of the
logits over the largest logit, the share of places with the same most probable token, and how many of the texts that
both then write greedily, 128 tokens each, are the same to the last token. Then speed: tokens per second of such a text,
end to end with the encoder, batch 1, all runtimes in turn; a ratio is that of one round, and what is printed is the
median of the rounds after a warm-up with the lowest and the highest.

llama.cpp comes with the npm package `@node-llama-cpp/linux-x64`, compiled by its authors:

    npm pack @node-llama-cpp/linux-x64 && tar xzf node-llama-cpp-*.tgz          -> --llama_cpp package/bins/linux-x64

Its tokenizer is compared with ours on every line of the test split. It runs twice on float32 weights: as it comes, and
"exact", without flash attention and with a float32 cache; what is left then is its table of gelu in 16 bits. Without
--llama_cpp the table has no such rows. --exports keeps what is exported; a folder that is there is used.

The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import OnnxGraphs

sys.path.insert(0, str(Path(__file__).parents[1]))
from elixir_coder.checkpoint import load_model, load_tokenizer
from elixir_coder.data.shards import read_shards
from elixir_coder.errors import InputError, exit_on_error
from elixir_coder.release import ctranslate, gguf_export, onnx_export
from tokenization_elixir_coder import encode_untrusted

ROOT = Path(__file__).parents[1]
NUM_SOURCE, NUM_FORCED, NUM_WRITTEN = 256, 64, 128
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Runtime(ABC):
    """One way to run the model. Sources end with </s>; targets begin with <s>; nobody writes </s>."""

    @abstractmethod
    def logits(self, source: list[int], target: list[int]) -> np.ndarray:
        """(target, vocabulary), given one token after the other where there is a choice."""

    @abstractmethod
    def write(self, source: list[int], num_tokens: int) -> list[int]:
        """The most probable tokens after <s>, </s> left out of the choice."""


class Steps(Runtime):
    """A runtime that is asked for one step at a time."""

    start, end = 1, 2

    @abstractmethod
    def read(self, source: list[int]) -> None: ...

    @abstractmethod
    def step(self, token: int) -> np.ndarray:
        """The logits (vocabulary,) after one more token."""

    def logits(self, source: list[int], target: list[int]) -> np.ndarray:
        self.read(source)
        return np.stack([self.step(token).copy() for token in target])

    def write(self, source: list[int], num_tokens: int) -> list[int]:
        self.read(source)
        token, written = self.start, []
        for _ in range(num_tokens):
            logits = self.step(token).copy()
            logits[self.end] = -np.inf
            written.append(token := int(logits.argmax()))
        return written


class PyTorch(Runtime):
    def __init__(self, model: Any):
        self.model = model

    @torch.no_grad()
    def logits(self, source: list[int], target: list[int]) -> np.ndarray:
        return self.model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target])).logits[0].numpy()

    def write(self, source: list[int], num_tokens: int) -> list[int]:
        ids = torch.tensor([source])
        written = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=num_tokens,
            min_new_tokens=num_tokens,
            suppress_tokens=None,
        )
        return written[0, 1:].tolist()


class OnnxRuntime(OnnxGraphs, Steps):
    def __init__(self, folder: Path, threads: int):
        super().__init__(folder, threads)
        self.empty = {name: np.zeros((1, *shape), dtype=np.float32) for name, shape in self.shapes.items()}

    def read(self, source: list[int]) -> None:
        ids = np.array([source])
        found = dict(zip(self.outputs, self.encoder.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})))
        del found["last_hidden_state"]
        self.state = found | self.empty | {"encoder_attention_mask": np.ones_like(ids)}

    def step(self, token: int) -> np.ndarray:
        logits, *present = self.decoder.run(None, self.state | {"input_ids": np.array([[token]])})
        self.state |= dict(zip(self.pasts, present))
        return logits[0, -1]


class CTranslate2(Runtime):
    def __init__(self, folder: Path, dtype: str, threads: int, texts: Callable[[list[int]], list[str]]):
        import ctranslate2

        self.translator = ctranslate2.Translator(
            str(folder), compute_type=dtype, inter_threads=1, intra_threads=threads
        )
        self.texts = texts
        vocabulary = json.loads((folder / "shared_vocabulary.json").read_text(encoding="utf-8"))
        self.ids = {text: index for index, text in enumerate(vocabulary)}

    def logits(self, source: list[int], target: list[int]) -> np.ndarray:
        (result,) = self.translator.translate_batch(
            [self.texts(source)],
            target_prefix=[self.texts(target[1:])],
            beam_size=1,
            min_decoding_length=0,
            max_decoding_length=len(target),
            return_logits_vocab=True,  # of the given tokens too
        )
        return np.stack([np.array(step).reshape(-1) for step in result.logits[0]])

    def write(self, source: list[int], num_tokens: int) -> list[int]:
        (result,) = self.translator.translate_batch(
            [self.texts(source)],
            beam_size=1,
            min_decoding_length=num_tokens,
            max_decoding_length=num_tokens,
        )
        return [self.ids[text] for text in result.hypotheses[0]]


# ---------------------------------------------------------------------------------------------- llama.cpp, by its C API


class _ModelParams(ctypes.Structure):
    _fields_ = [("all", ctypes.c_ubyte * 1024)]  # used as they come; longer than they are does no harm, by the C ABI


class _ContextParams(ctypes.Structure):
    """As far as we change it; the rest is carried along as it comes."""

    _fields_ = [
        *((name, ctypes.c_uint32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq")),
        *((name, ctypes.c_uint32) for name in ("n_outputs_max", "n_outputs_max_per_seq")),
        *((name, ctypes.c_int32) for name in ("n_threads", "n_threads_batch", "ctx_type")),
        *((name, ctypes.c_int32) for name in ("rope_scaling_type", "pooling_type", "attention_type")),
        ("flash_attn_type", ctypes.c_int32),
        ("rope", ctypes.c_float * 8),
        ("cb_eval", ctypes.c_void_p),
        ("cb_eval_user_data", ctypes.c_void_p),
        ("type_k", ctypes.c_int32),
        ("type_v", ctypes.c_int32),
        ("rest", ctypes.c_ubyte * 912),
    ]


class _Batch(ctypes.Structure):
    _fields_ = [("num_tokens", ctypes.c_int32), ("pointers", ctypes.c_void_p * 6)]


_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_IDS = ctypes.POINTER(ctypes.c_int32)
_ANY = ctypes.c_void_p
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "llama_backend_init": (None, []),
    "llama_log_set": (None, [_LOG, _ANY]),
    "llama_version": (ctypes.c_char_p, []),
    "llama_model_default_params": (_ModelParams, []),
    "llama_context_default_params": (_ContextParams, []),
    "llama_model_load_from_file": (_ANY, [ctypes.c_char_p, _ModelParams]),
    "llama_init_from_model": (_ANY, [_ANY, _ContextParams]),
    "llama_n_ctx": (ctypes.c_uint32, [_ANY]),
    "llama_set_n_threads": (None, [_ANY, ctypes.c_int32, ctypes.c_int32]),
    "llama_model_get_vocab": (_ANY, [_ANY]),
    "llama_vocab_n_tokens": (ctypes.c_int32, [_ANY]),
    "llama_model_decoder_start_token": (ctypes.c_int32, [_ANY]),
    "llama_tokenize": (
        ctypes.c_int32,
        [_ANY, ctypes.c_char_p, ctypes.c_int32, _IDS, ctypes.c_int32, ctypes.c_bool, ctypes.c_bool],
    ),
    "llama_batch_get_one": (_Batch, [_IDS, ctypes.c_int32]),
    "llama_encode": (ctypes.c_int32, [_ANY, _Batch]),
    "llama_decode": (ctypes.c_int32, [_ANY, _Batch]),
    "llama_get_logits_ith": (ctypes.POINTER(ctypes.c_float), [_ANY, ctypes.c_int32]),
    "llama_get_memory": (_ANY, [_ANY]),
    "llama_memory_clear": (None, [_ANY, ctypes.c_bool]),
}


class LlamaLibrary:
    """llama.cpp's shared libraries in one folder. Raises InputError when they are not there or not as expected."""

    def __init__(self, folder: Path):
        paths = {}
        for name in ("ggml-base", "ggml", "llama"):
            found = [path for path in folder.glob(f"lib{name}.*") if ".so" in path.name]
            if not found:
                raise InputError(f"--llama_cpp {folder} has no lib{name}.so; see the top of {Path(__file__).name}")
            paths[name] = sorted(found)[0]
        libraries = {name: ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL) for name, path in paths.items()}
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(libraries["llama"], name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name.removeprefix("llama_"), function)
        self.silence = _LOG(lambda level, text, data: None)
        self.log_set(self.silence, None)
        libraries["ggml"].ggml_backend_load_all_from_path(str(folder).encode())
        self.backend_init()
        default = self.context_default_params()
        found_defaults = [
            getattr(default, name) for name in ("n_ctx", "n_batch", "flash_attn_type", "type_k", "type_v")
        ]
        if found_defaults != [512, 2048, -1, 1, 1]:
            raise InputError(
                f"llama.cpp {self.version().decode()} lays out its settings otherwise than version 0.5.0, for which "
                f"this was written: {found_defaults}; take it from @node-llama-cpp/linux-x64@3.22.1"
            )


class LlamaCpp(Steps):
    def __init__(self, library: LlamaLibrary, file: Path, threads: int, is_exact: bool = False):
        self.library = library
        self.model = library.model_load_from_file(str(file).encode(), library.model_default_params())
        if not self.model:
            raise InputError(f"llama.cpp cannot load {file}")
        settings = library.context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = 4096
        if is_exact:
            settings.flash_attn_type = 0  # with it, the keys and values of cross-attention are rounded to 16 bits
            settings.type_k = settings.type_v = 0  # float32
        self.context = library.init_from_model(self.model, settings)
        assert library.n_ctx(self.context) == 4096
        library.set_n_threads(self.context, threads, threads)
        self.vocabulary = library.model_get_vocab(self.model)
        self.num_tokens = library.vocab_n_tokens(self.vocabulary)
        self.start = library.model_decoder_start_token(self.model)

    def tokenize(self, text: str) -> list[int]:
        data = text.encode()
        ids = (ctypes.c_int32 * (len(data) + 2))()
        count = self.library.tokenize(self.vocabulary, data, len(data), ids, len(ids), True, False)
        return list(ids[:count])

    def read(self, source: list[int]) -> None:
        self.library.memory_clear(self.library.get_memory(self.context), True)
        self._run(self.library.encode, source)

    def step(self, token: int) -> np.ndarray:
        self._run(self.library.decode, [token])
        return np.ctypeslib.as_array(self.library.get_logits_ith(self.context, -1), (self.num_tokens,))

    def _run(self, function: Any, ids: list[int]) -> None:
        array = (ctypes.c_int32 * len(ids))(*ids)
        if status := function(self.context, self.library.batch_get_one(array, len(ids))):
            raise InputError(f"llama.cpp failed with status {status}")


# --------------------------------------------------------------------------------------------------------- measurements


def runtimes(args: argparse.Namespace, exports: Path) -> dict[str, Runtime]:
    """All that can be run here, PyTorch first."""
    tokenizer = load_tokenizer(args.model)
    found: dict[str, Runtime] = {"PyTorch float32": PyTorch(load_model(args.model, tokenizer=tokenizer))}
    if args.llama_cpp:
        library = LlamaLibrary(args.llama_cpp)
        print(f"llama.cpp {library.version().decode()}")
        for dtype in ("f32", "f16", "q8_0"):
            file = exports / f"model-{dtype}.gguf"
            if not file.exists():
                gguf_export.export(args.model, exports, dtype)
            found[f"llama.cpp {dtype}"] = LlamaCpp(library, file, args.threads)
            if dtype == "f32":
                found["llama.cpp f32, exact"] = LlamaCpp(library, file, args.threads, is_exact=True)
    else:
        print("without llama.cpp: --llama_cpp names no folder of its libraries")
    for dtype in ("float32", "int8"):
        folder = exports / f"ctranslate2-{dtype}"
        if not folder.exists():
            ctranslate.export(args.model, folder, dtype)
        found[f"CTranslate2 {dtype}"] = CTranslate2(folder, dtype, args.threads, tokenizer.convert_ids_to_tokens)
        folder = exports / f"onnx-{dtype}"
        if not folder.exists():
            onnx_export.export(args.model, folder, dtype)
        found[f"ONNX Runtime {dtype}"] = OnnxRuntime(folder, args.threads)
    return found


def prompts(texts: list[str], tokenizer: Any, num_prompts: int) -> list[tuple[list[int], list[int]]]:
    """Sources and targets of the first files that are long enough, laid out as in tasks/complete.py."""
    code, found = tokenizer.convert_tokens_to_ids("<code>"), []
    for text in texts:
        ids = encode_untrusted(tokenizer, text)
        cut = NUM_SOURCE - 2
        if len(ids) >= cut + NUM_FORCED:
            source = [code, *ids[:cut], tokenizer.eos_token_id]
            found.append((source, [tokenizer.bos_token_id, *ids[cut : cut + NUM_FORCED - 1]]))
        if len(found) == num_prompts:
            return found
    raise InputError(
        f"--data has {len(found)} test files of {cut + NUM_FORCED} tokens, --prompts asks for {num_prompts}"
    )


def answers(runtime: Runtime, pairs: list[tuple[list[int], list[int]]]) -> list[tuple[np.ndarray, list[int]]]:
    """The logits of each target, and what is written after each source."""
    return [(runtime.logits(source, target), runtime.write(source, NUM_WRITTEN)) for source, target in pairs]


def compare(reference: list[tuple[np.ndarray, list[int]]], other: list[tuple[np.ndarray, list[int]]]) -> dict[str, Any]:
    logits = [(ours, theirs) for (ours, _), (theirs, _) in zip(reference, other)]
    return {
        "difference": max(float(np.abs(theirs - ours).max() / np.abs(ours).max()) for ours, theirs in logits),
        "same": sum(int((theirs.argmax(-1) == ours.argmax(-1)).sum()) for ours, theirs in logits),
        "places": sum(len(ours) for ours, _ in logits),
        "texts": sum(ours == theirs for (_, ours), (_, theirs) in zip(reference, other)),
        "of": len(reference),
    }


def compare_tokenizers(llama: LlamaCpp, tokenizer: Any, texts: list[str]) -> dict[str, int]:
    lines = [line for text in texts for line in text.splitlines()]
    differ = [
        line for line in lines if llama.tokenize(line) != [*encode_untrusted(tokenizer, line), tokenizer.eos_token_id]
    ]
    for line in differ[:5]:
        print(f"  cut otherwise: {line!r}")
    return {"lines": len(lines), "differ": len(differ)}


def speeds(found: dict[str, Runtime], source: list[int], rounds: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Tokens per second, and that over PyTorch's of the same round, as [lowest, median, highest]."""
    measured: dict[str, list[float]] = {name: [] for name in found}
    for turn in range(rounds + 1):
        for name, runtime in found.items():
            started = clock()
            written = runtime.write(source, NUM_WRITTEN)
            assert len(written) == NUM_WRITTEN
            if turn:  # the first is the warm-up
                measured[name].append(NUM_WRITTEN / (clock() - started))
    base = measured["PyTorch float32"]
    return {
        name: {"tokens_per_second": _spread(values), "ratio": _spread([a / b for a, b in zip(values, base)])}
        for name, values in measured.items()
    }


def _spread(values: list[float]) -> list[float]:
    return [round(value, 3) for value in (min(values), statistics.median(values), max(values))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT, help="T5-shaped model folder (default: the shipped one)")
    parser.add_argument("--data", type=Path, default=Path("corpus"), help="folder of shards; its test split is read")
    parser.add_argument("--llama_cpp", type=Path, help="folder with libllama.so and libggml*.so")
    parser.add_argument("--exports", type=Path, help="folder to keep the exports in (default: none are kept)")
    parser.add_argument("--prompts", type=int, default=20, help="files to compare on")
    parser.add_argument("--rounds", type=int, default=7, help="measured turns of each runtime")
    parser.add_argument("--threads", type=int, default=1, help="threads each runtime may use")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="seconds that count")
    args = parser.parse_args()
    if args.clock == "cpu" and args.threads > 1:
        parser.error("--clock cpu adds up the seconds of all threads; use it with --threads 1")
    torch.set_num_threads(args.threads)

    texts = [example.code for example in read_shards(args.data, "test")]
    tokenizer = load_tokenizer(args.model)
    pairs = prompts(texts, tokenizer, args.prompts)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        exports = args.exports or Path(temporary)
        exports.mkdir(parents=True, exist_ok=True)
        found = runtimes(args, exports)
        reference = answers(found["PyTorch float32"], pairs)
        if args.llama_cpp:
            results["tokenizer"] = compare_tokenizers(found["llama.cpp f32"], tokenizer, texts)
            print(f"tokenizer: {results['tokenizer']['differ']} of {results['tokenizer']['lines']} lines cut otherwise")
        timed = speeds(found, pairs[0][0], args.rounds, CLOCKS[args.clock])
        print(f"{'':22}{'difference':>11}{'same token':>12}{'same text':>11}{'tokens/s':>10}{'ratio':>7}")
        for name, runtime in found.items():
            row, same = timed[name], ""
            if not isinstance(runtime, PyTorch):
                row |= compare(reference, answers(runtime, pairs))
                same = f"{row['difference']:11.1e}{row['same'] / row['places']:12.2%}{row['texts']:8d}/{row['of']:<2d}"
            (_, speed, _), (low, ratio, high) = row["tokens_per_second"], row["ratio"]
            results[name] = row
            print(f"{name:22}{same:34}{speed:10.1f}{ratio:7.2f} ({low:.2f} to {high:.2f})")
    settings = {name: getattr(args, name) for name in ("prompts", "rounds", "threads", "clock")}
    print(json.dumps({"benchmark": "runtimes", **settings, "results": results}))
    return 0


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
