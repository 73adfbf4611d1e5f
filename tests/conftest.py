"""What every test gets: no network, one thread, remote code copied to a folder of its own, a model in milliseconds."""

import os
import shutil
import sys
import tempfile

# Read when transformers and huggingface_hub are imported, so before any test module is.
_MODULES = tempfile.mkdtemp(prefix="elixir-coder-tests-")
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_MODULES_CACHE": _MODULES,  # an old copy of the Hub files in the user's cache must not be what is tested
    "TOKENIZERS_PARALLELISM": "false",
}

sys.path.append(os.path.join(sys.prefix, "apart"))  # torchao: see docs/dependencies.md

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)  # two wait for each other at every barrier when the machine is busy: ten times slower

# A shared machine stalls now and then: time is for the test runner to limit. Examples are the same on every run.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True)
hypothesis.settings.load_profile("default")


def pytest_collection_modifyitems(items):
    """Skip the tests marked `elixir` or `compiler` where there is none, with a word in the summary."""
    programs = {"elixir": ["elixir"], "compiler": [os.environ.get("CC", "cc").split()[0], "gcc", "clang"]}
    packages = {"elixir": "elixir", "compiler": "gcc libc6-dev"}
    for marker, names in programs.items():
        if any(map(shutil.which, names)):
            continue
        reason = f"`{names[0]}` is not on the PATH; install it with: apt install {packages[marker]}"
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_unconfigure():
    shutil.rmtree(_MODULES, ignore_errors=True)


@pytest.fixture
def tiny_config():
    """A configuration of the shape of the tiny preset, two layers a side: builds and runs in milliseconds."""
    from configuration_elixir_coder import ElixirCoderConfig

    return ElixirCoderConfig.tiny(
        vocab_size=512,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=128,
    )


@pytest.fixture
def tiny_model(tiny_config):
    """A model of `tiny_config` with the same random weights each time, in evaluation mode."""
    from modeling_elixir_coder import ElixirCoderForConditionalGeneration

    torch.manual_seed(0)
    return ElixirCoderForConditionalGeneration(tiny_config).eval()
