"""Ways to write with a model of one shape, as bench_decode.py compares them: ours, transformers', and other runtimes.

    folders = Folders(Path("models"), "base")              # makes and keeps what a runtime reads
    writer = RUNTIMES["ONNX Runtime int8"](folders, threads=2)
    writer.write(sources, num_tokens)                      # rows of token ids -> rows of as many ids as asked for

All weights are random but those of tiny, which is the model of this repository; BART and T5 are as deep and wide
(peers.py), and for *small* there is a Llama, since its decoder has the shape of one. Every runtime writes greedily
exactly as many tokens as it is asked for. With `forced`, the tokens to be written are given: a runtime computes all its
scores, and then that token is taken.

Raises Unavailable where a runtime cannot run a model or is not there.
"""

from __future__ import annotations

import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import MODELS, OnnxGraphs, resident_bytes
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessor,
    PreTrainedModel,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from elixir_coder.checkpoint import load_config, load_model, load_tokenizer, new_model, preset_config, save_model
from elixir_coder.errors import CheckpointError, MissingDependencyError
from elixir_coder.release import ctranslate, gguf_export, onnx_export
from modeling_elixir_coder import ElixirCoderForConditionalGeneration

ROOT = Path(__file__).parents[1]
SHIPPED = "tiny"  # the preset whose trained weights are in this repository
START = 1
Rows = list[list[int]]


class Unavailable(Exception):
    """A runtime that cannot run this model, or is not there; says why."""


class Writer(ABC):
    """A model loaded in one runtime."""

    max_rows = 1_000_000

    @abstractmethod
    def write(self, sources: Rows, num_tokens: int, forced: Rows | None = None) -> Rows:
        """What is written after each source; all sources are of one length. forced: what must be written."""


# ------------------------------------------------------------------------------------------------------------- folders


class Folders:
    """The models of one size, made when first asked for; a folder that is there is used as it is."""

    def __init__(self, root: Path, size: str, llama_cpp: Path | None = None):
        self.root, self.size, self.llama_cpp = root / size, size, llama_cpp

    def ours(self) -> Path:
        if self.size == SHIPPED:
            return ROOT
        folder = self.root / "ours"
        if not folder.exists():
            torch.manual_seed(0)
            save_model(folder, new_model(preset_config(self.size, dropout=0.0)), load_tokenizer(ROOT))
        return folder

    def config(self) -> Any:
        return load_config(self.ours())

    def peer(self, name: str) -> Path:
        """ "BART" or "T5" as deep and wide as ours, or the "Llama" that the decoder of *small* is."""
        folder = self.root / name
        if not folder.exists():
            torch.manual_seed(0)
            (llama if name == "Llama" else MODELS[name])(self.config()).save_pretrained(folder)
        return folder

    def exported(self, name: str, export: Callable[[Path, Path, str], Any], dtype: str) -> Path:
        """The files of an exporter of elixir_coder/release."""
        folder = self.root / f"{name}-{dtype}"
        if not folder.exists():
            try:
                export(self.ours(), folder, dtype)
            except (CheckpointError, MissingDependencyError) as error:
                raise Unavailable(str(error)) from error
        return folder


def llama(config: Any) -> PreTrainedModel:
    """A decoder alone, as deep and wide as ours, with our vocabulary: what SmolLM2-135M is beside *small*."""
    if config.position_embedding_type != "rotary" or config.norm_type != "rmsnorm":
        raise Unavailable("the decoder of this size is not that of a Llama")
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.decoder_ffn_dim,
            num_hidden_layers=config.decoder_layers,
            num_attention_heads=config.decoder_attention_heads,
            num_key_value_heads=config.key_value_heads("decoder"),
            max_position_embeddings=2 * config.max_position_embeddings,
            tie_word_embeddings=True,
            pad_token_id=0,
        )
    )


# -------------------------------------------------------------------------------------------------------- transformers


class Force(LogitsProcessor):
    """Leaves one token of each row: the one that is to be written."""

    def __init__(self, forced: Rows, num_before: int):
        self.forced, self.num_before = forced, num_before

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        place = input_ids.shape[1] - self.num_before
        left = torch.full_like(scores, -torch.inf)
        for row, ids in enumerate(self.forced):
            left[row, ids[place]] = 0.0
        return left


class Generate(Writer):
    """`generate` of any model of transformers. options: words for it besides those that say how much is written."""

    def __init__(self, model: PreTrainedModel, **options: Any):
        self.model, self.options = model.eval(), options

    def write(self, sources: Rows, num_tokens: int, forced: Rows | None = None) -> Rows:
        ids = torch.tensor(sources)
        num_before = 1 if self.model.config.is_encoder_decoder else ids.shape[1]
        options = dict(self.options)
        if forced is not None:
            options["logits_processor"] = [Force(forced, num_before)]
        else:
            options["min_new_tokens"] = num_tokens
        written = self.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_tokens, do_sample=False, **options
        )
        return written[:, num_before:].tolist()


def transformers_peer(folders: Folders, threads: int, name: str, dtype: str) -> Writer:
    """dtype: "float32", "bfloat16", or "int8", which is torch's dynamic quantisation of every linear layer."""
    if name == "T5" and folders.config().decoder_layers > folders.config().encoder_layers:
        raise Unavailable("transformers makes a T5 a cache of as many layers as its encoder has")
    auto = AutoModelForCausalLM if name == "Llama" else AutoModelForSeq2SeqLM
    kept = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    model = auto.from_pretrained(folders.peer(name), dtype=kept)
    if dtype == "int8":
        with _quiet():
            model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    return Generate(model)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():  # torch's quantisation is to move to another package, and says so
        warnings.simplefilter("ignore")
        yield


def plain(folders: Folders, threads: int) -> Writer:
    """Our model in transformers' own loop."""
    return Generate(load_model(folders.ours()), suppress_tokens=None)


# ---------------------------------------------------------------------------------------------------------------- ours


class Fast(Generate):
    """The fast runtime: one token a pass, but several where a text is edited, which is given as a prediction then.

    It does not read a source again that it has read before: compare on new ones.
    """

    def write(self, sources: Rows, num_tokens: int, forced: Rows | None = None) -> Rows:
        drafts = {"prompt_lookup_num_tokens": 0} if forced is None else {"prediction": sources}
        self.options = {"suppress_tokens": None} | drafts
        return super().write(sources, num_tokens, forced)


def fast(folders: Folders, threads: int, dtype: str) -> Writer:
    try:
        model = ElixirCoderForConditionalGeneration.from_pretrained(folders.ours(), runtime="fast", runtime_dtype=dtype)
    except TypeError as error:
        raise Unavailable(f"this checkout has no fast runtime: {error}") from error
    if model.runtime is None:
        raise Unavailable("the fast runtime fell back to plain transformers")
    return Fast(model)


# ------------------------------------------------------------------------------------------------------ other runtimes


class OnnxRuntime(OnnxGraphs, Writer):
    """Our ONNX graphs in a tight loop. All that stays, stays in the runtime: arrays that are given again and again."""

    def write(self, sources: Rows, num_tokens: int, forced: Rows | None = None) -> Rows:
        ids = np.array(sources)
        mask = np.ones_like(ids)
        read = dict(zip(self.outputs, self.encoder.run(None, {"input_ids": ids, "attention_mask": mask})))
        del read["last_hidden_state"]
        read["encoder_attention_mask"] = mask
        empty = {name: np.zeros((len(ids), *shape), dtype=np.float32) for name, shape in self.shapes.items()}
        written = list(self._steps(read, empty, len(ids), num_tokens, forced))
        return np.concatenate(written, axis=1).tolist()

    def _steps(
        self, read: dict[str, Any], past: dict[str, Any], num_rows: int, num_tokens: int, forced: Rows | None
    ) -> Iterator[np.ndarray]:
        token = np.full((num_rows, 1), START)
        for place in range(num_tokens):
            logits, *present = self.decoder.run(None, {"input_ids": token} | read | past)
            past = dict(zip(self.pasts, present))
            token = _choose(logits, place, forced)
            yield token


class BoundOnnxRuntime(OnnxRuntime):
    """The same with IO binding: the past never becomes an array of Python."""

    def _steps(
        self, read: dict[str, Any], past: dict[str, Any], num_rows: int, num_tokens: int, forced: Rows | None
    ) -> Iterator[np.ndarray]:
        from onnxruntime import OrtValue

        binding = self.decoder.io_binding()
        for name, value in (read | past).items():
            binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(value))
        names = [each.name for each in self.decoder.get_outputs()]
        token = np.full((num_rows, 1), START)
        for place in range(num_tokens):
            binding.bind_cpu_input("input_ids", token)
            for name in names:
                binding.bind_output(name)
            self.decoder.run_with_iobinding(binding)
            logits, *present = binding.get_outputs()
            for name, value in zip(self.pasts, present):
                binding.bind_ortvalue_input(name, value)
            token = _choose(logits.numpy(), place, forced)
            yield token


def _choose(logits: np.ndarray, place: int, forced: Rows | None) -> np.ndarray:
    best = logits[:, -1].argmax(-1)[:, None]
    return best if forced is None else np.array([[row[place]] for row in forced])


def onnx(folders: Folders, threads: int, dtype: str, runtime: type[OnnxRuntime]) -> Writer:
    return runtime(folders.exported("onnx", onnx_export.export, dtype), threads)


class CTranslate2(Writer):
    """It lets nobody in between two tokens: what is forced elsewhere is as many tokens of its own here."""

    def __init__(self, folder: Path, dtype: str, threads: int, texts: Callable[[list[int]], list[str]]):
        import ctranslate2

        self.translator = ctranslate2.Translator(
            str(folder), compute_type=dtype, inter_threads=1, intra_threads=threads
        )
        self.texts = texts

    def write(self, sources: Rows, num_tokens: int, forced: Rows | None = None) -> Rows:
        results = self.translator.translate_batch(
            [self.texts(source) for source in sources],
            beam_size=1,
            max_input_length=0,
            min_decoding_length=num_tokens,
            max_decoding_length=num_tokens,
        )
        return [result.hypotheses[0] for result in results]


def ctranslate2(folders: Folders, threads: int, dtype: str) -> Writer:
    folder = folders.exported("ctranslate2", ctranslate.export, dtype)
    return CTranslate2(folder, dtype, threads, load_tokenizer(folders.ours()).convert_ids_to_tokens)


class LlamaCpp(Writer):
    max_rows = 1  # as it is driven here

    def __init__(self, folders: Folders, threads: int, dtype: str):
        from bench_runtimes import LlamaCpp as Model
        from bench_runtimes import LlamaLibrary

        if folders.llama_cpp is None:
            raise Unavailable("--llama_cpp names no folder")
        folder = folders.exported("gguf", _export_gguf, dtype)
        self.model = Model(LlamaLibrary(folders.llama_cpp), folder / f"model-{dtype}.gguf", threads)

    def write(self, sources: Rows, num_tokens: int, forced: Rows | None = None) -> Rows:
        self.model.read(sources[0])
        token, written = START, []
        for place in range(num_tokens):
            best = int(self.model.step(token).argmax())
            written.append(token := best if forced is None else forced[0][place])
        return [written]


def _export_gguf(model: Path, folder: Path, dtype: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        gguf_export.export(model, folder, dtype)
    except CheckpointError:
        folder.rmdir()
        raise


Make = Callable[[Folders, int], Writer]
RUNTIMES: dict[str, Make] = {
    "BART float32": partial(transformers_peer, name="BART", dtype="float32"),
    "BART bfloat16": partial(transformers_peer, name="BART", dtype="bfloat16"),
    "BART int8": partial(transformers_peer, name="BART", dtype="int8"),
    "T5 float32": partial(transformers_peer, name="T5", dtype="float32"),
    "T5 bfloat16": partial(transformers_peer, name="T5", dtype="bfloat16"),
    "T5 int8": partial(transformers_peer, name="T5", dtype="int8"),
    "Llama float32": partial(transformers_peer, name="Llama", dtype="float32"),
    "ours plain": plain,
    "ONNX Runtime int8": partial(onnx, dtype="int8", runtime=OnnxRuntime),
    "ONNX Runtime int8, bound": partial(onnx, dtype="int8", runtime=BoundOnnxRuntime),
    "CTranslate2 int8": partial(ctranslate2, dtype="int8"),
    "llama.cpp q8_0": partial(LlamaCpp, dtype="q8_0"),
    "ours fast float32": partial(fast, dtype="float32"),
    "ours fast bfloat16": partial(fast, dtype="bfloat16"),
    "ours fast int8": partial(fast, dtype="int8"),
}


def load(names: Sequence[str], folders: Folders, threads: int) -> tuple[dict[str, Writer], dict[str, str]]:
    """The runtimes that can be run, and why the others cannot."""
    found: dict[str, Writer] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            found[name] = RUNTIMES[name](folders, threads)
        except (Unavailable, ImportError) as error:
            missing[name] = str(error)
    return found, missing


def resident(
    name: str, root: Path, size: str, llama_cpp: Path | None, threads: int, num_source: int, num_target: int
) -> list[float]:
    """MB that this process holds before it loads a model, after that, and after it has written once."""
    held = [resident_bytes()]
    torch.set_num_threads(threads)
    writers, missing = load([name], Folders(root, size, llama_cpp), threads)
    assert not missing, missing
    held.append(resident_bytes())
    writers[name].write([[*range(200, 199 + num_source), 2]], num_target)
    held.append(resident_bytes())
    return [each / 1e6 for each in held]
