"""Many texts in one row give the numbers that each gives in a row of its own, and the same gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from configuration_elixir_coder import ElixirCoderConfig
from modeling_elixir_coder import (
    ElixirCoderEncoderModel,
    ElixirCoderForMultiTask,
    positions_in_segments,
    segment_means,
)
from tests.test_modeling import SHAPE, VARIANTS, every_variant

LENGTHS = [(5, 3), (1, 7), (9, 1), (3, 4), (6, 2)]
every_attention = pytest.mark.parametrize("attention", ["eager", "sdpa", "flex_attention"])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def model_of(variant, attention="sdpa", **changes):
    config = ElixirCoderConfig(**SHAPE | VARIANTS[variant] | {"init_std": 0.2} | changes)
    model = ElixirCoderForMultiTask(config)
    model.set_attn_implementation(attention)
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:  # norms and gates that are not what they begin as
            torch.nn.init.normal_(parameter, mean=float("layer_norm" in name), std=0.3)
    return model


def texts(lengths=LENGTHS):
    return [(torch.randint(3, 97, (1, source)), torch.randint(3, 97, (1, target))) for source, target in lengths]


def packed(pairs, rows, padding=0):
    """The texts dealt out to rows in turn, as the model takes them; and which text stands where."""
    order = [number for row in range(rows) for number in range(row, len(pairs), rows)]
    batch = {}
    for side, key in enumerate(["", "decoder_"]):
        ids, segments = [], []
        for row in range(rows):
            mine = [pairs[number][side][0] for number in range(row, len(pairs), rows)]
            ids.append(torch.cat(mine))
            segments.append(torch.cat([torch.full_like(text, at) for at, text in enumerate(mine, start=1)]))
        width = max(map(len, ids)) + padding
        batch[f"{key}input_ids"] = torch.stack([torch.nn.functional.pad(each, (0, width - len(each))) for each in ids])
        batch[f"{key}segment_ids"] = torch.stack(
            [torch.nn.functional.pad(each, (0, width - len(each))) for each in segments]
        )
    return batch, order


def runs(states, segment_ids):
    return [
        states[row, segment_ids[row] == segment]
        for row in range(len(states))
        for segment in range(1, int(segment_ids[row].max()) + 1)
    ]


@every_variant
@every_attention
@pytest.mark.parametrize(("rows", "padding"), [(1, 0), (1, 4), (2, 0), (3, 2)])
def test_a_row_of_texts_gives_the_states_of_each_alone(variant, attention, rows, padding):
    model, pairs = model_of(variant, attention).eval(), texts()
    batch, order = packed(pairs, rows, padding)

    together = model(**batch)

    model.set_attn_implementation("eager")
    written = runs(together.logits, batch["decoder_segment_ids"])
    read = runs(together.encoder_last_hidden_state, batch["segment_ids"])
    for place, number in enumerate(order):
        alone = model(input_ids=pairs[number][0], decoder_input_ids=pairs[number][1])
        torch.testing.assert_close(read[place], alone.encoder_last_hidden_state[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(written[place], alone.logits[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together.quality_logits[place], alone.quality_logits[0], rtol=1e-4, atol=1e-5)


@every_variant
def test_loss_and_gradients_are_those_of_padded_rows(variant):
    model, pairs = model_of(variant), texts()
    batch, order = packed(pairs, rows=1, padding=3)
    labels = [torch.randint(3, 97, target.shape) for _, target in pairs]
    count = sum(label.numel() for label in labels)
    quality, security = torch.randint(0, 2, (len(pairs), 3)), torch.randint(0, 2, (len(pairs), 2))

    def gradients(losses):
        model.zero_grad()
        total = sum(losses)
        total.backward()
        reached = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
        return total.detach(), {name: gradient.clone() for name, gradient in reached.items()}

    padded_labels = torch.full_like(batch["decoder_input_ids"], -100)
    padded_labels[:, :count] = torch.cat([labels[number][0] for number in order])
    one = model(**batch, labels=padded_labels, quality_labels=quality[order], security_labels=security[order])
    loss, expected = gradients([one.loss])
    alone = [
        model(input_ids=source, decoder_input_ids=target, labels=label, quality_labels=q[None], security_labels=s[None])
        for (source, target), label, q, s in zip(pairs, labels, quality, security)
    ]
    weights = model.config.loss_weights
    loss_alone, found = gradients(
        [each.generation_loss * label.numel() / count for each, label in zip(alone, labels)]
        + [weights[kind] * each[f"{kind}_loss"] / len(pairs) for each in alone for kind in ("quality", "security")]
    )

    torch.testing.assert_close(loss, loss_alone)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradient, found[name], rtol=1e-3, atol=1e-5, msg=name)


@every_variant
@every_attention
def test_a_graph_and_soft_positions_keep_to_their_text(variant, attention):
    model, pairs = model_of(variant, attention).eval(), texts()
    batch, _ = packed(pairs, rows=1)
    width = batch["input_ids"].shape[1]
    visible = torch.rand(1, width, width) < 0.6
    visible |= torch.eye(width, dtype=torch.bool)
    positions = torch.randint(0, 20, (1, width))

    together = model(**batch, attention_mask=visible, position_ids=positions)

    model.set_attn_implementation("eager")
    starts = [0]
    for source, _ in pairs:
        starts.append(starts[-1] + source.shape[1])
    written = runs(together.logits, batch["decoder_segment_ids"])
    for number, (source, target) in enumerate(pairs):
        place = slice(starts[number], starts[number + 1])
        alone = model(
            input_ids=source,
            decoder_input_ids=target,
            attention_mask=visible[:, place, place],
            position_ids=positions[:, place],
        )
        torch.testing.assert_close(written[number], alone.logits[0], rtol=1e-4, atol=1e-4)


@every_variant
def test_recomputed_activations_change_nothing(variant):
    model, pairs = model_of(variant).train(), texts()
    batch, _ = packed(pairs, rows=2)
    labels = torch.randint(3, 97, batch["decoder_input_ids"].shape)
    gradients = []
    # its name before transformers 5.23 is the second, of which that one warns
    recompute = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    for switch in (lambda: None, recompute):
        switch()
        model.zero_grad()
        model(**batch, labels=labels).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])

    assert all(torch.equal(*both) for both in zip(*gradients))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3))
def test_positions_begin_anew_and_means_are_of_each_text(rows):
    width = max(map(sum, rows)) + 1
    segments = torch.zeros(len(rows), width, dtype=torch.long)
    for row, lengths in zip(segments, rows):
        ids = torch.repeat_interleave(torch.arange(1, len(lengths) + 1), torch.tensor(lengths))
        row[: len(ids)] = ids
    hidden = torch.randn(len(rows), width, 4)

    positions, means = positions_in_segments(segments), segment_means(hidden, segments)

    expected = []
    for row, lengths in enumerate(rows):
        start = 0
        for length in lengths:
            assert positions[row, start : start + length].tolist() == list(range(length))
            expected.append(hidden[row, start : start + length].mean(dim=0))
            start += length
    torch.testing.assert_close(means, torch.stack(expected))


def test_a_source_without_a_target_is_read_all_the_same():
    model, pairs = model_of("tiny").eval(), texts()
    batch, _ = packed(pairs, rows=1)
    kept = batch["decoder_segment_ids"] != 2
    batch["decoder_input_ids"] = batch["decoder_input_ids"][kept][None]
    batch["decoder_segment_ids"] = batch["decoder_segment_ids"][kept][None]

    together = model(**batch)

    alone = model(input_ids=pairs[2][0], decoder_input_ids=pairs[2][1])
    torch.testing.assert_close(runs(together.logits, batch["decoder_segment_ids"])[2], alone.logits[0])
    assert together.quality_logits.shape == (len(pairs), 3)


@every_variant
def test_where_nothing_is_written_the_sources_are_read(variant):
    model, pairs = model_of(variant).eval(), texts()
    batch, _ = packed(pairs, rows=1)
    read = model(**batch).quality_logits
    batch |= {name: torch.zeros(1, 1, dtype=torch.long) for name in ("decoder_input_ids", "decoder_segment_ids")}

    torch.testing.assert_close(model(**batch).quality_logits, read)


def test_what_cannot_be_is_refused():
    model = model_of("tiny")
    batch, _ = packed(texts(), rows=1)
    with pytest.raises(ValueError, match="give segment_ids and decoder_segment_ids together"):
        model(**{name: value for name, value in batch.items() if name != "segment_ids"})
    with pytest.raises(ValueError, match="one run of equal ids"):
        model(**batch | {"segment_ids": batch["segment_ids"].remainder(3) + 1})
    with pytest.raises(ValueError, match="a text of a row has 65 tokens"):
        long = torch.ones(1, 65, dtype=torch.long)
        ElixirCoderEncoderModel(model.config)(input_ids=long, segment_ids=long)
