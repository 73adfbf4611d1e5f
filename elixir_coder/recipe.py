"""Settings of a run: one frozen dataclass, filled from the command line and from `@file.args` recipes.

`parse(TrainRecipe, ["@recipes/base.args", "--learning_rate", "1e-3"])` reads words from left to right; what stands
later wins. A recipe file holds the same words as the command line, quoted as in a shell, with `#` comments;
`@other.args` inside it is relative to its own folder, every other path to where the command runs.

    --steps 1_000   --steps=1e3            int, as long as the value is whole
    --bf16   --no_bf16   --bf16 true       bool
    --files a b   --files a,b              tuple or list; a comma in brackets or after a backslash does not separate
    --init_from none                       None, where the setting may be None
    --out=@folder   --out=--folder         a value that begins with @ or -- is written with =

`save` writes such a file, and `parse` of that file gives an equal recipe.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
import shlex
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from elixir_coder.errors import RecipeError

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class TrainRecipe:
    """Every setting of one training run; it is saved beside the weights."""

    data: tuple[Path, ...] = field(metadata={"help": "folders of shards from `elixir-coder data`"})
    out: Path = field(metadata={"help": "folder for checkpoints, logs and the saved recipe"})
    steps: int = field(metadata={"help": "optimizer steps of the whole run"})

    preset: Literal["tiny", "small", "base", "full"] = field(default="tiny", metadata={"help": "shape of a new model"})
    config_overrides: tuple[str, ...] = field(
        default=(), metadata={"help": "changes to the preset, e.g. d_model=256 dropout=0.0"}
    )
    tokenizer: Path = field(default=Path("."), metadata={"help": "folder with tokenizer.json"})
    init_from: Path | None = field(
        default=None, metadata={"help": "model folder whose weights to start from, instead of random ones"}
    )
    adapter: str | None = field(
        default=None, metadata={"help": "train a LoRA adapter of this name on --init_from, and nothing else"}
    )
    adapter_rank: int = field(default=4, metadata={"help": "rank of the adapter"})

    tasks: tuple[str, ...] = field(
        default=("denoise=0.3", "infill=0.3", "complete=0.4"),
        metadata={"help": "what to train on, each with its share of the rows; `elixir-coder tasks` lists them"},
    )
    temperature: float = field(
        default=1.0, metadata={"help": "1 takes of each folder what it has, a high one the same from each"}
    )
    test_type: str | None = field(
        default=None, metadata={"help": "only examples with this kind of tests, e.g. property or liveview"}
    )
    phase_starts: tuple[float, ...] = field(
        default=(),
        metadata={"help": "curriculum: shares of the steps where its later phases begin, e.g. 0.25 0.5 0.75"},
    )
    ramp_steps: int = field(default=100, metadata={"help": "steps until a task that joins has its whole share"})
    source_length: int = field(default=512, metadata={"help": "tokens the encoder reads per row, at most"})
    target_length: int = field(default=256, metadata={"help": "tokens the decoder writes per row, at most"})

    batch_tokens: int = field(
        default=16_384,
        metadata={"help": "tokens, read and written, per optimizer step, over all processes and accumulation"},
    )
    gradient_accumulation: int = field(default=1, metadata={"help": "backward passes per optimizer step"})
    packing: bool = field(default=True, metadata={"help": "many texts in one row, without padding; not with --compile"})
    learning_rate: float = field(default=1e-3, metadata={"help": "peak, after warm-up"})
    schedule: Literal["cosine", "wsd", "constant"] = field(
        default="cosine", metadata={"help": "what the learning rate does after warm-up; wsd stays, then decays"}
    )
    warmup_steps: int = field(default=100, metadata={"help": "steps over which the learning rate rises from 0"})
    min_learning_rate_ratio: float = field(
        default=0.1, metadata={"help": "final learning rate as a share of the peak (cosine and wsd)"}
    )
    decay_fraction: float = field(default=0.2, metadata={"help": "last share of the steps that wsd decays over"})
    weight_decay: float = field(default=0.01, metadata={"help": "AdamW's decay of matrices"})
    adam_beta1: float = field(default=0.9, metadata={"help": "AdamW's memory of the gradient"})
    adam_beta2: float = field(default=0.98, metadata={"help": "AdamW's memory of the squared gradient"})
    max_grad_norm: float = field(default=1.0, metadata={"help": "clip the gradient to this norm; inf never clips"})

    loss_weights: tuple[str, ...] = field(
        default=("quality=0.5", "security=0.5", "write_tests=0.8", "clarify=0.3", "explain=0.3"),
        metadata={"help": "what a task's losses are multiplied by, 1 where not named"},
    )
    loss_weighting: Literal["fixed", "uncertainty", "gradnorm"] = field(
        default="fixed", metadata={"help": "fixed counts every token alike; the others learn a weight for each task"}
    )
    label_smoothing: float = field(default=0.0, metadata={"help": "share of a token's target that goes to all tokens"})
    label_balance: bool = field(
        default=False, metadata={"help": "weigh a label's positives and negatives alike, from samples of the data"}
    )
    asymmetric: tuple[float, ...] = field(
        default=(), metadata={"help": "gamma_negative, gamma_positive and margin of the asymmetric loss of labels"}
    )
    logits_chunk: int = field(default=1024, metadata={"help": "tokens whose logits are in memory at one time"})
    teacher: Path | None = field(
        default=None, metadata={"help": "model folder to learn from, with the same vocabulary"}
    )
    student_layers: tuple[int, ...] = field(
        default=(), metadata={"help": "begin with so many encoder and decoder layers of the --teacher, evenly picked"}
    )
    distillation: float = field(default=0.5, metadata={"help": "share of the loss that is the --teacher's opinion"})
    distillation_temperature: float = field(default=2.0, metadata={"help": "of both models' probabilities there"})

    precision: Literal["fp32", "bf16"] = field(default="fp32", metadata={"help": "type of the forward pass"})
    gradient_checkpointing: bool = field(
        default=False, metadata={"help": "recompute activations in the backward pass, to save memory"}
    )
    compile: bool = field(default=False, metadata={"help": "run the model through torch.compile, on padded rows"})
    num_threads: int | None = field(default=None, metadata={"help": "CPU threads of torch; none leaves its choice"})
    seed: int = field(default=0, metadata={"help": "of weights, order and corruption"})

    log_every: int = field(default=10, metadata={"help": "steps between two lines of the log"})
    eval_every: int = field(default=500, metadata={"help": "steps between two evaluations; 0 only at the end"})
    eval_files: int = field(default=64, metadata={"help": "held-out files an evaluation reads, at most"})
    eval_bytes: int = field(default=200_000, metadata={"help": "bytes of them an evaluation reads, at most"})
    eval_rows: int = field(default=32, metadata={"help": "held-out rows of each task an evaluation reads; 0 for none"})
    norms_every: int = field(
        default=0, metadata={"help": "steps between two measures of each task's gradient norm; 0 for none"}
    )
    save_every: int = field(default=500, metadata={"help": "steps between two checkpoints; 0 only at the end"})
    keep_best: int = field(default=1, metadata={"help": "checkpoints of lowest held-out loss to keep; 0 keeps none"})
    resume: bool = field(
        default=False, metadata={"help": "go on from the last checkpoint in --out, where there is one"}
    )
    stop_after_minutes: float | None = field(
        default=None, metadata={"help": "save and stop after this many minutes, so that --resume can go on"}
    )
    dry_run: bool = field(
        default=False, metadata={"help": "two steps, an evaluation and a checkpoint on the real data; nothing is kept"}
    )

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "source_length",
            "target_length",
            "batch_tokens",
            "adapter_rank",
            "logits_chunk",
            "gradient_accumulation",
            "log_every",
            "eval_files",
            "eval_bytes",
        ):
            check_range(self, name, at_least=1)
        for name in ("warmup_steps", "eval_every", "save_every", "keep_best", "eval_rows", "norms_every", "ramp_steps"):
            check_range(self, name, at_least=0)
        check_range(self, "weight_decay", at_least=0, below=math.inf)
        for name in ("temperature", "distillation_temperature"):
            check_range(self, name, above=0, below=math.inf)
        for name in ("adam_beta1", "adam_beta2"):
            check_range(self, name, at_least=0, below=1)
        check_range(self, "label_smoothing", at_least=0, below=1)
        for name in ("min_learning_rate_ratio", "decay_fraction", "distillation"):
            check_range(self, name, at_least=0, at_most=1)
        check_range(self, "learning_rate", above=0, below=math.inf)
        check_range(self, "max_grad_norm", above=0)
        check_range(self, "seed", at_least=0, below=2**32)  # numpy's range
        if self.num_threads is not None:
            check_range(self, "num_threads", at_least=1)
        if self.stop_after_minutes is not None:
            check_range(self, "stop_after_minutes", above=0)
        check_choices(self)
        for override in self.config_overrides:
            name, equals, _ = override.partition("=")
            if not (name.isidentifier() and equals):
                raise RecipeError(f"--config_overrides takes key=value, e.g. d_model=256; got {override!r}")
        self.validate()

    def validate(self) -> None:
        """Raise RecipeError where two settings contradict each other."""
        if not any(self.shares.values()):
            raise RecipeError("--tasks gives every task a share of 0; give at least one more")
        self.weights  # noqa: B018, whose words are checked
        if self.loss_weighting == "gradnorm" and not self.norms_every:
            raise RecipeError("--loss_weighting gradnorm needs the tasks' gradients; give --norms_every, e.g. 10")
        if self.asymmetric and len(self.asymmetric) != 3:
            raise RecipeError(f"--asymmetric takes three numbers, e.g. 4 1 0.05; got {len(self.asymmetric)}")
        if self.student_layers and (
            self.teacher is None or self.init_from is not None or len(self.student_layers) != 2
        ):
            raise RecipeError("--student_layers takes two numbers, e.g. 3 1, and a --teacher, and no --init_from")
        if self.adapter is not None and self.init_from is None:
            raise RecipeError("--adapter trains what is added to a model; give the model as --init_from")
        if self.warmup_steps >= self.steps:
            raise RecipeError(
                f"--warmup_steps {self.warmup_steps} leaves nothing of --steps {self.steps};"
                f" try --warmup_steps {self.steps // 10}"
            )
        if self.schedule == "wsd" and self.warmup_steps + self.decay_fraction * self.steps > self.steps:
            raise RecipeError(
                f"--warmup_steps {self.warmup_steps} and --decay_fraction {self.decay_fraction} together are longer"
                f" than --steps {self.steps}; make one of them smaller"
            )

    @property
    def shares(self) -> dict[str, float]:
        """Share of each task in the rows, as given; those of 0 are left out."""
        return {name: share for name, share in _named_numbers("tasks", self.tasks).items() if share}

    @property
    def weights(self) -> dict[str, float]:
        """What the losses of tasks are multiplied by."""
        return _named_numbers("loss_weights", self.loss_weights)


def _named_numbers(setting: str, texts: Iterable[str]) -> dict[str, float]:
    """["quality=0.5"] -> {"quality": 0.5}; a name alone counts 1."""
    numbers = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            number = float(value) if equals else 1.0
        except ValueError:
            number = math.nan
        if not name or not (math.isfinite(number) and number >= 0):
            raise RecipeError(f"--{setting} takes name=number, at least 0, e.g. quality=0.5; got {text!r}")
        if name in numbers:
            raise RecipeError(f"--{setting} names {name} twice")
        numbers[name] = number
    return numbers


def check_range(
    recipe: Any,
    name: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> None:
    """Raise RecipeError naming the setting `name` when its number is outside the bounds or not a number."""
    value = getattr(recipe, name)
    bounds = [
        (at_least, "at least", lambda bound: value >= bound),
        (above, "above", lambda bound: value > bound),
        (at_most, "at most", lambda bound: value <= bound),
        (below, "below", lambda bound: value < bound),
    ]
    asked = [(bound, words, holds) for bound, words, holds in bounds if bound is not None]
    if not all(holds(bound) for bound, _, holds in asked):
        limits = " and ".join(f"{words} {bound}" for bound, words, _ in asked)
        raise RecipeError(f"--{name} must be {limits}, got {value}")


def check_choices(recipe: Any) -> None:
    """Raise RecipeError when a Literal field of a recipe built in Python holds none of its choices."""
    for setting in _settings(type(recipe)):
        value = getattr(recipe, setting.name)
        if get_origin(setting.type) is Literal and value not in get_args(setting.type) and value is not None:
            raise _not_a_choice(str(value), setting, [str(choice) for choice in get_args(setting.type)])


def parse(recipe_class: type[R], argv: Sequence[str]) -> R:
    """Build a recipe from the words of a command line.

    recipe_class: a keyword dataclass whose fields are of type str, int, float, bool, Path, Literal, a tuple or list of
    these, or one of these or None. `-h` and `--help` print every setting and exit.

    Raises RecipeError for an unknown or missing setting, a value of another type, and a recipe file that is absent,
    not quoted properly or includes itself.
    """
    settings = {setting.name: setting for setting in _settings(recipe_class)}
    words = deque(_expand(argv))
    given: dict[str, Any] = {}
    while words:
        word = words.popleft()
        if word.text in ("-h", "--help"):
            print(describe(recipe_class))
            raise SystemExit(0)
        name, equals, attached = word.text.removeprefix("--").partition("=")
        if not word.text.startswith("--"):
            raise RecipeError(f"{word.where}expected --name value or @file.args, got {word.text!r}")
        if name not in settings and settings.get(name.removeprefix("no_"), _NO_SETTING).type is bool:
            if equals:
                raise RecipeError(f"{word.where}--{name} takes no value; write --{name.removeprefix('no_')}={attached}")
            given[name.removeprefix("no_")] = False
            continue
        if name not in settings:
            hint = _did_you_mean(name, settings, "--") or "; --help lists every setting"
            raise RecipeError(f"{word.where}no such setting: --{name}{hint}")
        setting = settings[name]
        texts = [attached] if equals else _take_values(words, setting)
        try:
            given[name] = _convert(texts, setting)
        except RecipeError as error:
            raise RecipeError(f"{word.where}{error}") from None
    missing = [setting for setting in settings.values() if setting.is_required and setting.name not in given]
    if missing:
        named = "; ".join(f"--{setting.name} ({setting.help})" for setting in missing)
        raise RecipeError(f"missing: {named}. --help lists every setting")
    return recipe_class(**given)


def save(recipe: Any, path: Path | str) -> None:
    """Write `recipe` as an .args file that `parse` reads back as an equal recipe. An older file is replaced whole.

    Raises RecipeError for what the file cannot say: an empty element of a list, or a text "none" where None is meant
    by that word.
    """
    path = Path(path)
    lines = [f"# {type(recipe).__name__}: every setting, as `parse` of elixir_coder/recipe.py reads them back"]
    lines += [_written(setting, getattr(recipe, setting.name)) for setting in _settings(type(recipe))]
    text = "\n".join(lines) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def describe(recipe_class: type) -> str:
    """The table that --help prints: each setting with its type, its default and what it is."""
    rows = [
        (f"--{setting.name}", setting.type_name, "required" if setting.is_required else setting.default, setting.help)
        for setting in _settings(recipe_class)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    table = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]) for row in rows]
    title = (recipe_class.__doc__ or recipe_class.__name__).strip().splitlines()[0]
    usage = "Words from left to right, the later wins: --name value, --name=value, --flag, --no_flag, @file.args"
    return "\n".join([title, usage, "", *table])


@dataclass(frozen=True)
class _Setting:
    name: str
    type: Any  # without the None of an optional setting
    may_be_none: bool
    help: str
    is_required: bool
    default: str

    @property
    def is_list(self) -> bool:
        return get_origin(self.type) in (tuple, list)

    @property
    def type_name(self) -> str:
        if get_origin(self.type) is Literal:
            name = "|".join(map(str, get_args(self.type)))
        elif self.is_list:
            name = f"{get_args(self.type)[0].__name__.lower()}..."
        else:
            name = "true|false" if self.type is bool else self.type.__name__.lower()
        return f"{name}|none" if self.may_be_none else name


_NO_SETTING = _Setting("", None, False, "", False, "")


def _settings(recipe_class: type) -> list[_Setting]:
    hints = get_type_hints(recipe_class)
    settings = []
    for each in dataclasses.fields(recipe_class):
        kinds = get_args(hints[each.name]) if get_origin(hints[each.name]) in (Union, types.UnionType) else ()
        of_value = [kind for kind in kinds if kind is not type(None)] or [hints[each.name]]
        assert len(of_value) == 1, f"{recipe_class.__name__}.{each.name}: one type, or one type and None"
        required = each.default is MISSING and each.default_factory is MISSING
        shown = "" if required else _shown(_default(each))
        help_text = each.metadata.get("help", "")
        settings.append(_Setting(each.name, of_value[0], type(None) in kinds, help_text, required, shown))
    return settings


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _shown(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ",".join(map(_shown, value)) or "(empty)"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class _Word:
    text: str
    where: str  # "recipes/base.args, line 3: ", or nothing for a word of the command line


def _expand(argv: Sequence[str]) -> Iterator[_Word]:
    for text in argv:
        yield from _expand_word(_Word(text, ""), Path(), ())


def _expand_word(word: _Word, folder: Path, open_files: tuple[Path, ...]) -> Iterator[_Word]:
    if not word.text.startswith("@"):
        yield word
        return
    path = folder / word.text[1:]
    if path.resolve() in open_files:
        raise RecipeError(f"{word.where}recipe {path} includes itself")
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    except OSError as error:
        raise RecipeError(f"{word.where}cannot read recipe {path}: {error.strerror}") from None
    for inner in _words_of_file(text, path):
        yield from _expand_word(inner, path.parent, (*open_files, path.resolve()))


_TOKEN = re.compile(
    r"""(?P<gap>     (?: \s | \\\r?\n )+ )
      | (?P<comment> \#[^\n]* )
      | (?P<word>    (?: [^\s'"\\] | \\(?!\r?\n). | '[^']*' | "(?:[^"\\]|\\.)*" )+ )
    """,
    re.VERBOSE | re.DOTALL,
)


def _words_of_file(text: str, path: Path) -> Iterator[_Word]:
    """Words as a shell would split them; shlex alone would also start a comment inside a word such as `runs/#7`."""
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        where = f"{path}, line {text.count(chr(10), 0, at) + 1}: "
        if token is None:
            raise RecipeError(f"{where}a quote or a backslash here has no end")
        if token["word"] is not None:
            yield _Word("".join(shlex.split(token["word"])), where)
        at = token.end()


def _take_values(words: deque[_Word], setting: _Setting) -> list[str]:
    """The words after a setting that are its values: all of them for a list, true or false for a bool, else one."""
    taken: list[str] = []
    while words and not words[0].text.startswith("--"):
        if setting.type is bool and words[0].text.lower() not in {*_BOOLS, *(["none"] if setting.may_be_none else [])}:
            break
        taken.append(words.popleft().text)
        if not setting.is_list:
            break
    if not taken and setting.type is not bool:
        raise RecipeError(f"--{setting.name} needs a value ({setting.type_name}): {setting.help}")
    return taken


def _convert(texts: list[str], setting: _Setting) -> Any:
    if setting.may_be_none and texts == ["none"]:
        return None
    if setting.type is bool and not texts:
        return True
    if setting.is_list:
        read = _reader(get_args(setting.type)[0])
        return get_origin(setting.type)(read(part, setting) for text in texts for part in _split_at_commas(text))
    return _reader(setting.type)(texts[0], setting)


def _reader(kind: Any) -> Callable[[str, _Setting], Any]:
    return _choice(kind) if get_origin(kind) is Literal else _READERS[kind]


def _wrong(text: str, setting: _Setting, expected: str) -> RecipeError:
    return RecipeError(f"--{setting.name} must be {expected}{' or none' if setting.may_be_none else ''}, got {text!r}")


def _integer(text: str, setting: _Setting) -> int:
    try:
        number = Decimal(text)
        if number.is_finite() and number.adjusted() < 30 and number == number.to_integral_value():
            return int(number)
    except InvalidOperation:
        pass
    raise _wrong(text, setting, "a whole number")


def _float(text: str, setting: _Setting) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise _wrong(text, setting, "a number")
    return number


_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _bool(text: str, setting: _Setting) -> bool:
    if text.lower() not in _BOOLS:
        raise _wrong(text, setting, "true or false")
    return _BOOLS[text.lower()]


def _choice(kind: Any) -> Callable[[str, _Setting], Any]:
    def read(text: str, setting: _Setting) -> Any:
        choices = {str(choice): choice for choice in get_args(kind)}
        if text not in choices:
            raise _not_a_choice(text, setting, list(choices))
        return choices[text]

    return read


def _not_a_choice(text: str, setting: _Setting, choices: list[str]) -> RecipeError:
    return RecipeError(f"{_wrong(text, setting, 'one of ' + ', '.join(choices))}{_did_you_mean(text, choices)}")


_READERS: dict[Any, Callable[[str, _Setting], Any]] = {
    str: lambda text, setting: text,
    Path: lambda text, setting: Path(text),
    int: _integer,
    float: _float,
    bool: _bool,
}


def _did_you_mean(name: str, among: Iterable[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name.replace("-", "_"), list(among), n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def _split_at_commas(text: str) -> list[str]:
    """The parts between commas that stand neither in brackets nor after a backslash; empty parts are left out."""
    parts, depth, escaped = [""], 0, False
    for character in text:
        if escaped:
            parts[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == "," and depth == 0:
            parts.append("")
        else:
            depth = max(0, depth + (character in "([{") - (character in ")]}"))
            parts[-1] += character
    return [part for part in parts if part]


def _escaped(element: str) -> str:
    if not element:
        raise RecipeError("a recipe file cannot hold an empty element of a list")
    can_stand_as_it_is = _split_at_commas(f"{element},next") == [element, "next"]
    return element if can_stand_as_it_is else re.sub(r"([\\,()\[\]{}])", r"\\\1", element)


def _written(setting: _Setting, value: Any) -> str:
    if value is None:
        return f"--{setting.name} none"
    if setting.type is bool:
        return f"--{setting.name}" if value else f"--no_{setting.name}"
    text = ",".join(_escaped(str(part)) for part in value) if setting.is_list else str(value)
    if text == "none" and setting.may_be_none:
        if setting.type is not Path:
            raise RecipeError(f"--{setting.name} holds the text 'none', which a recipe file reads as no value")
        text = "./none"
    separator = "=" if setting.is_list or not text or text.startswith(("@", "--")) else " "
    return f"--{setting.name}{separator}{shlex.quote(text)}"
