"""Write Elixir after a prompt, or between a prefix and a suffix, with a model folder.

    generator = Generator(".")
    print(generator.generate("defmodule Stack do\n"))
    for piece in generator.stream("defmodule Stack do\n", grammar="elixir"):
        print(piece, end="")

    generator = Generator(".", adapters={"shop": "adapters/shop"})  # one model in memory, another text for each request
    generator.generate("defmodule Shop.Cart do\n", adapter="shop")

With a grammar the model cannot leave Elixir, and ends what it began within its budget of tokens. The command asks for
it unless told otherwise, and lets Elixir's own parser have the last word.

What the user gives is always read as text: a `</s>` or `<fim_middle>` in it is spelled out, never a special token.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from elixir_coder.errors import InputError, MissingDependencyError, require
from elixir_coder.generation.quick_start import quick_start, without_collection
from grammar_elixir_coder import STARTS

if TYPE_CHECKING:
    from decoding_elixir_coder import ElixirGrammar, Monitor
    from elixir_coder.generation.monitor import NameMonitor
    from elixir_coder.toolchain.toolchain import Toolchain

DEFAULT_MODEL = Path(__file__).resolve().parents[2]  # a checkout is a model folder
_GIVEN = "given"  # what the command calls its --adapter


class Generator:
    """A loaded model and its tokenizer. Raises CheckpointError when the folder cannot be used.

    runtime: "fast" for the model's fast runtime, or PyTorch where `model.why_plain` says why not; "plain" for PyTorch.
    adapters: folders of LoRA adapters by the names that requests call them (generation/adapters.py).
    """

    def __init__(
        self,
        folder: Path | str = DEFAULT_MODEL,
        runtime: str = "fast",
        adapters: Mapping[str, Path | str] | None = None,
    ):
        with without_collection():
            from elixir_coder.checkpoint import load_model, load_tokenizer
            from elixir_coder.generation.adapters import AdaptedModels
            from elixir_coder.generation.healing import token_texts
            from elixir_coder.tasks.row import SpecialTokens

            self.tokenizer = load_tokenizer(folder)
            self.model = load_model(folder, tokenizer=self.tokenizer, runtime=runtime)
            self.models = AdaptedModels(folder, self.model, adapters or {}, runtime)
            self.special = SpecialTokens.of(self.tokenizer)
            self.texts = token_texts(self.tokenizer)

    def generate(self, prompt: str, suffix: str | None = None, **settings: Any) -> str:
        """The text that follows `prompt`, or stands between it and `suffix`.

        settings: as for `stream`. Raises InputError for an empty prompt or one longer than the model reads.
        """
        return "".join(self.stream(prompt, suffix, **settings))

    def stream(
        self,
        prompt: str,
        suffix: str | None = None,
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 0.95,
        num_beams: int = 1,
        repetition_penalty: float = 1.0,
        seed: int | None = None,
        grammar: str | ElixirGrammar | None = None,
        start: str = "file",
        monitor: Monitor | None = None,
        adapter: str | None = None,
    ) -> Iterator[str]:
        """The same text piece by piece as it is written; with beams, in one piece at the end.

        temperature: 0 takes the likeliest token every time; above 0 samples from the `top_p` nucleus, the same way
        for the same `seed`. repetition_penalty: above 1 makes what was already written less likely.
        grammar: "elixir" keeps prompt + text + suffix inside Elixir; what `grammar_for` gives may stand for it.
        start: what the three are as a whole, e.g. "file" or "expression". monitor: what else may not come next, e.g.
        names that do not exist (`generation/monitor.py`). adapter: the one to write with; the base by default.

        Raises InputError where the prompt is no Elixir so far, or cannot be ended within `max_new_tokens`.
        """
        if grammar == "elixir":
            grammar = self.grammar_for(prompt, suffix, start)
        elif isinstance(grammar, str):
            raise InputError(f"no such grammar: {grammar}; there is: elixir")
        elif monitor is not None and grammar is None:
            raise InputError("a monitor goes with the grammar: grammar='elixir'")
        from elixir_coder.generation.healing import TokenHealing

        model = self.models[adapter]
        source, begun, given_back = self.inputs(prompt, suffix, grammar, monitor)
        limit = self.model.config.max_position_embeddings
        if len(begun) + max_new_tokens > limit:
            raise InputError(
                f"max_new_tokens may be {limit - len(begun)} at most after this prompt, got {max_new_tokens}"
            )
        arguments: dict[str, Any] = {
            "max_new_tokens": max_new_tokens,
            "num_beams": num_beams,
            "repetition_penalty": repetition_penalty,
            "do_sample": False,
        }
        if temperature > 0:
            arguments |= {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
        skipped = 0  # what was given back is written again, and the reader has it already
        with _told_grammar_errors() if grammar is not None else nullcontext():
            processors: list[Any] = [TokenHealing(given_back, self.texts, len(begun))] if given_back else []
            if grammar is not None:
                prefix = prompt.removesuffix(given_back)
                processors.append(self._processor(grammar, prefix, suffix, monitor, len(begun), arguments))
            for piece in self._run(model, source, begun, processors, arguments, seed):
                skip = min(len(given_back) - skipped, len(piece))
                skipped += skip
                if piece[skip:]:
                    yield piece[skip:]

    def grammar_for(self, prompt: str, suffix: str | None = None, start: str = "file") -> ElixirGrammar:
        """The strict grammar; the one that accepts all of Elixir (`.mode` says so) where the prompt needs that.

        Raises InputError that says where the prompt is no Elixir, and MissingDependencyError without llguidance.
        """
        require("llguidance", "decode")
        from decoding_elixir_coder import GrammarError
        from elixir_coder.generation.parse import place

        try:
            return grammar_for(self.tokenizer, prompt, suffix, start)
        except GrammarError as error:
            line, column = place(prompt, error.offset)
            fault = error
        raise InputError(
            f"the prompt is not the beginning of Elixir ({start}): line {line}, column {column}, byte {fault.offset}; "
            "correct it, say with --start what it is part of, or write without a grammar"
        )

    def inputs(
        self,
        prompt: str,
        suffix: str | None = None,
        grammar: ElixirGrammar | None = None,
        monitor: Monitor | None = None,
    ) -> tuple[list[int], list[int], str]:
        """What the encoder reads and what the decoder begins with, as token ids, and the text the decoder must write
        first (see `generation/healing.py`).

        The layouts are those of `tasks/complete.py` and `tasks/infill.py`; how a prompt to continue is shared out is
        told at `tokenization_elixir_coder.split_prompt`. grammar, monitor: of what is given back, some token that
        rewrites it must be one that they allow.
        """
        from elixir_coder.generation.healing import give_back
        from tokenization_elixir_coder import encode_prompt, encode_untrusted, split_prompt

        if not prompt.strip() and not (suffix or "").strip():
            raise InputError("the prompt is empty; give the beginning of some Elixir, e.g. 'defmodule Stack do'")

        def may_follow(text: str, candidates: list[int]) -> bool:
            if grammar is None:
                return True
            before = prompt.removesuffix(text)
            matcher = grammar.matcher(before)
            names = monitor.state(before.encode()) if monitor else None
            return any(
                matcher.allows(index) and (names is None or names.allows(self.texts[index].encode()))
                for index in candidates
            )

        begun = [self.model.config.decoder_start_token_id]
        given_back = ""
        if suffix is None:
            before, given_back = give_back(encode_untrusted(self.tokenizer, prompt), self.texts, may_follow)
            earlier, latest = split_prompt(before)
            source = [self.special.code, *earlier, self.special.eos]
            begun += latest
        else:
            source = encode_prompt(self.tokenizer, "fim", prefix=prompt, suffix=suffix)
        limit = self.model.config.max_position_embeddings
        if len(source) > limit:
            raise InputError(f"the input has {len(source)} tokens, the model reads {limit}; shorten it")
        return source, begun, given_back

    def _processor(
        self,
        grammar: ElixirGrammar,
        prefix: str,
        suffix: str | None,
        monitor: Monitor | None,
        num_begun: int,
        arguments: dict[str, Any],
    ) -> Any:
        from decoding_elixir_coder import ElixirGrammarProcessor

        settings = ("max_new_tokens", "num_beams", "do_sample", "temperature", "top_k", "top_p")
        return ElixirGrammarProcessor(
            self.tokenizer,
            start=grammar.start,
            mode=grammar.mode,
            prefix=prefix,
            suffix=suffix,
            monitor=monitor,
            prompt_length=num_begun,
            **{name: arguments[name] for name in settings if name in arguments},
        )

    def _run(
        self,
        model: Any,
        source: list[int],
        begun: list[int],
        processors: list[Any],
        arguments: dict[str, Any],
        seed: int | None,
    ) -> Iterator[str]:
        import torch
        from transformers import TextIteratorStreamer

        if seed is not None:
            torch.manual_seed(seed)
        input_ids = torch.tensor([source], device=model.device)
        inputs: dict[str, Any] = {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            "decoder_input_ids": torch.tensor([begun], device=model.device),
            "logits_processor": processors,
        }
        if arguments["num_beams"] > 1:
            output = model.generate(**inputs, **arguments)
            yield self.tokenizer.decode(
                output[0, len(begun) :], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            return
        streamer = TextIteratorStreamer(
            self.tokenizer,
            skip_prompt=True,  # what the decoder begins with
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
            timeout=600,
        )
        failures: list[Exception] = []

        def generate() -> None:
            try:
                model.generate(**inputs, **arguments, streamer=streamer)
            except Exception as error:  # handed to the reader, who would otherwise wait for ever
                failures.append(error)
                streamer.end()

        thread = Thread(target=generate, daemon=True)
        thread.start()
        yield from streamer
        thread.join()
        if failures:
            raise failures[0]


def grammar_for(tokenizer: Any, prompt: str, suffix: str | None = None, start: str = "file") -> ElixirGrammar:
    """The strict grammar; the one that accepts all of Elixir where the prompt needs that. GrammarError for neither."""
    from decoding_elixir_coder import ElixirGrammar, GrammarError

    for mode in ("strict", "accept"):
        grammar = ElixirGrammar(tokenizer, mode=mode, start=start)
        try:
            grammar.matcher(prompt, suffix)
            return grammar
        except GrammarError as error:
            fault = error
    raise fault


@contextmanager
def _told_grammar_errors() -> Iterator[None]:
    """What the grammar cannot do, such as ending a deep nest in two tokens, is for the user to put right."""
    from decoding_elixir_coder import GrammarError

    try:
        yield
    except GrammarError as error:
        raise InputError(f"{error}; more --max_new_tokens may help, or --grammar none") from error


def add_parser(subparsers: Any) -> None:
    """Add `elixir-coder generate`."""
    parser = subparsers.add_parser(
        "generate",
        help="write Elixir after a prompt",
        description="Write Elixir after a prompt, or into the hole before --suffix. The prompt is printed first.",
    )
    parser.add_argument("prompt", help="beginning of the code, or - to read it from standard input")
    parser.add_argument("--suffix", help="what stands after the hole; the model writes what is between")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="model folder (default: the shipped model)")
    parser.add_argument("--adapter", type=Path, metavar="FOLDER", help="LoRA adapter of the model to write with")
    parser.add_argument("--max_new_tokens", type=int, default=256, help="longest completion (default: 256)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default), above 0 samples")
    parser.add_argument("--top_p", type=float, default=0.95, help="nucleus to sample from (default: 0.95)")
    parser.add_argument("--num_beams", type=int, default=1, help="beams to search with (default: 1)")
    parser.add_argument(
        "--repetition_penalty", type=float, default=1.0, help="above 1 makes repeating itself less likely (default: 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of sampling (default: 0)")
    parser.add_argument(
        "--runtime", choices=("fast", "plain"), default="fast", help="8-bit weights and C (default), or PyTorch"
    )
    parser.add_argument(
        "--grammar",
        choices=("elixir", "none"),
        default="elixir",
        help="what is written must be Elixir (default), or any text",
    )
    parser.add_argument(
        "--start", choices=STARTS, default="file", help="what prompt and text are as a whole (default: file)"
    )
    parser.add_argument("--names", action="store_true", help="call only functions that exist in Elixir and --project")
    parser.add_argument("--project", type=Path, metavar="PATH", help="Mix project whose modules --names knows too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the prompt, then what the model writes as it writes it, then the suffix.

    With a grammar and where nobody watches, it is printed when Elixir's parser has had the last word.
    """
    prompt = read_text(sys.stdin.buffer.read(), "standard input") if args.prompt == "-" else args.prompt
    check_settings(args)
    if args.grammar == "elixir":
        check_llguidance()
    from elixir_coder.toolchain.toolchain import Toolchain

    with ExitStack() as stack:
        toolchain = None
        if args.grammar == "elixir" and shutil.which("elixir"):
            toolchain = stack.enter_context(Toolchain(workers=1))
            toolchain.begin()  # it is there when the model is
        with quick_start():
            generator = Generator(args.model, args.runtime, {_GIVEN: args.adapter} if args.adapter else None)
            grammar = generator.grammar_for(prompt, args.suffix, args.start) if args.grammar == "elixir" else None
            gc.freeze()  # what is there now stays, and need not be searched for garbage while the first token is due
            stack.callback(gc.unfreeze)
        _write(args, generator, grammar, prompt, toolchain)
    return 0


def _write(
    args: argparse.Namespace,
    generator: Generator,
    grammar: ElixirGrammar | None,
    prompt: str,
    toolchain: Toolchain | None,
) -> None:
    pieces = generator.stream(
        prompt,
        args.suffix,
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        top_p=args.top_p,
        num_beams=args.num_beams,
        repetition_penalty=args.repetition_penalty,
        seed=args.seed,
        adapter=_GIVEN if args.adapter else None,
        grammar=grammar,
        monitor=monitor_of(generator, args.project, args.start) if args.names else None,
    )
    first = next(pieces, "")  # what is wrong with the input is said before anything is printed
    text = ""
    is_watched = grammar is None or sys.stdout.isatty()
    if is_watched:
        print(prompt, end="", flush=True)
    for piece in chain([first], pieces):
        text += piece
        if is_watched:
            print(piece, end="", flush=True)
    checked = check_text(text, prompt, args.suffix or "", grammar, toolchain) if grammar else text
    if is_watched:
        print(args.suffix or "")
    if not is_watched or checked != text:
        print(prompt + checked + (args.suffix or ""))


def check_llguidance() -> None:
    """Raise MissingDependencyError that also says how to do without."""
    try:
        require("llguidance", "decode")
    except MissingDependencyError as error:
        raise MissingDependencyError(f"{error}; or write what need not be Elixir: --grammar none") from error


def check_text(text: str, prompt: str, suffix: str, grammar: ElixirGrammar, toolchain: Toolchain | None) -> str:
    """The text with which Elixir's parser is content; what was done to it, and what could not be, goes to stderr.

    toolchain: None where there is no Elixir.
    """
    from elixir_coder.generation.checked import last_word

    if grammar.mode != "strict":
        print("note: the strict grammar does not know what the prompt uses; a looser one was taken", file=sys.stderr)
    if toolchain is None:
        print("note: `elixir` is not on the PATH, so its parser was not asked: apt install elixir", file=sys.stderr)
        return text
    checked = last_word(text, toolchain, grammar=grammar, prefix=prompt, suffix=suffix)
    if checked.repair:
        print(f"note: {checked.repair}", file=sys.stderr)
    return checked.text


def monitor_of(generator: Generator, project: Path | None, start: str) -> NameMonitor:
    """The monitor of names for the model's vocabulary; what a project has changed since it was compiled is compiled."""
    from elixir_coder.generation.monitor import NameMonitor
    from elixir_coder.generation.names import dependency_folders
    from elixir_coder.toolchain.toolchain import Toolchain

    if project is None:
        return NameMonitor.of(generator.tokenizer, start=start)
    with Toolchain(workers=1, code_paths=dependency_folders(project)) as toolchain:
        return NameMonitor.of(generator.tokenizer, project, toolchain, start)


def check_settings(args: argparse.Namespace) -> None:
    """Raise InputError for a setting outside its range."""
    if args.max_new_tokens < 1 or args.num_beams < 1:
        raise InputError("--max_new_tokens and --num_beams must be at least 1")
    if args.temperature < 0 or not 0 < args.top_p <= 1:
        raise InputError("--temperature must be at least 0 and --top_p in (0, 1]")
    if args.repetition_penalty <= 0:
        raise InputError("--repetition_penalty must be above 0; 1 changes nothing")
    if args.project and not args.names:
        raise InputError("--project goes with --names")
    if args.names and args.grammar == "none":
        raise InputError("--names goes with --grammar elixir")
    if args.temperature > 0 and args.num_beams > 1:
        raise InputError("--num_beams searches for the likeliest text; use it with --temperature 0")


def read_text(data: bytes, name: str) -> str:
    """Decode UTF-8, or raise InputError that says where it is broken."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}") from error
