import pytest
import torch
from transformers import AutoTokenizer

from elixir_coder import checkpoint
from elixir_coder.errors import CheckpointError, RecipeError
from elixir_coder.training.distillation import Teacher, evenly, student_config, student_from
from elixir_coder.training.losses import distillation_losses
from tests.evaluation.small import small_tokenizer

SOURCE = torch.tensor([[5, 6, 7, 8, 2], [9, 10, 2, 0, 0]])
TARGET = torch.tensor([[1, 11, 12, 13], [1, 14, 15, 2]])
INPUTS = {"input_ids": SOURCE, "attention_mask": (SOURCE != 0).long(), "decoder_input_ids": TARGET}


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer()


def config_of(tokenizer, **shape):
    shape = {
        "encoder_layers": 4,
        "decoder_layers": 3,
        "d_model": 32,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
    } | shape
    return checkpoint.preset_config("tiny", **checkpoint.vocabulary_fields(tokenizer), **shape)


def model_of(config, kind="generation", seed=0):
    torch.manual_seed(seed)
    return checkpoint.new_model(config, kind).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    """A teacher's folder with the heads of a multi-task model."""
    folder = tmp_path_factory.mktemp("teacher") / "model"
    checkpoint.save_model(folder, model_of(config_of(tokenizer), "multitask"), tokenizer)
    return folder


class TestTeacher:
    def test_its_states_and_matrix_give_its_logits(self, folder, tokenizer):
        teacher = Teacher.load(folder, tokenizer)

        logits = teacher.hidden(INPUTS) @ teacher.weight.t()

        assert teacher.bias is None
        torch.testing.assert_close(logits, checkpoint.load_model(folder)(**INPUTS).logits)

    def test_a_bias_of_its_output_matrix_is_told(self, tmp_path, tokenizer):
        model = model_of(config_of(tokenizer, lm_head_bias=True))
        torch.nn.init.normal_(model.lm_head.bias)
        checkpoint.save_model(tmp_path / "model", model, tokenizer)

        assert torch.equal(Teacher.load(tmp_path / "model", tokenizer).bias, model.lm_head.bias)

    def test_it_is_frozen_and_drops_nothing_and_leaves_no_graph(self, folder, tokenizer):
        teacher = Teacher.load(folder, tokenizer)

        states = teacher.hidden(INPUTS)

        assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
        assert not teacher.model.training
        assert not states.requires_grad

    def test_one_of_as_many_other_tokens_is_refused_by_name(self, folder, tokenizer):
        other = AutoTokenizer.from_pretrained(folder)
        other._tokenizer.add_tokens(["unseen"])

        with pytest.raises(CheckpointError, match=r"another vocabulary than the student .*'unseen' with id"):
            Teacher.load(folder, other)

    def test_a_student_made_from_it_learns_nothing_where_it_is_the_same(self, folder, tokenizer):
        teacher = Teacher.load(folder, tokenizer)
        student = student_from(teacher.model, student_config(teacher.model.config)).eval()
        hidden = student.model(**INPUTS).last_hidden_state.flatten(0, 1)

        total, losses = distillation_losses(
            hidden, student.lm_head.weight, None, teacher.hidden(INPUTS).flatten(0, 1), teacher.weight, teacher.bias,
            torch.ones(8), temperature=2.0,
        )  # fmt: skip
        total.backward()

        assert losses.tolist() == pytest.approx([0.0] * 8, abs=1e-5)  # attention rounds otherwise without a graph
        assert all(each.grad is None or each.grad.abs().max() < 1e-5 for each in student.parameters())


class TestStudentConfig:
    def test_a_preset_takes_vocabulary_and_labels_from_the_teacher(self, tokenizer):
        teacher = config_of(tokenizer, quality_labels=["a", "b"])

        config = student_config(teacher, "base", decoder_layers=2)

        assert (config.vocab_size, config.quality_labels, config.decoder_layers) == (len(tokenizer), ["a", "b"], 2)
        assert config.d_model == checkpoint.ElixirCoderConfig.base().d_model

    def test_without_one_it_is_the_teacher_with_fewer_layers(self, tokenizer):
        teacher = config_of(tokenizer)

        config = student_config(teacher, encoder_layers=2, dropout=0.2)

        changed = {"encoder_layers": 2, "dropout": 0.2}
        assert config.to_dict() == teacher.to_dict() | changed
        assert teacher.encoder_layers == 4

    def test_more_layers_than_the_teacher_are_an_error(self, tokenizer):
        with pytest.raises(RecipeError, match="decoder_layers of the student must be 1 to 3, as the teacher; got 4"):
            student_config(config_of(tokenizer), decoder_layers=4)


class TestStudentFrom:
    @pytest.mark.parametrize("kind", ["generation", "multitask"])
    def test_with_all_layers_it_is_the_teacher(self, folder, kind):
        teacher = checkpoint.load_model(folder, "multitask")

        student = student_from(teacher, student_config(teacher.config), kind).eval()

        expected, ours = teacher(**INPUTS), student(**INPUTS)
        assert torch.equal(ours.logits, expected.logits)
        if kind == "multitask":
            assert torch.equal(ours.quality_logits, expected.quality_logits)
        shared = {each.data_ptr() for each in student.parameters()} & {each.data_ptr() for each in teacher.parameters()}
        assert not shared

    def test_with_fewer_it_has_the_first_the_last_and_those_evenly_between(self, folder):
        teacher = checkpoint.load_model(folder)

        student = student_from(teacher, student_config(teacher.config, encoder_layers=3, decoder_layers=1))

        ours, theirs = student.state_dict(), teacher.state_dict()
        for stack, picked in {"encoder": [0, 2, 3], "decoder": [0]}.items():
            for index, source in enumerate(picked):
                for name in ("self_attn.q_proj.weight", "fc1.weight"):
                    mine, its = (f"model.{stack}.layers.{number}.{name}" for number in (index, source))
                    assert torch.equal(ours[mine], theirs[its]), mine
        assert torch.equal(ours["model.shared.weight"], theirs["model.shared.weight"])
        assert ours["lm_head.weight"].data_ptr() == ours["model.shared.weight"].data_ptr()

    def test_heads_that_the_teacher_lacks_stay_random(self, tokenizer):
        teacher = model_of(config_of(tokenizer))

        student = student_from(teacher, student_config(teacher.config), "multitask").eval()

        assert torch.equal(student(**INPUTS).logits, teacher(**INPUTS).logits)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"d_model": 16}, "d_model is 32 and 16"),
            ({"activation_function": "relu"}, "activation_function is gelu_new and relu"),
            ({"quality_labels": ["a"]}, r"quality_head\.\S+ \(1, 32\) has the shape \(112, 32\) there"),
            ({"tie_word_embeddings": False}, "tie_word_embeddings is True and False"),
        ],
    )
    def test_layers_that_do_not_fit_are_an_error_that_says_why(self, tokenizer, change, words):
        teacher = model_of(config_of(tokenizer), "multitask")

        with pytest.raises(CheckpointError, match=words):
            student_from(teacher, config_of(tokenizer, **change), "multitask")


@pytest.mark.parametrize(
    ("layers", "picked", "expected"),
    [(12, 1, [0]), (12, 2, [0, 11]), (12, 3, [0, 6, 11]), (12, 6, [0, 2, 4, 7, 9, 11]), (3, 3, [0, 1, 2]), (1, 1, [0])],
)
def test_layers_are_picked_evenly_with_the_first_and_the_last(layers, picked, expected):
    assert evenly(layers, picked) == expected


def test_no_layer_is_picked_twice():
    for layers in range(1, 33):
        for picked in range(1, layers + 1):
            chosen = evenly(layers, picked)
            assert len(set(chosen)) == picked and chosen == sorted(chosen) and 0 <= chosen[0] <= chosen[-1] < layers
