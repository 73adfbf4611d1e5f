import pytest

from tests.evaluation import small


@pytest.fixture(scope="session")
def tokenizer():
    return small.small_tokenizer()


@pytest.fixture(scope="session")
def model(tokenizer):
    return small.small_model(tokenizer)


@pytest.fixture(scope="session")
def examples():
    return small.small_examples()
