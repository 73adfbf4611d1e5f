"""What every test here gets: transformers as it is where our package is not installed, and a model folder a variant."""

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_PRETRAINING_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    MODEL_MAPPING,
)

from tests.ecosystem.small_folder import MOST_UNLIKE, VARIANTS, write_folder

REGISTERED = [
    CONFIG_MAPPING,
    MODEL_MAPPING,
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_PRETRAINING_MAPPING,
]


@pytest.fixture(autouse=True)
def only_the_folder_knows_the_model(monkeypatch):
    """elixir_coder.checkpoint registers the installed classes, which Auto classes then prefer to those of a folder."""
    for mapping in REGISTERED:
        monkeypatch.setattr(mapping, "_extra_content", {})


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A model folder of each variant. Nothing writes into them."""
    return {name: write_folder(tmp_path_factory.mktemp(name), name) for name in VARIANTS}


@pytest.fixture
def tiny(folders):
    return folders["tiny"]


@pytest.fixture(params=MOST_UNLIKE)
def folder(request, folders):
    """The folders of the variants that differ most, in turn."""
    return folders[request.param]
