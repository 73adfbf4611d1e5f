"""The model against itself written out once more: plain torch in float64, one row, one head, one position at a time.

Nothing here is shared with modeling_elixir_coder.py. Each formula is taken from the paper or the model it comes from.
"""

import math

import pytest
import torch

from configuration_elixir_coder import ElixirCoderConfig
from modeling_elixir_coder import ElixirCoderForConditionalGeneration

SHAPE = {
    "vocab_size": 61,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 28,
    "max_position_embeddings": 40,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
    "dropout": 0.0,
}


def oracle(config, weights, source, target):
    """Logits (T, vocabulary) of one source and one target, lists of token ids, in float64."""
    weights = {name: tensor.double() for name, tensor in weights.items()}

    def linear(name, vector):
        product = weights[f"{name}.weight"] @ vector
        return product + weights[f"{name}.bias"] if f"{name}.bias" in weights else product

    def norm(name, vector):
        if config.norm_type == "rmsnorm":
            return vector / (vector.square().mean() + config.layer_norm_eps).sqrt() * weights[f"{name}.weight"]
        centred = vector - vector.mean()
        unit = centred / (centred.square().mean() + config.layer_norm_eps).sqrt()
        return unit * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def activate(x):
        return {
            "gelu": lambda: x * (1 + torch.erf(x / math.sqrt(2))) / 2,
            "swish": lambda: x / (1 + torch.exp(-x)),
        }[config.activation_function]()

    def turned(head, position):
        half = len(head) // 2
        out = head.clone()
        for i in range(half):
            angle = position * config.rope_parameters["rope_theta"] ** (-2 * i / len(head))
            out[i] = head[i] * math.cos(angle) - head[i + half] * math.sin(angle)
            out[i + half] = head[i + half] * math.cos(angle) + head[i] * math.sin(angle)
        return out

    def bias(stack, head, query, key):
        """What the distance between two positions adds to a score."""
        if config.position_embedding_type == "alibi":
            return -abs(query - key) * 2.0 ** (-8 * (head + 1) / 4)  # four heads
        if config.position_embedding_type == "relative":
            return weights[f"model.{stack}.embed_positions.weight"][bucket(stack, key - query), head]
        return 0.0

    def bucket(stack, distance):
        num, first = (4, 4 if distance > 0 else 0) if stack == "encoder" else (8, 0)
        distance = abs(distance) if stack == "encoder" else max(-distance, 0)
        if distance < num // 2:
            return first + distance
        far = math.log(distance / (num // 2)) / math.log(10 / (num // 2)) * (num - num // 2)
        return first + min(num // 2 + int(far), num - 1)

    def attention(name, stack, queries, keys, is_self):
        """One vector per query; in the decoder's self-attention a query sees no later key."""
        num_heads, width = 4, config.head_dim or config.d_model // 4
        per_group = num_heads // (config.num_key_value_heads or num_heads)
        outputs = []
        for i, state in enumerate(queries):
            heads = []
            for h in range(num_heads):
                part = slice(h * width, (h + 1) * width)
                shared = slice(h // per_group * width, (h // per_group + 1) * width)
                query = linear(f"{name}.q_proj", state)[part]
                scores, values = [], []
                for j, other in enumerate(keys):
                    if is_self and stack == "decoder" and j > i:
                        break
                    key = linear(f"{name}.k_proj", other)[shared]
                    if is_self and config.position_embedding_type == "rotary":
                        score = turned(query, i) @ turned(key, j)
                    else:
                        score = query @ key
                    scores.append(score / math.sqrt(width) + (bias(stack, h, i, j) if is_self else 0.0))
                    values.append(linear(f"{name}.v_proj", other)[shared])
                shares = torch.stack([torch.as_tensor(score) for score in scores]).softmax(0)
                heads.append(sum(share * value for share, value in zip(shares, values)))
            outputs.append(linear(f"{name}.out_proj", torch.cat(heads)))
        return outputs

    def feed_forward(name, vector):
        inner = linear(f"{name}.fc1", vector)
        inner = activate(linear(f"{name}.fc_gate", vector)) * inner if config.gated_ffn else activate(inner)
        return linear(f"{name}.fc2", inner)

    def residual(states, norm_name, sublayer, gate=1.0):
        if config.norm_position == "pre":
            return [x + gate * y for x, y in zip(states, sublayer([norm(norm_name, x) for x in states]))]
        return [norm(norm_name, x + gate * y) for x, y in zip(states, sublayer(states))]

    def run(stack, tokens, encoded=None):
        states = [weights["model.shared.weight"][token] for token in tokens]
        if config.position_embedding_type == "learned":
            table = weights[f"model.{stack}.embed_positions.weight"]
            states = [state + table[position] for position, state in enumerate(states)]
        if config.position_embedding_type == "sinusoidal":
            half = config.d_model // 2
            for position, state in enumerate(states):
                angles = [position / 10000 ** (i / half) for i in range(half)]
                states[position] = state + torch.tensor(
                    [*map(math.sin, angles), *map(math.cos, angles)], dtype=torch.float64
                )
        for index in range(getattr(config, f"{stack}_layers")):
            name = f"model.{stack}.layers.{index}"
            states = residual(
                states,
                f"{name}.self_attn_layer_norm",
                lambda xs, name=name: attention(f"{name}.self_attn", stack, xs, xs, is_self=True),
            )
            if encoded is not None:
                gate = weights[f"{name}.encoder_attn_gate"].tanh() if config.cross_attention_gate else 1.0
                states = residual(
                    states,
                    f"{name}.encoder_attn_layer_norm",
                    lambda xs, name=name: attention(f"{name}.encoder_attn", stack, xs, encoded, is_self=False),
                    gate,
                )
            states = residual(
                states, f"{name}.final_layer_norm", lambda xs, name=name: [feed_forward(name, x) for x in xs]
            )
        if config.norm_position == "pre":
            states = [norm(f"model.{stack}.layer_norm", state) for state in states]
        return states

    decoded = run("decoder", target, run("encoder", source))
    return torch.stack([linear("lm_head", state) for state in decoded])


FORMS = {
    "plain": {},
    "llama": {
        "norm_type": "rmsnorm",
        "gated_ffn": True,
        "activation_function": "swish",
        "use_bias": False,
        "cross_attention_gate": True,
        "lm_head_bias": True,
    },
}


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("groups", [None, 2, 1])
@pytest.mark.parametrize("norm_position", ["pre", "post"])
@pytest.mark.parametrize("positions", ["rotary", "alibi", "relative", "learned", "sinusoidal"])
def test_the_model_computes_what_its_formulas_say(positions, norm_position, groups, form):
    torch.manual_seed(0)
    config = ElixirCoderConfig(
        **SHAPE | FORMS[form],
        position_embedding_type=positions,
        norm_position=norm_position,
        num_key_value_heads=groups,
        rope_parameters={"rope_theta": 30.0} if positions == "rotary" else None,
    )
    model = ElixirCoderForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    source, target = [5, 9, 3, 5, 60, 7, 7, 21, 4, 11, 30, 12, 13], [1, 8, 44, 9, 5, 5, 6, 33, 10, 12, 14, 50]
    written = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target])).logits[0]
    expected = oracle(config, model.state_dict(), source, target)
    assert expected.std() > 0.5
    assert (written - expected).abs().max() < 2e-5
