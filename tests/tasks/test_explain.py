from elixir_coder.tasks.explain import Explain
from tests.tasks.given import random
from tests.tasks.supervised import BARE, EXERCISE, FUNCTION, LAST, read, setup_of


def texts_of(source_length=1024, **settings):
    row = Explain(setup_of(source_length), **settings)(EXERCISE, random(0))
    return row and (read(row.source), read(row.target))


def test_code_becomes_its_explanation():
    assert texts_of(undocumented=0.0) == (f"<explanation>{LAST}</s>", "`List.last/1` gives the last book.</s>")


def test_some_code_is_shown_without_its_documentation():
    assert texts_of(undocumented=1.0)[0] == f"<explanation>{BARE}</s>"


def test_code_too_long_with_its_documentation_is_shown_without_and_else_left_out():
    num_bare = len(setup_of().ids(BARE)) + 2

    assert texts_of(num_bare, undocumented=0.0)[0] == f"<explanation>{BARE}</s>"
    assert texts_of(num_bare - 1) is None


def test_what_has_no_explanation_is_not_accepted():
    assert not Explain(setup_of()).accepts(FUNCTION)
