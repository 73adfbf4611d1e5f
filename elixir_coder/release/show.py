"""Pictures of what a model computes, as PNG: `elixir-coder show positions|rotation|attention`.

Every number that is drawn comes out of the model's own modules, so an encoding that is wrong shows in its picture.
`positions`, `rotation` and `attention` give the panels of a picture; `draw` writes them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elixir_coder.errors import CheckpointError, InputError, require
from elixir_coder.generation.generator import DEFAULT_MODEL, read_text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TYPES = ("sinusoidal", "learned", "rotary", "alibi", "relative")
STACKS = ("encoder", "decoder", "cross")
NUM_WRITTEN = 24  # tokens that the model writes where no target is given: as many as can be read in a picture
MOST_NAMES = 120  # tokens along an axis with their text; more would be too small to read
LONGEST_NAME = 16  # characters of a token's text that are shown

DPI = 120
COLOURS = {"signed": "RdBu_r", "decades": "RdBu_r", "share": "magma_r", "angle": "twilight_shifted"}
INCHES_PER_NAME = 0.17
VISIBLE = str.maketrans({" ": "·", "\n": "↵", "\t": "→", "\r": "␍"})


@dataclass(frozen=True)
class HeatMap:
    """A matrix to draw, its first row at the top.

    values: (rows, columns) float. kind: "signed" (white is 0), "decades" (signed, over several orders of magnitude),
    "share" (0 and more) or "angle" (radians, a circle).
    row_names, column_names: a text for each, or the number that the first one has. is_blank: cells that mean nothing.
    """

    title: str
    values: torch.Tensor
    kind: str
    unit: str
    rows: str
    columns: str
    row_names: Sequence[str] | int = 0
    column_names: Sequence[str] | int = 0
    is_blank: torch.Tensor | None = None


@dataclass(frozen=True)
class Curves:
    """Values against whole numbers from 0. lines: a name and its (points,) values; later ones are drawn thinner."""

    title: str
    lines: dict[str, torch.Tensor]
    x: str
    y: str


def positions(model: PreTrainedModel, length: int) -> list[HeatMap]:
    """What the model knows of the positions 0 to `length`-1, as its own modules give it; `model` has no head.

    Sinusoidal and learned: the (length, width) table added to embeddings. Rotary: the cosine and the sine of each
    position and pair of channels. Relative and ALiBi: what each head adds to its scores, by distance, for each stack.
    Raises InputError for more positions than the model has.
    """
    import torch

    kind = model.config.position_embedding_type
    index = _first_positions(model, length)
    stacks = {"encoder": model.encoder, "decoder": model.decoder}
    with torch.no_grad():
        if kind == "rotary":
            cosines, sines = (each[0, 0] for each in model.encoder.rotation(index, torch.float32))
            half = cosines.shape[-1] // 2  # the other half of a head turns by the same angles
            return [
                HeatMap(name, values[:, :half], "signed", name.lower(), "position", "pair of channels")
                for name, values in (("Cosine", cosines), ("Sine", sines))
            ]
        if kind in ("sinusoidal", "learned"):
            tables = {name: stack.embed_positions(index)[0] for name, stack in stacks.items()}
            if torch.equal(tables["encoder"], tables["decoder"]):
                tables = {"encoder and decoder": tables["encoder"]}
            return [
                HeatMap(name.capitalize(), table, "signed", "added to the embedding", "position", "channel")
                for name, table in tables.items()
            ]
        panels = []
        for name, stack in stacks.items():
            last, keys = torch.tensor([[length - 1]]), torch.arange(2 * length - 1)[None]
            bias = stack.embed_positions.between(last, keys)[0, :, 0]
            future = torch.arange(2 * length - 1) >= length
            panels.append(
                HeatMap(
                    name.capitalize(),
                    bias,
                    "decades" if kind == "alibi" else "signed",  # ALiBi's slopes are powers of 2
                    "added to the score",
                    "head",
                    "key position − query position",
                    column_names=1 - length,
                    is_blank=future.expand_as(bias) if name == "decoder" else None,
                )
            )
        return panels


def rotation(model: PreTrainedModel, length: int) -> list[HeatMap | Curves]:
    """How rotary positions turn a query and a key that are equal, and what is left of their dot product.

    The angle of each position and pair of channels; the dot product of each two positions, 1 at the same position; and
    the same by distance, which is all it depends on. Raises CheckpointError for a model without rotary positions.
    """
    import torch

    from elixir_coder.checkpoint import modeling_elixir_coder

    if (kind := model.config.position_embedding_type) != "rotary":
        raise CheckpointError(
            f"a model with {kind} positions rotates nothing; see them with `elixir-coder show positions`, or leave out "
            "--model to see an example"
        )
    with torch.no_grad():
        turn = model.encoder.rotation(_first_positions(model, length), torch.float32)
        cosines, sines = turn
        width = cosines.shape[-1]
        vectors = modeling_elixir_coder.rotate(torch.full((1, 1, length, width), width**-0.5), turn)[0, 0]
    angles = torch.atan2(sines, cosines)[0, 0, :, : width // 2]
    products = vectors @ vectors.T
    spread = max(float(diagonal.max() - diagonal.min()) for diagonal in (products.diagonal(-d) for d in range(length)))
    queries = sorted({length // 4, length // 2, length - 1}, reverse=True)
    return [
        HeatMap("Angle", angles, "angle", "radians", "position", "pair of channels"),
        HeatMap(
            "Query · key, the same vector before the rotation",
            products,
            "signed",
            "dot product",
            "position of the query",
            "position of the key",
        ),
        Curves(
            f"The same by distance, alike to {spread:.0e}",
            {f"query at {query}": products[query, : query + 1].flip(0) for query in queries},
            "positions that the key is before the query",
            "dot product",
        ),
    ]


def _first_positions(model: PreTrainedModel, length: int) -> torch.Tensor:
    import torch

    limit = model.config.max_position_embeddings
    if not 1 <= length <= limit:
        raise InputError(f"--length must lie between 1 and {limit}, which is all this model has; got {length}")
    return torch.arange(length)[None]


def attention(
    model: PreTrainedModel,
    source: tuple[list[int], list[str]],
    target: tuple[list[int], list[str]],
    stack: str,
    layer: int | None = None,
    head: int | None = None,
) -> HeatMap:
    """The attention weights of one layer for one input; each row adds up to 1.

    model: for generation, with eager attention. source, target: what the encoder and the decoder read, as ids and as
    texts. stack: "encoder" and "decoder" for self-attention, "cross" for the decoder's look at the encoder.
    layer: from 0, or None for the last. head: from 0, or None for the mean. Raises InputError for one there is not.
    """
    import torch

    config = model.config
    owner = "encoder" if stack == "encoder" else "decoder"
    layer = _checked("layer", layer, getattr(config, f"{owner}_layers"), owner)
    num_heads = getattr(config, f"{owner}_attention_heads")
    for ids, what in ((source[0], "text"), (target[0], "target")):
        if len(ids) > config.max_position_embeddings:
            raise InputError(f"the {what} has {len(ids)} tokens, the model reads {config.max_position_embeddings}")
    with torch.no_grad():
        output = model(
            input_ids=torch.tensor([source[0]]),
            decoder_input_ids=torch.tensor([target[0]]),
            output_attentions=True,
            use_cache=False,
        )
    weights = {
        "encoder": output.encoder_attentions,
        "decoder": output.decoder_attentions,
        "cross": output.cross_attentions,
    }[stack][layer][0].float()
    if head is None:
        which, weights = f"mean of {num_heads} heads", weights.mean(dim=0)
    else:
        which, weights = f"head {head} of 0–{num_heads - 1}", weights[_checked("head", head, num_heads, owner)]
    future = torch.ones_like(weights, dtype=torch.bool).triu(1) if stack == "decoder" else None
    what = "Cross-attention" if stack == "cross" else f"Self-attention of the {stack}"
    return HeatMap(
        f"{what}, layer {layer} of 0–{getattr(config, f'{owner}_layers') - 1}, {which}",
        weights,
        "share",
        "share of the row",
        "token that looks" if stack != "cross" else "token written so far, which looks",
        "token looked at" if stack != "cross" else "token of the source, looked at",
        row_names=source[1] if stack == "encoder" else target[1],
        column_names=target[1] if stack == "decoder" else source[1],
        is_blank=future,
    )


def _checked(what: str, index: int | None, number: int, stack: str) -> int:
    if index is None:
        return number - 1
    if not 0 <= index < number:
        raise InputError(f"no {what} {index}: the {stack} has {number} {what}s, numbered from 0 to {number - 1}")
    return index


def names_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text of each token as it can be read in a picture: `·` for a blank, `↵` for a line break."""
    special = set(tokenizer.all_special_ids)
    names = []
    for index in ids:
        if index in special:
            names.append(tokenizer.convert_ids_to_tokens(index))
            continue
        text = tokenizer.decode([index], clean_up_tokenization_spaces=False).translate(VISIBLE)
        if "\ufffd" in text:  # bytes inside a character
            text = f"‹{tokenizer.convert_ids_to_tokens(index)}›"
        names.append(text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…")
    return names


# ------------------------------------------------------------------------------------------------------------ drawing


def draw(panels: Sequence[HeatMap | Curves], title: str, out: Path) -> None:
    """Write the panels side by side as a PNG, whole or not at all.

    Raises MissingDependencyError without matplotlib and InputError when `out` cannot be written.
    """
    require("matplotlib", "pictures")
    from matplotlib.figure import Figure  # without pyplot: no window, no state that outlives the picture

    sizes = [_inches(panel) for panel in panels]
    figure = Figure(figsize=(sum(w for w, _ in sizes), max(h for _, h in sizes)), layout="constrained", dpi=DPI)
    axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=[w for w, _ in sizes])[0]
    for panel, axis in zip(panels, axes):
        if isinstance(panel, HeatMap):
            _draw_heat_map(panel, axis)
        else:
            _draw_curves(panel, axis)
        axis.set_title(panel.title, fontsize=10)
    figure.suptitle(title, fontsize=12)
    new = out.with_name(f".{out.name}.drawing")
    try:
        figure.savefig(new, dpi=DPI, format="png", bbox_inches="tight")
        os.replace(new, out)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        new.unlink(missing_ok=True)


def _inches(panel: HeatMap | Curves) -> tuple[float, float]:
    if isinstance(panel, Curves):
        return 5.0, 4.2
    rows, columns = panel.values.shape
    width = INCHES_PER_NAME * columns + 3.0 if _shown(panel.column_names) else 5.0
    height = INCHES_PER_NAME * rows + 2.4 if _shown(panel.row_names) else 4.2
    return width, height


def _shown(names: Sequence[str] | int) -> list[str]:
    """The names as they are drawn; none where there are only numbers, or more names than can be read."""
    return [] if isinstance(names, int) or len(names) > MOST_NAMES else [_drawable(name) for name in names]


def _draw_heat_map(panel: HeatMap, axis: Any) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import Normalize, SymLogNorm
    from numpy import ma, pi

    rows, columns = panel.values.shape
    values = ma.masked_array(panel.values.numpy(), mask=False if panel.is_blank is None else panel.is_blank.tolist())
    largest = float(abs(values).max()) or 1.0
    scale = {
        "signed": Normalize(-largest, largest),
        "decades": SymLogNorm(largest / 1000, vmin=-largest, vmax=largest),
        "share": Normalize(0, largest),
        "angle": Normalize(-pi, pi),
    }[panel.kind]
    left = panel.column_names if isinstance(panel.column_names, int) else 0
    top = panel.row_names if isinstance(panel.row_names, int) else 0
    image = axis.imshow(
        values,
        cmap=colormaps[COLOURS[panel.kind]].with_extremes(bad="0.85"),
        norm=scale,
        aspect="auto",
        interpolation="nearest",
        extent=(left - 0.5, left + columns - 0.5, top + rows - 0.5, top - 0.5),
    )
    axis.set(xlabel=panel.columns, ylabel=panel.rows)
    style = {"fontsize": 7, "family": "monospace", "parse_math": False}  # two $ in a token are no formula
    if names := _shown(panel.column_names):
        axis.set_xticks(range(columns), names, rotation=90, **style)
    if names := _shown(panel.row_names):
        axis.set_yticks(range(rows), names, **style)
    elif rows <= 16:
        axis.set_yticks(range(top, top + rows))
    numbers = "%g" if panel.kind == "decades" else None
    bar = axis.figure.colorbar(image, ax=axis, label=panel.unit, fraction=0.05, pad=0.02, format=numbers)
    if panel.kind == "angle":
        bar.set_ticks([-pi, 0, pi], labels=["−π", "0", "π"])


def _draw_curves(panel: Curves, axis: Any) -> None:
    for number, (name, values) in enumerate(panel.lines.items()):
        axis.plot(values.numpy(), label=name, linewidth=6 / (number + 1), color=f"C{number}", solid_capstyle="butt")
    axis.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    axis.set(xlabel=panel.x, ylabel=panel.y)
    axis.legend(fontsize=8)


def _drawable(name: str) -> str:
    """The name with each character that the font lacks as its number, which would be an empty box with a warning."""
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont("monospace")).get_charmap()
    return "".join(each if ord(each) in known else f"\\u{{{ord(each):x}}}" for each in name)


# ------------------------------------------------------------------------------------------------------------ command


def add_parser(subparsers: Any) -> None:
    """Add `elixir-coder show`."""
    summary = "draw what a model computes, as PNG"
    pictures = subparsers.add_parser("show", help=summary, description=f"{summary.capitalize()}.").add_subparsers(
        title="pictures", metavar="PICTURE", required=True
    )
    parser = pictures.add_parser(
        "positions",
        help="what the model knows of positions",
        description="Draw the encoding of positions of a model folder, or of an untrained example of --type.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="model folder (default: the shipped model)")
    which.add_argument(
        "--type", choices=TYPES, help="an example of this encoding, with random weights where it has any"
    )
    parser.add_argument("--length", type=int, default=64, help="positions to draw (default: 64)")
    _add_out(parser, run_positions)

    parser = pictures.add_parser(
        "rotation",
        help="what rotary positions do to a query and a key",
        description="Draw the angles of rotary positions and the dot product of a rotated query and key.",
    )
    parser.add_argument("--model", type=Path, help="model folder (default: an example of SmolLM2's shape)")
    parser.add_argument("--length", type=int, default=64, help="positions to draw (default: 64)")
    _add_out(parser, run_rotation)

    parser = pictures.add_parser(
        "attention",
        help="who looks at whom in a given text",
        description="Draw the attention weights of one layer for a text that is read and a target that is written.",
    )
    parser.add_argument("text", help="what the encoder reads, or - to read it from standard input")
    parser.add_argument("--target", help=f"what the decoder writes (default: the model writes {NUM_WRITTEN} tokens)")
    parser.add_argument("--task", default="code", help="the task whose token stands before the text (default: code)")
    parser.add_argument(
        "--stack",
        choices=STACKS,
        default="encoder",
        help="self-attention of the encoder (default) or the decoder, or cross-attention between them",
    )
    parser.add_argument("--layer", type=int, help="layer of the stack, from 0 (default: the last)")
    parser.add_argument("--head", type=int, help="head of the layer, from 0 (default: the mean of all)")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="model folder (default: the shipped model)")
    _add_out(parser, run_attention)


def _add_out(parser: argparse.ArgumentParser, run: Any) -> None:
    name = run.__name__.removeprefix("run_")
    parser.add_argument("--out", type=Path, default=Path(f"{name}.png"), help=f"file to write (default: {name}.png)")
    parser.set_defaults(run=run)


def run_positions(args: argparse.Namespace) -> int:
    """Draw `elixir-coder show positions`."""
    _check_out(args.out)
    if args.type:
        model = _example(position_embedding_type=args.type)
        name = "before training" if args.type in ("learned", "relative") else "(computed, not learned)"
    else:
        model = _base_model(args.model)
        name = "of the shipped model" if args.model == DEFAULT_MODEL else f"of {args.model.resolve().name}"
    kind = model.config.position_embedding_type
    kind = "ALiBi" if kind == "alibi" else kind.capitalize()
    return _draw(positions(model, args.length), f"{kind} positions {name}", args.out)


def run_rotation(args: argparse.Namespace) -> int:
    """Draw `elixir-coder show rotation`."""
    _check_out(args.out)
    if args.model is None:
        rope = {"rope_type": "default", "rope_theta": 100000.0}
        model = _example(position_embedding_type="rotary", rope_parameters=rope)
    else:
        model = _base_model(args.model)
    theta = (model.config.rope_parameters or {}).get("rope_theta", 0)
    return _draw(rotation(model, args.length), f"Rotary positions, theta {theta:,.0f}", args.out)


def run_attention(args: argparse.Namespace) -> int:
    """Draw `elixir-coder show attention`."""
    import torch

    from elixir_coder.checkpoint import load_model, load_tokenizer
    from tokenization_elixir_coder import PROMPTS, encode_prompt, encode_untrusted

    _check_out(args.out)
    text = read_text(sys.stdin.buffer.read(), "standard input") if args.text == "-" else args.text
    if not text.strip():
        raise InputError("the text is empty; give some Elixir, e.g. 'def add(a, b), do: a + b'")
    fields = {task: template[template.index("{") + 1 : -1] for task, template in PROMPTS.items() if task != "fim"}
    if args.task not in fields:
        raise InputError(f"--task must be one of {', '.join(fields)}, got {args.task!r}")
    tokenizer = load_tokenizer(args.model)
    model = load_model(args.model, tokenizer=tokenizer, attn_implementation="eager")
    source = encode_prompt(tokenizer, args.task, **{fields[args.task]: text})
    target = [model.config.decoder_start_token_id]
    if args.target is not None:
        target += encode_untrusted(tokenizer, args.target)
    elif args.stack != "encoder" and len(source) <= model.config.max_position_embeddings:
        read = torch.tensor([source])
        written = model.generate(read, attention_mask=torch.ones_like(read), max_new_tokens=NUM_WRITTEN)[0]
        target = written[:-1].tolist()  # the last token is written, not yet read
    panel = attention(
        model,
        (source, names_of(tokenizer, source)),
        (target, names_of(tokenizer, target)),
        args.stack,
        args.layer,
        args.head,
    )
    return _draw([panel], "", args.out)


def _example(**fields: Any) -> PreTrainedModel:
    """A model as small as its picture needs: heads 64 wide as in all presets, one layer, the same weights each time."""
    import torch

    from elixir_coder.checkpoint import new_model, preset_config

    torch.manual_seed(0)
    shape = {"vocab_size": 256, "d_model": 512, "encoder_layers": 1, "decoder_layers": 1}
    heads = {"encoder_attention_heads": 8, "decoder_attention_heads": 8, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    return new_model(preset_config("tiny", **shape | heads | fields), kind="base").eval()


def _base_model(folder: Path) -> PreTrainedModel:
    from elixir_coder.checkpoint import load_model

    return load_model(folder, kind="base")


def _check_out(out: Path) -> None:
    """Before anything is computed: raise InputError where no PNG can be written."""
    if out.suffix.lower() != ".png":
        raise InputError(f"--out {out}: the picture is a PNG; give a name that ends in .png")
    if not out.parent.is_dir():
        raise InputError(f"cannot write {out}: there is no folder {out.parent}")


def _draw(panels: Sequence[HeatMap | Curves], title: str, out: Path) -> int:
    draw(panels, title, out)
    print(f"{out.stat().st_size:>12,}  {out}")
    return 0
