"""Adapters of peft train on a folder's own classes, are merged, saved alone and put on a fresh copy of the model."""

from __future__ import annotations

import pytest
import torch
from peft import (
    AutoPeftModelForSeq2SeqLM,
    AutoPeftModelForSequenceClassification,
    LoraConfig,
    PeftModel,
    get_peft_model,
)
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

from tests.ecosystem.small_folder import MOST_UNLIKE, load, small_tokenizer, sources, targets, write_folder

pytestmark = pytest.mark.filterwarnings(  # peft 0.21 asks transformers 5.23 by the old name
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)
OF_A_LAYER = {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"}
LABELS = {"num_labels": 4, "problem_type": "single_label_classification"}
CLASSES_OF_TEXTS = torch.tensor([3, 0, 2])


def trained(model, steps=5, **labels):
    torch.manual_seed(0)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**sources(), **labels).loss.backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def logits_of(model):
    return model(**sources(), labels=targets()).logits


def assert_close(a, b):
    assert torch.allclose(a, b, rtol=0, atol=2e-5), (a - b).abs().max()


@pytest.mark.parametrize(
    ("variant", "where"),
    [
        ("tiny", ["q_proj", "v_proj"]),
        ("bart", ["k_proj", "out_proj", "fc1", "fc2"]),
        *((variant, "all-linear") for variant in MOST_UNLIKE),
    ],
    ids=str,
)
def test_an_adapter_to_write_is_trained_merged_and_put_on_a_fresh_model(variant, where, folders, tmp_path):
    folder = folders[variant]
    before = logits_of(load(folder))
    adapted = get_peft_model(load(folder), LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, target_modules=where))
    assert_close(logits_of(adapted.eval()), before)
    touched = {name.split(".")[-4] for name, p in adapted.named_parameters() if p.requires_grad}
    every = OF_A_LAYER | ({"fc_gate"} if adapted.config.gated_ffn else set())
    assert touched == (every if where == "all-linear" else set(where))

    after = logits_of(trained(adapted, labels=targets()))
    assert (after - before).abs().max() > 0.1
    adapted.save_pretrained(tmp_path / "adapter")
    assert_close(logits_of(PeftModel.from_pretrained(load(folder), tmp_path / "adapter").eval()), after)
    auto = AutoPeftModelForSeq2SeqLM.from_pretrained(tmp_path / "adapter", trust_remote_code=True).eval()
    assert type(auto.get_base_model()).__module__.startswith("transformers_modules.")
    assert_close(logits_of(auto), after)

    written = adapted.generate(**sources(), max_new_tokens=5)
    merged = adapted.merge_and_unload()
    assert_close(logits_of(merged), after)
    merged.save_pretrained(tmp_path / "merged")
    again = load(tmp_path / "merged")
    assert torch.equal(logits_of(again), logits_of(merged))
    assert torch.equal(again.generate(**sources(), max_new_tokens=5), written)
    assert again.lm_head.weight.data_ptr() == again.get_input_embeddings().weight.data_ptr()


def test_an_adapter_to_judge_is_saved_with_its_head(folder, tmp_path):
    """The head is named: peft looks for `classifier` and `score` by itself, as in BART it would leave ours as it is."""
    torch.manual_seed(0)
    base = load(folder, "AutoModelForSequenceClassification", **LABELS)
    config = LoraConfig(
        task_type="SEQ_CLS", r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["classification_head"]
    )
    adapted = trained(get_peft_model(base, config), steps=30, labels=CLASSES_OF_TEXTS)
    saved = {name for name, p in adapted.named_parameters() if p.requires_grad and "lora" not in name}
    assert {name.split(".")[2] for name in saved} == {"classification_head"}
    after = adapted(**sources()).logits
    assert after.argmax(-1).equal(CLASSES_OF_TEXTS)

    adapted.save_pretrained(tmp_path)
    torch.manual_seed(1)  # another fresh head, which the saved one replaces
    fresh = load(folder, "AutoModelForSequenceClassification", **LABELS)
    assert_close(PeftModel.from_pretrained(fresh, tmp_path).eval()(**sources()).logits, after)
    auto = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path, trust_remote_code=True, **LABELS).eval()
    assert_close(auto(**sources()).logits, after)
    assert_close(adapted.merge_and_unload()(**sources()).logits, after)


def test_the_heads_that_a_folder_has_can_be_trained_beside_an_adapter(tiny, tmp_path):
    config = LoraConfig(target_modules=["q_proj"], modules_to_save=["quality_head", "security_head"])
    adapted = get_peft_model(load(tiny, "AutoModelForSequenceClassification"), config)
    after = trained(adapted, labels=torch.ones(3, 5))(**sources()).logits
    adapted.save_pretrained(tmp_path)
    fresh = load(tiny, "AutoModelForSequenceClassification")
    before = fresh(**sources()).logits
    again = PeftModel.from_pretrained(fresh, tmp_path).eval()(**sources()).logits
    assert (again - before).abs().max() > 0.05
    assert_close(again, after)


def test_two_adapters_live_on_one_model_and_change_places(tiny, tmp_path):
    config = LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, target_modules="all-linear")
    model = get_peft_model(load(tiny), config, adapter_name="unit")
    model.add_adapter("property", config)
    outputs = {}
    for name, seed in (("unit", 1), ("property", 2)):
        model.set_adapter(name)
        outputs[name] = logits_of(trained(model, labels=targets(seed=seed)))
    assert (outputs["unit"] - outputs["property"]).abs().max() > 0.05
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(load(tiny), tmp_path / "unit", adapter_name="unit")
    again.load_adapter(tmp_path / "property", "property")
    for name in ("unit", "property"):
        again.set_adapter(name)
        assert_close(logits_of(again.eval()), outputs[name])
    with again.disable_adapter():
        assert_close(logits_of(again), logits_of(load(tiny)))


def test_a_model_carries_an_adapter_without_a_wrapper(tiny, tmp_path):
    """transformers' own way: model.add_adapter, and a folder of weights that from_pretrained opens with its base."""
    model = load(tiny)
    model.add_adapter(LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    after = logits_of(trained(model, labels=targets()))
    model.save_pretrained(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").exists()
    assert not (tmp_path / "model.safetensors").exists()
    fresh = load(tiny)
    fresh.load_adapter(str(tmp_path))
    assert_close(logits_of(fresh.eval()), after)


def test_a_head_of_its_own_matrix_takes_an_adapter_and_a_tied_one_asks_for_its_twin(tmp_path):
    untied = get_peft_model(
        load(write_folder(tmp_path / "untied", tie_word_embeddings=False)),
        LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, target_modules=["q_proj", "lm_head"]),
    )
    after = logits_of(trained(untied, labels=targets()))
    assert_close(logits_of(untied.merge_and_unload()), after)
    with pytest.warns(UserWarning, match="tied layer is part of the adapter"):
        get_peft_model(load(write_folder(tmp_path / "tied")), LoraConfig(r=4, target_modules=["q_proj", "lm_head"]))


def test_new_tokens_are_trained_beside_an_adapter_and_stay_tied(tiny, tmp_path):
    model = load(tiny)
    model.resize_token_embeddings(270, mean_resizing=False)
    config = LoraConfig(
        task_type="SEQ_2_SEQ_LM", r=4, target_modules=["q_proj"], trainable_token_indices=[261, 262, 263]
    )
    adapted = get_peft_model(model, config)
    labels = targets()
    labels[:, 0] = 262
    after = logits_of(trained(adapted, labels=labels))
    merged = adapted.merge_and_unload()
    assert_close(logits_of(merged), after)
    assert merged.lm_head.weight.data_ptr() == merged.get_input_embeddings().weight.data_ptr()


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_an_adapter_trains_under_a_trainer_that_recomputes_activations(use_reentrant, tiny, tmp_path):
    """Only the adapter has gradients, so a recomputed layer has to be entered with one all the same."""
    steps = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = get_peft_model(load(tiny), LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, target_modules="all-linear"))
        trainer = Seq2SeqTrainer(
            model=model,
            args=Seq2SeqTrainingArguments(
                output_dir=str(tmp_path),
                max_steps=2,
                learning_rate=1e-2,
                activation_checkpointing=recompute,
                activation_checkpointing_kwargs={"use_reentrant": use_reentrant} if recompute else None,
                save_strategy="no",
                disable_tqdm=True,
                report_to=[],
                use_cpu=True,
            ),
            train_dataset=[{"input_ids": [4, 9, 8, 2], "labels": [7, 6, 2]}, {"input_ids": [4, 2], "labels": [5, 2]}],
            data_collator=DataCollatorForSeq2Seq(small_tokenizer(), model=model),
        )
        trainer.train()
        steps.append(logits_of(model.eval()))
    assert (steps[0] - logits_of(load(tiny))).abs().max() > 1e-3
    assert_close(*steps)
