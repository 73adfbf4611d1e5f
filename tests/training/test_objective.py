"""Each loss is what its definition says, on a small real model, packed as padded."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from configuration_elixir_coder import ElixirCoderConfig
from elixir_coder.checkpoint import new_model
from elixir_coder.tasks.row import UNKNOWN, Row
from elixir_coder.training.distillation import Teacher
from elixir_coder.training.objective import KINDS, LossSettings, Objective, counts_of
from elixir_coder.training.packing import collate
from tests.test_modeling import SHAPE, VARIANTS, every_variant

TASKS = ["complete", "quality", "clarify", "tag_identifiers", "flow_edges", "retrieve", "match"]
NUMBERS = {task: number for number, task in enumerate(TASKS)}


def objective_of(variant="tiny", settings=None, seed=0, **arguments):
    torch.manual_seed(seed)
    config = ElixirCoderConfig(**SHAPE | VARIANTS[variant] | {"init_std": 0.2})
    objective = Objective(new_model(config, "multitask"), TASKS, settings, **arguments)
    for parameter in objective.heads.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.nn.init.constant_(objective.heads.log_temperature, -1.0)
    return objective


def draw(rng, length):
    return rng.integers(3, 97, length).tolist()


def every_row(seed=0):
    """A row or two of each task, of different lengths."""
    rng = np.random.default_rng(seed)
    visible, edges = np.tril(np.ones((6, 6), dtype=bool)), np.array([[0, 5, 1], [2, 1, 0]])
    rows = [
        ("complete", Row(draw(rng, 5), draw(rng, 7))),
        ("complete", Row(draw(rng, 9), draw(rng, 2))),
        ("quality", Row(draw(rng, 4), judgements={"quality": np.array([1, 0, UNKNOWN])})),
        ("quality", Row(draw(rng, 6), judgements={"quality": np.array([0, UNKNOWN, 1])})),
        ("clarify", Row(draw(rng, 3), draw(rng, 4), judgements={"clarification": np.array([1])})),
        ("tag_identifiers", Row(draw(rng, 5), tags=np.array([0, 1, UNKNOWN, 1, 0]))),
        ("flow_edges", Row(draw(rng, 6), positions=[0, 1, 2, 2, 3, 3], visible=visible, edges=edges)),
        ("retrieve", Row(draw(rng, 4), candidates=(draw(rng, 5), draw(rng, 5)))),
        ("retrieve", Row(draw(rng, 2), candidates=(draw(rng, 3),))),
        ("match", Row(draw(rng, 4), draw(rng, 6), match=1)),
        ("match", Row(draw(rng, 4), draw(rng, 3), match=0)),
    ]
    return [(NUMBERS[task], row) for task, row in rows]


def batch_of(objective, rows, packed=True, multiple=1):
    return collate(
        rows, pad_token_id=0, start_token_id=1, label_sizes=objective.label_sizes, packed=packed, multiple=multiple
    )


def ones(value=1.0):
    return torch.full((len(TASKS), len(KINDS)), value)


def gradients_of(objective, *batches):
    objective.zero_grad()
    totals = [objective(batch, ones()) for batch in batches]
    sum(losses.total for losses in totals).backward()
    found = {name: each.grad.clone() for name, each in objective.named_parameters() if each.grad is not None}
    return sum(losses.sums for losses in totals), found


@every_variant
@pytest.mark.parametrize("multiple", [1, 8])
def test_packed_rows_give_the_losses_and_gradients_of_padded_ones(variant, multiple):
    objective = objective_of(variant)
    packed, padded = (batch_of(objective, every_row(), packed, multiple) for packed in (True, False))

    (sums, gradients), (expected, found) = gradients_of(objective, packed), gradients_of(objective, padded)

    torch.testing.assert_close(sums, expected, rtol=1e-4, atol=1e-4)
    assert gradients.keys() == found.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, found[name], rtol=1e-3, atol=2e-4, msg=name)


def test_the_losses_of_groups_add_up_to_those_of_the_whole():
    objective, rows = objective_of(), every_row()
    together = [each for each in rows if each[1].candidates]
    rest = [each for each in rows if not each[1].candidates]

    whole, gradients = gradients_of(objective, batch_of(objective, rows))
    parts, found = gradients_of(objective, *(batch_of(objective, part) for part in (together, rest[:4], rest[4:])))

    torch.testing.assert_close(whole, parts)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, found[name], rtol=1e-3, atol=2e-4, msg=name)


def test_each_loss_is_what_its_definition_says():
    objective, rows = objective_of().eval(), every_row()
    model = objective.model

    sums = objective(batch_of(objective, rows), ones()).sums

    def states(row):
        target = row.target or [3]
        outputs = model.model(
            input_ids=torch.tensor([row.source]),
            decoder_input_ids=torch.tensor([[1, *target[:-1]]]),
            attention_mask=None if row.visible is None else torch.from_numpy(row.visible)[None],
            position_ids=None if row.positions is None else torch.tensor([row.positions]),
        )
        return outputs.encoder_last_hidden_state[0], outputs.last_hidden_state[0]

    expected = torch.zeros_like(sums)
    vectors = []
    for task, row in rows:
        encoder, decoder = states(row)
        if row.target and row.match is None:
            expected[task, 0] += F.cross_entropy(model.lm_head(decoder), torch.tensor(row.target), reduction="sum")
        for head, labels in row.judgements.items():
            known = torch.from_numpy(labels != UNKNOWN)
            logits = getattr(model, f"{head}_head")(encoder.mean(dim=0))[known]
            wanted = torch.from_numpy(labels).float()[known]
            expected[task, KINDS.index(head)] += F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
        if row.tags is not None:
            known = torch.from_numpy(row.tags != UNKNOWN)
            logits = objective.heads["tags"](encoder).squeeze(-1)[known]
            wanted = torch.from_numpy(row.tags).float()[known]
            expected[task, KINDS.index("tags")] += F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
        if row.edges is not None:
            for one, other, label in row.edges.tolist():
                logit = objective.heads.edges(encoder[one]) @ encoder[other] / model.config.d_model**0.5
                expected[task, KINDS.index("edges")] += F.softplus(-logit if label else logit)
        if row.match is not None:
            logit = objective.heads["match"](decoder[-1]).squeeze()
            expected[task, KINDS.index("match")] += F.softplus(-logit if row.match else logit)
        if row.candidates:
            texts = [row.source, *row.candidates]
            vectors.append([F.normalize(states(Row(text))[0].mean(dim=0), dim=0) for text in texts])
    candidates = torch.stack([vector for _, *found in vectors for vector in found])
    scores = torch.stack([query for query, *_ in vectors]) @ candidates.T / objective.heads.log_temperature.exp()
    expected[NUMBERS["retrieve"], KINDS.index("contrast")] = F.cross_entropy(
        scores, torch.tensor([0, 2]), reduction="sum"
    )

    torch.testing.assert_close(sums, expected.detach(), rtol=1e-4, atol=1e-4)


def test_the_total_weighs_each_loss_by_its_coefficient():
    objective, rows = objective_of().eval(), every_row()
    coefficients = torch.rand(len(TASKS), len(KINDS), generator=torch.Generator().manual_seed(0))

    losses = objective(batch_of(objective, rows), coefficients)

    torch.testing.assert_close(losses.total, (losses.sums * coefficients).sum())


def test_counts_are_what_there_is_of_each_loss():
    objective, rows = objective_of(), every_row()

    for packed in (True, False):
        counts = counts_of(batch_of(objective, rows, packed), len(TASKS))
        found = {(TASKS[task], KINDS[kind]): int(counts[task, kind]) for task, kind in counts.nonzero().tolist()}
        assert found == {
            ("complete", "tokens"): 9,
            ("quality", "quality"): 2,
            ("clarify", "tokens"): 4,
            ("clarify", "clarification"): 1,
            ("tag_identifiers", "tags"): 4,
            ("flow_edges", "edges"): 2,
            ("retrieve", "contrast"): 2,
            ("match", "match"): 2,
        }


def test_what_is_predicted_is_what_the_losses_are_of():
    objective, rows = objective_of().eval(), every_row()
    batch = batch_of(objective, rows)
    sums = objective(batch, ones()).sums

    told = objective.predict(batch)

    nats = torch.zeros(len(TASKS)).index_add(0, told.token_tasks, told.token_nats)
    torch.testing.assert_close(nats, sums[:, 0])
    assert batch["labels"].flatten()[told.token_places].tolist() == [
        token for _, row in rows if row.match is None for token in row.target
    ]
    known = told.labels["quality"] != UNKNOWN
    loss = F.binary_cross_entropy_with_logits(
        told.logits["quality"][known], told.labels["quality"][known].float(), reduction="sum"
    )
    torch.testing.assert_close(loss, sums[NUMBERS["quality"], KINDS.index("quality")])
    assert {kind: tasks.unique().tolist() for kind, (_, _, tasks) in told.pairs.items()} == {
        "tags": [NUMBERS["tag_identifiers"]],
        "edges": [NUMBERS["flow_edges"]],
        "match": [NUMBERS["match"]],
    }
    assert told.rank_tasks.tolist() == [NUMBERS["retrieve"]] * 2
    assert ((told.ranks >= 1) & (told.ranks <= 3)).all()


def test_the_right_text_is_of_the_first_rank_where_nothing_is_nearer():
    objective = objective_of().eval()
    rows = [(NUMBERS["retrieve"], Row([5, 6, n], candidates=([5, 6, n], [n, 9, 4]))) for n in (7, 8, 7)]

    told = objective.predict(batch_of(objective, rows))

    assert told.ranks.tolist() == [1, 1, 1]  # the same text of another row is no rival


def test_a_teacher_that_is_the_student_adds_nothing_but_takes_its_share():
    objective = objective_of(settings=LossSettings(distillation=0.25)).eval()
    objective._teacher = (Teacher(objective.model),)
    batch = batch_of(objective, every_row())
    only_tokens = torch.zeros_like(ones())
    only_tokens[:, 0] = 1

    losses = objective(batch, only_tokens)

    torch.testing.assert_close(losses.total, 0.75 * losses.sums[:, 0].sum(), rtol=1e-4, atol=1e-4)


def test_a_teacher_is_neither_trained_nor_saved():
    plain = objective_of()
    taught = objective_of(settings=LossSettings(distillation=0.5), teacher=Teacher(objective_of(seed=1).model.eval()))

    assert list(taught.state_dict()) == list(plain.state_dict())
    _, gradients = gradients_of(taught, batch_of(taught, every_row()))
    _, without = gradients_of(plain, batch_of(plain, every_row()))
    assert not torch.allclose(gradients["model.model.shared.weight"], without["model.model.shared.weight"])
    assert all(parameter.grad is None for parameter in taught._teacher[0].model.parameters())


def test_positives_of_a_label_are_weighed():
    weights = {"quality": torch.tensor([3.0, 1.0, 1.0])}
    plain, weighed = objective_of().eval(), objective_of(positive_weights=weights).eval()
    rows = [(NUMBERS["quality"], Row([5, 6], judgements={"quality": np.array([1, UNKNOWN, UNKNOWN])}))]

    sums = [objective(batch_of(objective, rows), ones()).sums.sum() for objective in (plain, weighed)]

    torch.testing.assert_close(sums[1], 3 * sums[0])
