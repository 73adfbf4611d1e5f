"""What is drawn is what the model computes, with values known beforehand; and the layer analysis keeps its word."""

import argparse
import io
import math
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch.utils.flop_counter import FlopCounterMode

from configuration_elixir_coder import ElixirCoderConfig, count_parameters, parameter_table
from elixir_coder import checkpoint
from elixir_coder.errors import CheckpointError, InputError, MissingDependencyError
from elixir_coder.release import show
from modeling_elixir_coder import ElixirCoderForConditionalGeneration, ElixirCoderModel

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "notes" / "architecture" / "layer-analysis.md"


def model_with(kind, **fields):
    """Two heads, 4 wide."""
    torch.manual_seed(0)
    shape = {
        "vocab_size": 32,
        "d_model": 8,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "max_position_embeddings": 64,
        "position_embedding_type": kind,
    }
    return ElixirCoderModel(ElixirCoderConfig(**shape | fields)).eval()


def close(values, expected):
    return torch.allclose(values.float(), torch.tensor(expected), atol=1e-6)


# -------------------------------------------------------------------------------------------------------- positions


def test_a_sinusoidal_table_has_sines_then_cosines_of_known_angles():
    (panel,) = show.positions(model_with("sinusoidal"), 3)  # one for both stacks, which share it
    angles = [2 * 10000 ** (-2 * pair / 8) for pair in range(4)]
    assert panel.values.shape == (3, 8)
    assert close(panel.values[0], [0.0] * 4 + [1.0] * 4)
    assert close(panel.values[2], [math.sin(a) for a in angles] + [math.cos(a) for a in angles])


def test_learned_tables_are_the_rows_that_each_stack_adds():
    model = model_with("learned")
    encoder, decoder = show.positions(model, 5)
    assert torch.equal(encoder.values, model.encoder.embed_positions.weight[:5])
    assert torch.equal(decoder.values, model.decoder.embed_positions.weight[:5])
    assert len(show.positions(model_with("learned", share_position_embeddings=True), 5)) == 1


def test_rotary_positions_are_the_cosine_and_the_sine_of_position_times_frequency():
    cosine, sine = show.positions(model_with("rotary"), 7)
    angles = [6 * frequency for frequency in (1.0, 0.01)]  # 10000^0 and 10000^(-2/4)
    assert close(cosine.values[6], [math.cos(a) for a in angles])
    assert close(sine.values[6], [math.sin(a) for a in angles])


def test_alibi_falls_by_the_slope_of_the_head_with_each_position_of_distance():
    encoder, decoder = show.positions(model_with("alibi"), 4)
    distances = [3, 2, 1, 0, 1, 2, 3]
    for panel in (encoder, decoder):
        assert panel.column_names == -3
        assert close(panel.values, [[-slope * d for d in distances] for slope in (2**-4, 2**-8)])
    assert encoder.is_blank is None
    assert decoder.is_blank.tolist() == [[False] * 4 + [True] * 3] * 2  # what is not written yet


def test_relative_positions_are_the_weight_of_the_bucket_of_each_distance():
    model = model_with("relative")
    for stack in (model.encoder, model.decoder):
        with torch.no_grad():
            stack.embed_positions.weight.copy_(torch.arange(32.0)[:, None] + torch.tensor([0.0, 100.0]))
    encoder, decoder = show.positions(model, 4)
    assert encoder.values[0].tolist() == [3, 2, 1, 0, 17, 18, 19]  # 16 buckets to the left, 16 to the right
    assert encoder.values[1].tolist() == [103, 102, 101, 100, 117, 118, 119]
    assert decoder.values[0, :4].tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("length", [0, 65])
@pytest.mark.parametrize("picture", [show.positions, show.rotation])
def test_more_positions_than_the_model_has_are_an_error(picture, length):
    with pytest.raises(InputError, match=f"between 1 and 64, .* got {length}"):
        picture(model_with("rotary"), length)


# --------------------------------------------------------------------------------------------------------- rotation


def test_a_rotated_dot_product_depends_on_the_distance_alone():
    angle, products, curves = show.rotation(model_with("rotary"), 40)
    assert close(angle.values[3], [3.0, 0.03])
    assert close(angle.values[4], [4.0 - 2 * math.pi, 0.04])  # back on the circle
    expected = torch.tensor([(math.cos(d) + math.cos(0.01 * d)) / 2 for d in range(40)])
    for query in range(40):
        assert torch.allclose(products.values[query, : query + 1].flip(0), expected[: query + 1], atol=1e-6)
        assert torch.allclose(products.values[query, query:], expected[: 40 - query], atol=1e-6)
    assert list(curves.lines) == ["query at 39", "query at 20", "query at 10"]
    assert torch.allclose(curves.lines["query at 20"], expected[:21], atol=1e-6)


def test_the_picture_shows_what_the_module_does(monkeypatch):
    monkeypatch.setattr(checkpoint.modeling_elixir_coder, "rotate", lambda vectors, turn: vectors)
    _, products, _ = show.rotation(model_with("rotary"), 8)
    assert close(products.values, [[1.0] * 8] * 8)


def test_other_positions_rotate_nothing():
    with pytest.raises(CheckpointError, match="a model with relative positions rotates nothing; see them with"):
        show.rotation(model_with("relative"), 8)


# -------------------------------------------------------------------------------------------------------- attention

SOURCE = ([5, 6, 7, 8, 2], ["five", "six", "seven", "eight", "</s>"])
TARGET = ([1, 9, 10], ["<s>", "nine", "ten"])


@pytest.fixture
def eager_model(tiny_model):
    tiny_model.set_attn_implementation("eager")
    return tiny_model


@pytest.mark.parametrize(
    ("stack", "rows", "columns"),
    [("encoder", SOURCE, SOURCE), ("decoder", TARGET, TARGET), ("cross", TARGET, SOURCE)],
)
def test_every_row_of_attention_adds_up_to_one_and_has_the_names_of_its_tokens(eager_model, stack, rows, columns):
    panel = show.attention(eager_model, SOURCE, TARGET, stack)
    assert panel.values.shape == (len(rows[0]), len(columns[0]))
    assert torch.allclose(panel.values.sum(dim=1), torch.ones(len(rows[0])), atol=1e-6)
    assert (panel.row_names, panel.column_names) == (rows[1], columns[1])


def test_attention_is_that_of_the_layer_and_head_asked_for(eager_model):
    output = eager_model(
        input_ids=torch.tensor([SOURCE[0]]), decoder_input_ids=torch.tensor([TARGET[0]]), output_attentions=True
    )
    panel = show.attention(eager_model, SOURCE, TARGET, "cross", layer=0, head=2)
    assert torch.equal(panel.values, output.cross_attentions[0][0, 2])
    assert panel.title == "Cross-attention, layer 0 of 0–1, head 2 of 0–3"
    panel = show.attention(eager_model, SOURCE, TARGET, "encoder")  # the last layer, the mean of its heads
    assert torch.equal(panel.values, output.encoder_attentions[1][0].mean(dim=0))


def test_the_decoder_looks_only_back(eager_model):
    panel = show.attention(eager_model, SOURCE, TARGET, "decoder")
    assert panel.is_blank.tolist() == [[False, True, True], [False, False, True], [False, False, False]]
    assert panel.values[panel.is_blank].tolist() == [0, 0, 0]
    assert show.attention(eager_model, SOURCE, TARGET, "encoder").is_blank is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"layer": 2}, "no layer 2: the decoder has 2 layers, numbered from 0 to 1"),
        ({"layer": -1}, "no layer -1: the decoder has 2 layers, numbered from 0 to 1"),
        ({"head": 4}, "no head 4: the decoder has 4 heads, numbered from 0 to 3"),
    ],
)
def test_a_layer_or_head_that_there_is_not_is_named_with_how_many_there_are(eager_model, asked, message):
    with pytest.raises(InputError, match=message):
        show.attention(eager_model, SOURCE, TARGET, "cross", **asked)


def test_a_text_longer_than_the_model_reads_is_an_error(eager_model):
    with pytest.raises(InputError, match="the text has 129 tokens, the model reads 128"):
        show.attention(eager_model, ([5] * 129, [""] * 129), TARGET, "encoder")


# ----------------------------------------------------------------------------------------------------------- tokens


@pytest.fixture(scope="module")
def tokenizer():
    return checkpoint.load_tokenizer(ROOT)


def test_blanks_and_line_breaks_of_tokens_can_be_seen(tokenizer):
    ids = tokenizer("def add(a, b) do\n  a\n").input_ids
    names = show.names_of(tokenizer, ids)
    assert "".join(names) == "def·add(a,·b)·do↵··a↵</s>"


def test_a_token_that_ends_inside_a_character_and_a_long_one_are_named_too(tokenizer):
    ids = tokenizer("\u6f22", add_special_tokens=False).input_ids
    assert len(ids) > 1
    assert all(re.fullmatch("‹.+›", name) for name in show.names_of(tokenizer, ids))
    names = show.names_of(tokenizer, range(len(tokenizer)))
    assert max(len(name) for name in names if name.endswith("…")) == show.LONGEST_NAME


# ---------------------------------------------------------------------------------------------------------- drawing


def panel_of(values, kind="signed", **fields):
    return show.HeatMap("title", torch.tensor(values), kind, "unit", "rows", "columns", **fields)


def pixels_of(path):
    """(height, width, 3) integers from 0 to 255 of a PNG."""
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    return (imread(path)[..., :3] * 255).round().astype(int)


def area_of(path, colour):
    """Pixels that have this colour, to within 2 of 255."""
    return (abs(pixels_of(path) - colour).max(axis=-1) <= 2).sum()


def num_colours(path):
    return len(np.unique(pixels_of(path) @ [1 << 16, 1 << 8, 1]))


def test_zero_is_white_and_equal_values_of_other_sign_are_equally_strong(tmp_path):
    show.draw([panel_of([[-2.0, 0.0, 2.0]])], "three", tmp_path / "three.png")
    ends = [(5, 48, 97), (103, 0, 31), (247, 247, 247)]  # of RdBu_r: lowest, highest, middle
    areas = [area_of(tmp_path / "three.png", colour) for colour in ends]
    assert min(areas) > 10_000
    assert max(areas) / min(areas) < 1.05


def test_cells_that_mean_nothing_are_grey(tmp_path):
    panel = panel_of([[0.5, 0.5]], "share", is_blank=torch.tensor([[False, True]]))
    show.draw([panel], "", tmp_path / "grey.png")
    assert area_of(tmp_path / "grey.png", (217, 217, 217)) > 10_000


def test_names_that_are_hard_to_draw_are_drawn(tmp_path):
    names = ["$x^", "_{$", "\\frac", "\u6f22", "</s>"]  # no formula, no glyph for the fourth, and no warning
    panel = panel_of([[0.2] * 5] * 5, "share", row_names=names, column_names=names)
    show.draw([panel], "", tmp_path / "names.png")
    assert show._drawable("a\u6f22·↵→") == "a\\u{6f22}·↵→"


def test_a_picture_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*taken\.png: Is a directory"):
        show.draw([panel_of([[1.0]])], "", tmp_path / "taken.png")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]


def test_without_matplotlib_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'elixir-coder\[pictures\]'"):
        show.draw([panel_of([[1.0]])], "", tmp_path / "picture.png")


# ---------------------------------------------------------------------------------------------------------- command


def run(capsys, *arguments):
    parser = argparse.ArgumentParser()
    show.add_parser(parser.add_subparsers())
    args = parser.parse_args(["show", *map(str, arguments)])
    assert args.run(args) == 0
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    torch.manual_seed(0)
    shape = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    config = ElixirCoderConfig.tiny(**shape | checkpoint.vocabulary_fields(tokenizer))
    path = tmp_path_factory.mktemp("show") / "model"
    checkpoint.save_model(path, ElixirCoderForConditionalGeneration(config), tokenizer)
    return path


@pytest.mark.parametrize("kind", show.TYPES)
def test_an_example_of_every_encoding_is_drawn(kind, tmp_path, capsys):
    out = tmp_path / "positions.png"
    assert run(capsys, "positions", "--type", kind, "--out", out).endswith(f"{out}\n")
    assert num_colours(out) > 100


def test_the_positions_of_a_folder_are_drawn(folder, tmp_path, capsys):
    run(capsys, "positions", "--model", folder, "--length", 16, "--out", tmp_path / "positions.png")
    assert num_colours(tmp_path / "positions.png") > 50


def test_the_rotation_is_drawn_without_a_model(tmp_path, capsys):
    run(capsys, "rotation", "--length", 16, "--out", tmp_path / "rotation.png")
    assert num_colours(tmp_path / "rotation.png") > 100


@pytest.mark.parametrize("arguments", [["--target", "def b, do: 2\n", "--stack", "cross"], ["--stack", "decoder"], []])
def test_the_attention_of_a_folder_is_drawn(folder, arguments, tmp_path, capsys):
    out = tmp_path / "attention.png"
    run(capsys, "attention", "def a(x), do: x\n", "--model", folder, "--head", 1, "--out", out, *arguments)
    assert num_colours(out) > 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["positions", "--out", "positions.jpg"], r"the picture is a PNG; give a name that ends in \.png"),
        (["rotation", "--out", "nowhere/rotation.png"], "there is no folder nowhere"),
        (["attention", " ", "--out", "a.png"], "the text is empty"),
        (["attention", "x", "--task", "poem", "--out", "a.png"], "--task must be one of code, test, .* got 'poem'"),
    ],
)
def test_wrong_usage_is_said_before_a_model_is_loaded(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoint, "load_model", lambda *args, **kwargs: pytest.fail("loaded"))
    with pytest.raises(InputError, match=message):
        run(capsys, *arguments)


# --------------------------------------------------------------------------------------------------- layer analysis


@pytest.fixture(scope="module")
def page():
    """The text of the page, what its code defines, and what it prints."""
    text = PAGE.read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    names, printed = {}, io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), names)
    return text, names, printed.getvalue()


def test_the_code_of_the_layer_analysis_prints_what_stands_under_it(page):
    text, _, printed = page
    (shown,) = re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert printed == shown


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"num_key_value_heads": 2, "gated_ffn": False, "use_bias": True},
        {
            "position_embedding_type": "rotary",
            "cross_attention_gate": True,
            "encoder_attention_heads": 2,
            "head_dim": 8,
        },
    ],
    ids=["tiny", "grouped, not gated", "rotary, gate, heads of another width"],
)
def test_the_formula_of_the_layer_analysis_counts_what_a_real_forward_computes(page, fields, tiny_config):
    config = ElixirCoderConfig.from_dict(tiny_config.to_dict() | fields)
    model = ElixirCoderForConditionalGeneration(config).eval()
    model.set_attn_implementation("eager")  # the counter does not know the fused product of sdpa on a CPU
    source, target = 24, 10
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(
            input_ids=torch.zeros(1, source, dtype=torch.long),
            decoder_input_ids=torch.zeros(1, target, dtype=torch.long),
            use_cache=False,
        )
    encoder, keys, decoder, cross, head = page[1]["per_token"](config, source, target)
    assert source * (encoder + keys) + target * (decoder + cross + head) == counter.get_total_flops()


@pytest.mark.parametrize("column", range(4))
def test_the_parameter_table_of_the_layer_analysis_is_right(page, column):
    preset = ("tiny", "small", "base", "full")[column]
    config = getattr(ElixirCoderConfig, preset)()
    rows = {
        cells[0].strip(" *"): [int(cell.strip(" *").replace(",", "")) for cell in cells[1:5]]
        for cells in (line.strip("|").split("|") for line in page[0].splitlines())
        if re.fullmatch(r"[ *\d,]+", "".join(cells[1:])) and len(cells) == 5
    }
    table = parameter_table(config)
    layers = {
        stack: [n for name, n in table.items() if name.startswith(f"model.{stack}.layers")]
        for stack in ("encoder", "decoder")
    }
    assert rows["embeddings, tied with the output"][column] == table["model.shared"]
    for stack, sizes in layers.items():
        assert rows[f"one {stack} layer"][column] == sizes[0]
        assert rows[f"all {stack} layers"][column] == sum(sizes)
    assert rows["to write"][column] == count_parameters(config)
    assert rows["heads that judge, besides"][column] == sum(table.values()) - count_parameters(config)
    numbers = 2 * config.decoder_layers * config.key_value_heads("decoder") * config.head_width("decoder")
    assert rows["numbers per token, self or cross"][column] == numbers
