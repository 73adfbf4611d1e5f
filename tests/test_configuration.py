"""The configuration says what it cannot be, survives JSON, and counts parameters without building anything."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import modeling_elixir_coder as modeling
from configuration_elixir_coder import (
    QUALITY_LABELS,
    SECURITY_LABELS,
    ElixirCoderConfig,
    count_parameters,
    parameter_table,
)

# ------------------------------------------------------------------------------------------------------------- presets


def test_base_has_123_816_960_parameters():
    assert count_parameters(ElixirCoderConfig.base()) == 123_816_960


def test_full_is_within_one_percent_of_350_million():
    assert abs(count_parameters(ElixirCoderConfig.full()) / 350e6 - 1) < 0.01


def test_small_stays_under_200_million_parameters():
    assert count_parameters(ElixirCoderConfig.small()) == 193_693_824 < 200e6


def test_tiny_in_bf16_stays_under_45_megabytes():
    table = parameter_table(ElixirCoderConfig.tiny())
    assert 2 * sum(table.values()) < 45e6


@pytest.mark.parametrize("preset", ["tiny", "small", "base", "full"])
def test_the_count_of_a_preset_is_that_of_the_built_model(preset):
    config = getattr(ElixirCoderConfig, preset)()
    with torch.device("meta"):
        model = modeling.ElixirCoderForConditionalGeneration(config)
    assert count_parameters(config) == sum(p.numel() for p in model.parameters())


def test_a_preset_takes_other_values():
    config = ElixirCoderConfig.tiny(encoder_layers=1, vocab_size=99)
    assert (config.encoder_layers, config.vocab_size, config.norm_type) == (1, 99, "rmsnorm")


# -------------------------------------------------------------------------------------------------- parameter counting


@st.composite
def small_configs(draw):
    """Every form that can be built, a few numbers wide."""
    positions = draw(st.sampled_from(["sinusoidal", "learned", "relative", "rotary", "alibi"]))
    groups = draw(st.sampled_from([None, 1, 2]))
    head_dim = draw(st.sampled_from([4, 6] if positions == "rotary" else [None, 4, 6]))
    flags = st.booleans()
    return ElixirCoderConfig(
        vocab_size=draw(st.integers(7, 23)),
        d_model=8,
        encoder_layers=draw(st.integers(1, 3)),
        decoder_layers=draw(st.integers(1, 3)),
        encoder_attention_heads=draw(st.sampled_from([2, 4])),
        decoder_attention_heads=draw(st.sampled_from([2, 4])),
        num_key_value_heads=groups,
        head_dim=head_dim,
        encoder_ffn_dim=draw(st.sampled_from([None, 5, 12])),
        decoder_ffn_dim=draw(st.sampled_from([None, 5, 12])),
        hidden_ffn_multiplier=draw(st.integers(1, 4)),
        max_position_embeddings=draw(st.integers(9, 17)),
        gated_ffn=draw(flags),
        use_bias=draw(flags),
        norm_type=draw(st.sampled_from(["layernorm", "rmsnorm"])),
        norm_position=draw(st.sampled_from(["pre", "post"])),
        layernorm_embedding=draw(flags),
        cross_attention_gate=draw(flags),
        lm_head_bias=draw(flags),
        position_embedding_type=positions,
        share_position_embeddings=positions == "learned" and draw(flags),
        tie_word_embeddings=draw(flags),
        separate_decoder_heads=draw(st.sampled_from([[], ["explanation"], ["question", "explanation"]])),
        num_quality_labels=draw(st.integers(1, 4)),
        num_security_labels=draw(st.integers(1, 4)),
        classifier_hidden_dims=draw(st.sampled_from([[], [6], [8, 5]])),
        classifier_norm=draw(flags),
        classifier_residual=draw(flags),
    )


@settings(max_examples=40)
@given(small_configs())
def test_every_row_of_the_table_is_the_size_of_the_part_it_names(config):
    with torch.device("meta"):
        model = modeling.ElixirCoderForMultiTask(config)
    table = parameter_table(config)
    counted = dict.fromkeys(table, 0)
    for name, parameter in model.named_parameters():
        (row,) = [row for row in table if f"{name}.".startswith(f"{row}.")]
        counted[row] += parameter.numel()
    assert counted == table


@settings(max_examples=10)
@given(small_configs())
def test_the_count_is_that_of_the_built_model(config):
    with torch.device("meta"):
        model = modeling.ElixirCoderForConditionalGeneration(config)
    assert count_parameters(config) == model.num_parameters()


# ------------------------------------------------------------------------------------------------- names and round trip


@settings(max_examples=10)
@given(small_configs())
def test_a_configuration_survives_json(config):
    again = ElixirCoderConfig.from_dict(json.loads(config.to_json_string(use_diff=False)))
    assert again.to_dict() == config.to_dict()


def test_a_configuration_survives_its_folder(tmp_path):
    config = ElixirCoderConfig.tiny(quality_labels=["b", "a"], quality_thresholds=[0.25, 0.5])
    config.save_pretrained(tmp_path)
    again = ElixirCoderConfig.from_pretrained(tmp_path)
    assert again.to_dict() == config.to_dict()
    assert (again.quality_labels, again.quality_thresholds) == (["b", "a"], [0.25, 0.5])


@pytest.mark.parametrize(
    "alias, name",
    [
        ("hidden_size", "d_model"),
        ("num_attention_heads", "encoder_attention_heads"),
        ("num_hidden_layers", "encoder_layers"),
        ("max_seq_len", "max_position_embeddings"),
    ],
)
def test_the_usual_name_of_a_field_reads_and_writes_it(alias, name):
    config = ElixirCoderConfig(**{alias: 24})
    assert getattr(config, name) == getattr(config, alias) == 24
    setattr(config, alias, 48)
    assert getattr(config, name) == 48
    assert alias not in config.to_dict()


def test_what_follows_from_a_width_follows_from_its_usual_name_too():
    assert ElixirCoderConfig(hidden_size=24).encoder_ffn_dim == 96
    with pytest.raises(ValueError, match=r"d_model \(25\) is not a multiple"):
        ElixirCoderConfig(hidden_size=25)


def test_feed_forward_widths_follow_the_multiplier_unless_given():
    config = ElixirCoderConfig(d_model=24, hidden_ffn_multiplier=3, decoder_ffn_dim=10)
    assert (config.encoder_ffn_dim, config.decoder_ffn_dim) == (72, 10)


def test_two_configurations_share_no_lists():
    first, second = ElixirCoderConfig(), ElixirCoderConfig()
    first.quality_labels.append("mine")
    first.auto_map["AutoModel"] = "elsewhere"
    first.custom_pipelines["text2text-generation"]["impl"] = "elsewhere"
    assert ElixirCoderConfig().to_dict() == second.to_dict()


def test_every_class_in_the_auto_map_exists():
    for place in ElixirCoderConfig().auto_map.values():
        module, name = place.split(".")
        assert name in vars(modeling) or module == "configuration_elixir_coder"


def test_a_configuration_that_pipeline_has_read_still_is_json():
    from transformers.pipelines import clean_custom_task

    config = ElixirCoderConfig()
    clean_custom_task(config.custom_pipelines["text2text-generation"])  # puts classes where names were
    assert json.loads(config.to_json_string())["custom_pipelines"] == {
        "text2text-generation": {
            "impl": "modeling_elixir_coder.ElixirCoderText2TextPipeline",
            "pt": ["AutoModelForSeq2SeqLM"],
        }
    }


def test_a_rotation_is_part_of_rotary_positions_alone():
    assert ElixirCoderConfig().rope_parameters is None
    rotary = ElixirCoderConfig(position_embedding_type="rotary")
    assert rotary.rope_parameters == {"rope_type": "default", "rope_theta": 10000.0}
    assert ElixirCoderConfig.small().rope_parameters["rope_theta"] == 100000.0


# -------------------------------------------------------------------------------------------------------------- labels


def test_labels_are_those_of_credo_and_sobelow():
    config = ElixirCoderConfig()
    assert (config.num_quality_labels, config.num_security_labels) == (112, 25)
    assert "Credo.Check.Readability.ModuleDoc" in QUALITY_LABELS
    assert "SQL.Query" in SECURITY_LABELS
    assert list(config.id2label.values()) == config.quality_labels + config.security_labels


def test_a_number_of_labels_is_enough():
    config = ElixirCoderConfig(num_quality_labels=2)
    assert config.quality_labels == ["quality_0", "quality_1"]
    assert config.num_labels == 27


def test_labels_of_ones_own_leave_the_others_alone():
    config = ElixirCoderConfig(num_labels=3)
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert config.problem_type is None
    assert config.num_quality_labels == 112


def test_loss_weights_that_are_not_given_keep_their_defaults():
    config = ElixirCoderConfig(loss_weights={"quality": 0.7})
    assert config.loss_weights == {"generation": 1.0, "quality": 0.7, "security": 0.5, "clarification": 0.3}


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"d_model": "x"}, "d_model must be int, got 'x'"),
        ({"d_model": 768.0}, "d_model must be int, got 768.0"),
        ({"encoder_layers": True}, "encoder_layers must be int, got True"),
        ({"dropout": "0.1"}, "dropout must be float, got '0.1'"),
        ({"use_bias": 1}, "use_bias must be bool, got 1"),
        ({"num_key_value_heads": "2"}, r"num_key_value_heads must be int \| None, got '2'"),
        ({"quality_labels": "abc"}, r"quality_labels must be list\[str\] \| tuple\[str, ...\], got 'abc'"),
        ({"separate_decoder_heads": "explanation"}, "separate_decoder_heads must be list"),
        ({"classifier_hidden_dims": [8, "8"]}, "classifier_hidden_dims must be list"),
        ({"loss_weights": {"quality": "high"}}, "loss_weights must be dict"),
        ({"d_model": 0}, "d_model must be above 0, got 0"),
        ({"encoder_ffn_dim": 0}, "encoder_ffn_dim must be above 0, got 0"),
        ({"num_key_value_heads": -1}, "num_key_value_heads must be above 0"),
        ({"classifier_hidden_dims": [0]}, "classifier_hidden_dims must all be above 0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"quality_thresholds": 1.5}, r"quality_thresholds must lie in \[0, 1\], got 1.5"),
        ({"quality_thresholds": [0.5]}, "quality_thresholds has 1 values for 112 quality_labels"),
        ({"quality_labels": ["a", "b", "a"]}, "quality_labels names 'a' twice"),
        ({"separate_decoder_heads": ["a.b"]}, "separate_decoder_heads become names of modules, which 'a.b' cannot be"),
        ({"loss_weights": {"qality": 1.0}}, "no loss called 'qality'; there are generation, quality, security"),
        ({"loss_weights": {"quality": -1.0}}, "loss_weights must not be negative, got -1.0 for quality"),
        ({"d_model": 30}, r"d_model \(30\) is not a multiple of encoder_attention_heads \(12\)"),
        ({"num_key_value_heads": 5}, r"encoder_attention_heads \(12\) is not a multiple of num_key_value_heads \(5\)"),
        ({"d_model": 15, "head_dim": 4}, "sinusoidal positions need an even d_model, got 15"),
        ({"share_position_embeddings": True}, "share_position_embeddings needs position_embedding_type='learned'"),
        ({"pad_token_id": 32000}, r"pad_token_id must be below vocab_size \(32000\), got 32000"),
        (
            {"position_embedding_type": "rotary", "decoder_attention_heads": 6},
            "rotary positions need heads of one even width, got 64 in the encoder and 128 in the decoder; set head_dim",
        ),
        (
            {"position_embedding_type": "rotary", "head_dim": 7},
            "rotary positions need heads of one even width, got 7 in the encoder and 7",
        ),
        (
            {"position_embedding_type": "rotary", "rope_parameters": {"rope_type": "yarn"}},
            r"rope_parameters\['rope_type'\] must be one of default, linear, llama3, got 'yarn'",
        ),
        (
            {"position_embedding_type": "rotary", "rope_parameters": {"rope_type": "linear"}},
            r"rope_parameters\['factor'\] must be a number above 0 for 'linear', got None",
        ),
        (
            {"position_embedding_type": "relative", "relative_attention_max_distance": 16},
            "relative_attention_num_buckets must be even, at least 4 and less than twice",
        ),
    ],
)
def test_an_impossible_value_is_refused_with_its_field(wrong, message):
    with pytest.raises(ValueError, match=message):
        ElixirCoderConfig(**wrong)


@pytest.mark.parametrize(
    "field, choices",
    [
        ("activation_function", "gelu, relu, swish, gelu_new"),
        ("classifier_activation", "gelu, relu, swish, gelu_new, tanh"),
        ("init_method", "normal, xavier_uniform, xavier_normal, kaiming_uniform, kaiming_normal"),
        ("norm_type", "layernorm, rmsnorm"),
        ("norm_position", "pre, post"),
        ("position_embedding_type", "sinusoidal, learned, rotary, alibi, relative"),
    ],
)
def test_an_unknown_value_is_refused_with_the_known_ones(field, choices):
    with pytest.raises(ValueError, match=f"{field} must be one of {choices}, got 'other'"):
        ElixirCoderConfig(**{field: "other"})
