"""Trainer and Seq2SeqTrainer train a folder's own classes as their documentation says, with the loss that is meant."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    DataCollatorForSeq2Seq,
    DataCollatorWithPadding,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
)

from tests.ecosystem.small_folder import (
    judgements,
    largest_difference,
    load,
    small_tokenizer,
    sources,
    targets,
)

ROWS = 4
SETTINGS = {
    "per_device_train_batch_size": ROWS,
    "max_steps": 1,
    "optim": "sgd",  # the step is the gradient
    "learning_rate": 0.1,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 1e9,
    "train_sampling_strategy": "sequential",
    "logging_steps": 1,
    "disable_tqdm": True,
    "report_to": [],
    "use_cpu": True,
}


def rows(**more):
    """Unequal texts, without padding: their sources have 11 to 8 tokens, their targets 9 to 6."""
    source, target = sources(ROWS), targets(ROWS)
    examples = [
        {"input_ids": ids[mask == 1].tolist(), "labels": labels[labels != -100].tolist()}
        for ids, mask, labels in zip(source["input_ids"], source["attention_mask"], target)
    ]
    for name, values in more.items():
        for example, value in zip(examples, values):
            example[name] = value.tolist()
    return examples


def seq2seq_trainer(model, out, data=None, **settings):
    tokenizer = small_tokenizer()
    return Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(output_dir=str(out), **SETTINGS | settings),
        train_dataset=data or rows(),
        eval_dataset=data or rows(),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        processing_class=tokenizer,
    )


def trained(folder, out, auto="AutoModelForSeq2SeqLM", data=None, **settings):
    """The first loss that a run logs, and the weights it ends with."""
    trainer = seq2seq_trainer(load(folder, auto), out, data, **settings)
    trainer.train()
    return trainer.state.log_history[0]["loss"], trainer.model.state_dict()


def assert_same(run, other, tolerance=1e-6):
    assert run[0] == pytest.approx(other[0], rel=1e-6)
    assert largest_difference(run[1], other[1]) < tolerance


# ------------------------------------------------------------------------------------------------------ to write: loss


def test_an_accumulated_batch_of_unequal_texts_is_the_batch(folder, tmp_path):
    """Parts of 9, 8, 7 and 6 labels: a mean of their means would weigh the shortest text most."""
    whole = trained(folder, tmp_path / "whole")
    parts = trained(folder, tmp_path / "parts", per_device_train_batch_size=1, gradient_accumulation_steps=ROWS)
    assert_same(parts, whole)

    model = load(folder)
    loss = model(**sources(ROWS), labels=targets(ROWS)).loss
    assert whole[0] == pytest.approx(loss.item(), rel=1e-6)
    loss.backward()
    stepped = {name: p.detach() - 0.1 * p.grad for name, p in model.named_parameters()}
    assert max((stepped[name] - whole[1][name]).abs().max() for name in stepped) < 1e-6


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_recomputing_activations_takes_the_same_step(use_reentrant, folder, tmp_path):
    plain = trained(folder, tmp_path / "plain")
    recomputed = trained(
        folder,
        tmp_path / "recomputed",
        activation_checkpointing=True,
        activation_checkpointing_kwargs={"use_reentrant": use_reentrant},
    )
    assert_same(recomputed, plain)


def test_a_compiled_run_takes_the_same_step(tiny, tmp_path):
    torch._dynamo.reset()
    plain = trained(tiny, tmp_path / "plain")
    compiled = trained(tiny, tmp_path / "compiled", torch_compile=True, torch_compile_backend="eager")
    assert_same(compiled, plain)


def test_smoothed_labels_are_those_of_torch(tiny, tmp_path):
    trainer = seq2seq_trainer(load(tiny), tmp_path, label_smoothing_factor=0.1)
    trainer.train()
    loss = trainer.state.log_history[0]["loss"]
    logits = load(tiny)(**sources(ROWS), labels=targets(ROWS)).logits
    expected = F.cross_entropy(logits.flatten(0, 1), targets(ROWS).flatten(), label_smoothing=0.1)
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_a_run_in_bfloat16_starts_at_the_same_loss_to_its_precision(tiny, tmp_path):
    plain, mixed = trained(tiny, tmp_path / "plain"), trained(tiny, tmp_path / "mixed", bf16=True)
    assert mixed[0] == pytest.approx(plain[0], rel=2e-2)
    assert all(tensor.dtype == torch.float32 for tensor in mixed[1].values())


# ------------------------------------------------------------------------------------ to write: generate, save, resume


def test_predictions_are_what_generate_writes(folder, tmp_path):
    trainer = seq2seq_trainer(
        load(folder), tmp_path, per_device_eval_batch_size=ROWS, predict_with_generate=True, generation_max_length=9
    )
    predicted = trainer.predict(rows())
    written = load(folder).generate(**sources(ROWS), max_length=9)
    assert predicted.predictions[:, : written.shape[1]].tolist() == written.tolist()
    assert predicted.metrics["test_loss"] == pytest.approx(
        load(folder)(**sources(ROWS), labels=targets(ROWS)).loss.item(), rel=1e-6
    )


def test_what_a_trainer_saves_is_a_folder_with_its_code(tiny, tmp_path):
    trainer = seq2seq_trainer(load(tiny), tmp_path / "run")
    trainer.train()
    trainer.save_model(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert largest_difference(again.state_dict(), trainer.model.state_dict()) == 0
    assert (tmp_path / "saved" / "tokenizer.json").exists()


def test_a_run_that_is_resumed_ends_with_the_same_weights(tiny, tmp_path):
    settings = {"optim": "adamw_torch", "learning_rate": 1e-2, "lr_scheduler_type": "linear", "max_steps": 4}
    straight = seq2seq_trainer(load(tiny), tmp_path / "run", save_steps=2, **settings)
    straight.train()
    assert largest_difference(load(tiny).state_dict(), straight.model.state_dict()) > 1e-2
    resumed = seq2seq_trainer(load(tiny), tmp_path / "resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert largest_difference(resumed.model.state_dict(), straight.model.state_dict()) == 0
    from_checkpoint = load(tmp_path / "run" / "checkpoint-4")
    assert largest_difference(from_checkpoint.state_dict(), straight.model.state_dict()) == 0


# -------------------------------------------------------------------------------------------------- to write and judge


def test_a_multi_task_batch_accumulates_the_loss_it_writes_with(tiny, tmp_path):
    """Judgements weigh by the labels to write of their part, so only texts of one length add up to the whole."""
    data = rows(**judgements(ROWS))
    for example in data:
        example["labels"] = example["labels"][:6]
    whole = trained(tiny, tmp_path / "whole", "AutoModelForPreTraining", data)
    parts = trained(
        tiny,
        tmp_path / "parts",
        "AutoModelForPreTraining",
        data,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=ROWS,
    )
    assert_same(parts, whole)
    given = {"labels": targets(ROWS)[:, :6], **judgements(ROWS)}
    assert whole[0] == pytest.approx(load(tiny, "AutoModelForPreTraining")(**sources(ROWS), **given).loss.item())


def test_a_multi_task_run_evaluates_each_head(tiny, tmp_path):
    trainer = seq2seq_trainer(load(tiny, "AutoModelForPreTraining"), tmp_path, rows(**judgements(ROWS)))
    trainer.train()
    metrics = trainer.evaluate()
    model = load_state(tiny, trainer.model.state_dict())
    out = model(**sources(ROWS), labels=targets(ROWS), **judgements(ROWS))
    assert metrics["eval_loss"] == pytest.approx(out.loss.item(), rel=1e-6)
    trainer.save_model(tmp_path / "saved")
    again = load(tmp_path / "saved", "AutoModelForPreTraining")
    assert torch.equal(again(**sources(ROWS), labels=targets(ROWS)).quality_logits, out.quality_logits)


def load_state(folder, weights):
    model = load(folder, "AutoModelForPreTraining")
    model.load_state_dict(weights)
    return model


# ------------------------------------------------------------------------------------------------------------ to judge


def classifier(folder):
    return load(
        folder, "AutoModelForSequenceClassification", num_labels=ROWS, problem_type="single_label_classification"
    )


def classification_trainer(model, out, **settings):
    source = sources(ROWS)
    data = [
        {"input_ids": ids[mask == 1].tolist(), "label": label}
        for label, (ids, mask) in enumerate(zip(source["input_ids"], source["attention_mask"]))
    ]
    return Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(out), **SETTINGS | settings),
        train_dataset=data,
        eval_dataset=data,
        data_collator=DataCollatorWithPadding(small_tokenizer()),
        processing_class=small_tokenizer(),
        compute_metrics=lambda given: {"accuracy": float((given.predictions.argmax(-1) == given.label_ids).mean())},
    )


def test_an_accumulated_batch_to_judge_is_the_batch(tiny, tmp_path):
    runs = []
    for name, settings in {
        "whole": {},
        "parts": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": ROWS},
    }.items():
        torch.manual_seed(0)  # for the fresh head
        trainer = classification_trainer(classifier(tiny), tmp_path / name, **settings)
        trainer.train()
        runs.append((trainer.state.log_history[0]["loss"], trainer.model.state_dict()))
    assert_same(*runs)


def test_a_fresh_head_learns_and_is_saved_with_its_labels(tiny, tmp_path):
    torch.manual_seed(0)
    trainer = classification_trainer(
        classifier(tiny), tmp_path / "run", max_steps=20, optim="adamw_torch", learning_rate=1e-2
    )
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] == 1.0
    trainer.save_model(tmp_path / "saved")
    again = load(tmp_path / "saved", "AutoModelForSequenceClassification")
    assert again(**sources(ROWS)).logits.argmax(-1).tolist() == list(range(ROWS))
