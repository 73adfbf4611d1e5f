"""Answers the requests of an inference endpoint with the model in this folder, on torch and transformers alone.

    handler = EndpointHandler("path/to/this/folder")
    handler({"inputs": "def area(radius) do\\n  ", "parameters": {"max_new_tokens": 32}})
    handler({"inputs": {"prefix": "def one, do: ", "suffix": "\\n"}, "parameters": {"task": "infill"}})
    handler({"inputs": ["def a, do: 1", "use GenServer"], "parameters": {"task": "embed"}})

The answer is a list with one entry per text, also for a single one:

    generate, infill   {"generated_text": "..."}: what follows the text, or stands between prefix and suffix
    embed              a vector of length 1
    classify           [{"label": "Credo.Check...", "score": 0.9}, ...], likeliest first; only of heads that are trained

A request that cannot be answered raises ValueError naming the field, which endpoints send on as status 400. What stands
in a request is text: a `</s>` in it is spelled out, and no part of it is ever run, loaded or looked up.
"""

import difflib
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForPreTraining, AutoTokenizer
from transformers.dynamic_module_utils import get_class_from_dynamic_module

MAX_TEXTS = 32
MAX_CHARACTERS = 262_144  # of all texts together
MAX_WRITTEN = 16_384  # texts × beams × max_new_tokens
MAX_BATCH = 16_384  # tokens of one forward, padding included; at 4,096 each, scores of 4 heads take 1 GB
HEADS = ("quality", "security", "clarification")


class Range(NamedTuple):
    """Values that a parameter may have: from `least` to `most`, or true and false."""

    default: Any
    least: float = 0
    most: float = 1

    def checked(self, name: str, value: Any) -> Any:
        kind = type(self.default)
        if kind is bool:
            if not isinstance(value, bool):
                raise ValueError(f"parameters.{name} must be true or false, got {reprlib.repr(value)}")
            return value
        is_number = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
        if not is_number or not self.least <= value <= self.most:
            sort = "a number" if kind is float else "a whole number"
            raise ValueError(
                f"parameters.{name} must be {sort} from {self.least:,} to {self.most:,}, got {reprlib.repr(value)}"
            )
        return kind(value)


WRITING = {
    "max_new_tokens": Range(256, 1, 4_096),
    "temperature": Range(0.0, 0, 10),  # 0 takes the likeliest token every time
    "top_p": Range(0.95, 0.01, 1),
    "top_k": Range(0, 0, 32_000),  # 0 for any
    "num_beams": Range(1, 1, 8),
    "repetition_penalty": Range(1.0, 0.1, 10),
    "seed": Range(0, 0, 2**32 - 1),
}
PARAMETERS = {
    "generate": WRITING | {"return_full_text": Range(False)},
    "infill": WRITING,
    "embed": {"truncate": Range(False)},
    "classify": {"truncate": Range(False), "top_k": Range(10, 1, 1_000)},
}


class EndpointHandler:
    """The model of a folder, loaded once. Raises ValueError when its weights are not all there."""

    def __init__(self, path: Path | str = ""):
        folder = str(path) or "."
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = "auto" if self.device.type == "cuda" else torch.float32  # bfloat16 is slower on most CPUs
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
        model, info = AutoModelForPreTraining.from_pretrained(
            folder, trust_remote_code=True, dtype=dtype, output_loading_info=True
        )
        untrained = {name.partition("_head.")[0] for name in info["missing_keys"]}
        if lost := sorted(untrained - set(HEADS)):
            raise ValueError(f"the weights in {folder} lack {lost[0]}; copy the folder again")
        self.heads = [name for name in HEADS if name not in untrained]
        self.model = model.to(self.device).eval()
        self.limit = model.config.max_position_embeddings
        self._encode_text, self._encode_prompt, self._split_prompt = (
            get_class_from_dynamic_module(f"tokenization_elixir_coder.{name}", folder)
            for name in ("encode_untrusted", "encode_prompt", "split_prompt")
        )

    def __call__(self, data: dict[str, Any]) -> list:
        """Answer one request: `inputs`, and `parameters` with the task and its settings."""
        if not isinstance(data, dict):
            raise ValueError(f"a request is an object with `inputs`, got {reprlib.repr(data)}")
        _refuse_unknown("", data, ("inputs", "parameters", "stream"))
        if "inputs" not in data:
            raise ValueError("inputs is missing")
        if data.get("stream"):
            raise ValueError("stream must be false or left out: the answer comes in one piece")
        given = {} if data.get("parameters") is None else data["parameters"]
        if not isinstance(given, dict):
            raise ValueError(f"parameters must be an object, got {reprlib.repr(given)}")
        task = given.get("task", "generate")
        if not isinstance(task, str) or task not in PARAMETERS:
            raise ValueError(f"parameters.task must be one of {', '.join(PARAMETERS)}; got {reprlib.repr(task)}")
        ranges = PARAMETERS[task]
        _refuse_unknown("parameters.", given, ("task", *ranges))
        settings = {
            name: allowed.default if given.get(name) is None else allowed.checked(name, given[name])
            for name, allowed in ranges.items()
        }
        entries = data["inputs"] if isinstance(data["inputs"], list) else [data["inputs"]]
        if not 1 <= len(entries) <= MAX_TEXTS:
            raise ValueError(f"inputs must hold 1 to {MAX_TEXTS} texts, got {len(entries)}")
        names = [f"inputs[{at}]" if isinstance(data["inputs"], list) else "inputs" for at in range(len(entries))]
        if task == "infill":
            texts = [_fields(name, entry, ("prefix", "suffix")) for name, entry in zip(names, entries)]
        else:
            texts = [{"text": _text(name, entry)} for name, entry in zip(names, entries)]
        length = sum(len(text) for fields in texts for text in fields.values())
        if length > MAX_CHARACTERS:
            raise ValueError(f"inputs may have {MAX_CHARACTERS:,} characters in all, got {length:,}")
        with torch.inference_mode():
            return getattr(self, f"_{task}")(names, texts, **settings)

    def _generate(self, names: list[str], texts: list[dict], return_full_text: bool, **settings: Any) -> list[dict]:
        task = self.tokenizer.convert_tokens_to_ids("<code>")
        sources, begun = [], []
        for fields in texts:
            earlier, latest = self._split_prompt(self._encode_text(self.tokenizer, fields["text"]))
            sources.append([task, *earlier, self.tokenizer.eos_token_id])
            begun.append([self.model.config.decoder_start_token_id, *latest])
        written = self._write(names, sources, begun, **settings)
        if return_full_text:
            written = [fields["text"] + text for fields, text in zip(texts, written)]
        return [{"generated_text": text} for text in written]

    def _infill(self, names: list[str], texts: list[dict], **settings: Any) -> list[dict]:
        sources = [self._encode_prompt(self.tokenizer, "fim", **fields) for fields in texts]
        begun = [[self.model.config.decoder_start_token_id] for _ in texts]
        return [{"generated_text": text} for text in self._write(names, sources, begun, **settings)]

    def _embed(self, names: list[str], texts: list[dict], truncate: bool) -> list[list[float]]:
        batches = self._batches(self._read(names, texts, truncate))
        return [vector for batch in batches for vector in self.model.encode(**batch).tolist()]

    def _classify(self, names: list[str], texts: list[dict], truncate: bool, top_k: int) -> list[list[dict]]:
        if not self.heads:
            raise ValueError("parameters.task: the heads that judge are untrained in these weights")
        config = self.model.config
        labels = {"quality": config.quality_labels, "security": config.security_labels, "clarification": [HEADS[2]]}
        named = [label for head in self.heads for label in labels[head]]
        judged = []
        for batch in self._batches(self._read(names, texts, truncate)):
            start = torch.full((len(batch["input_ids"]), 1), config.decoder_start_token_id, device=self.device)
            output = self.model(**batch, decoder_input_ids=start, use_cache=False)
            rows = len(start)
            logits = torch.cat([output[f"{head}_logits"].reshape(rows, -1) for head in self.heads], dim=-1)
            for row in logits.float().sigmoid().tolist():
                scores = sorted(zip(row, named), reverse=True)[:top_k]
                judged.append([{"label": label, "score": score} for score, label in scores])
        return judged

    def _read(self, names: list[str], texts: list[dict], truncate: bool) -> list[list[int]]:
        """What the encoder reads of each text: the text and `</s>`."""
        rows = [self._encode_text(self.tokenizer, fields["text"]) for fields in texts]
        rows = [[*(ids[: self.limit - 1] if truncate else ids), self.tokenizer.eos_token_id] for ids in rows]
        self._check_length(names, rows)
        return rows

    def _write(
        self,
        names: list[str],
        sources: list[list[int]],
        begun: list[list[int]],
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        top_k: int,
        num_beams: int,
        repetition_penalty: float,
        seed: int,
    ) -> list[str]:
        """What the decoder writes for each source after what it has begun with."""
        self._check_length(names, sources)
        if (room := self.limit - max(map(len, begun))) < max_new_tokens:
            raise ValueError(f"parameters.max_new_tokens may be {room} at most after this text, got {max_new_tokens}")
        if len(sources) * num_beams * max_new_tokens > MAX_WRITTEN:
            raise ValueError(
                f"texts × num_beams × max_new_tokens may be {MAX_WRITTEN:,}, got "
                f"{len(sources)} × {num_beams} × {max_new_tokens}; lower parameters.max_new_tokens or send fewer inputs"
            )
        settings = {
            "max_new_tokens": max_new_tokens,
            "num_beams": num_beams,
            "repetition_penalty": repetition_penalty,
            "do_sample": temperature > 0,
        }
        if temperature > 0:
            if num_beams > 1:
                raise ValueError("parameters.num_beams searches for the likeliest text: it goes with temperature 0")
            settings |= {"temperature": temperature, "top_p": top_p, "top_k": top_k}
        written = []
        with torch.random.fork_rng():  # a seed is of one request, not of the next
            torch.manual_seed(seed)
            for batch in self._batches(sources, begun):
                ids = self.model.generate(**batch, **settings)
                written += self.tokenizer.batch_decode(
                    ids[:, batch["decoder_input_ids"].shape[1] :],
                    skip_special_tokens=True,
                    clean_up_tokenization_spaces=False,
                )
        return written

    def _check_length(self, names: list[str], rows: list[list[int]]) -> None:
        for name, ids in zip(names, rows):
            if len(ids) > self.limit:
                raise ValueError(f"{name} has {len(ids):,} tokens, the model reads {self.limit:,}; shorten it")

    def _batches(self, rows: list[list[int]], begun: list[list[int]] | None = None) -> Iterator[dict]:
        """The rows as inputs of the model, in order, padded, as many at a time as MAX_BATCH lets in."""
        first = 0
        for at in range(1, len(rows) + 1):
            if at == len(rows) or (at + 1 - first) * max(map(len, rows[first : at + 1])) > MAX_BATCH:
                batch = self._padded("", rows[first:at], "right")
                if begun is not None:  # what is continued has to end with its last real token
                    batch |= self._padded("decoder_", begun[first:at], "left")
                yield batch
                first = at

    def _padded(self, prefix: str, rows: list[list[int]], side: str) -> dict[str, torch.Tensor]:
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for at, row in enumerate(rows):
            place = slice(len(row)) if side == "right" else slice(width - len(row), width)
            ids[at, place], mask[at, place] = torch.tensor(row), 1
        return {f"{prefix}input_ids": ids.to(self.device), f"{prefix}attention_mask": mask.to(self.device)}


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, got {reprlib.repr(value)}")
    if not value.strip():
        raise ValueError(f"{name} is empty")
    return _encodable(name, value)


def _fields(name: str, value: Any, fields: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(value, dict) or set(value) != set(fields):
        raise ValueError(f"{name} must be an object with {' and '.join(fields)}, got {reprlib.repr(value)}")
    for field in fields:
        if not isinstance(value[field], str):
            raise ValueError(f"{name}.{field} must be text, got {reprlib.repr(value[field])}")
    if not any(value[field].strip() for field in fields):
        raise ValueError(f"{name}.prefix and {name}.suffix are both empty")
    return {field: _encodable(f"{name}.{field}", value[field]) for field in fields}


def _encodable(name: str, text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} has half a surrogate pair at character {error.start}") from None
    return text


def _refuse_unknown(prefix: str, given: dict, known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            name = str(name)[:60]
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"there is: {', '.join(known)}"
            raise ValueError(f"{prefix}{name} is not known here; {hint}")
