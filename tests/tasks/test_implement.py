from elixir_coder.tasks.implement import Implement
from elixir_coder.tasks.write_tests import WriteTests
from tests.tasks.annotated_code import example_of
from tests.tasks.given import random
from tests.tasks.supervised import CHANGE, EXERCISE, FUNCTION, LAST, TESTS, read, setup_of
from tests.tasks.test_write_tests import STORE, STORE_TESTS


def texts_of(example, **lengths):
    row = Implement(setup_of(**lengths))(example, random(0))
    return row and (read(row.source), read(row.target))


def test_tests_become_code():
    assert texts_of(EXERCISE) == (f"<code><test>{TESTS}</s>", f"{LAST}</s>")
    assert texts_of(FUNCTION) == ("<code><test>iex> size([1])\n1</s>", FUNCTION.code + "</s>")


def test_what_has_no_tests_is_not_accepted():
    assert not Implement(setup_of()).accepts(CHANGE)


def test_of_what_is_too_long_it_has_the_parts_that_writing_tests_has():
    example = example_of(STORE, kind="test_pair", tests=STORE_TESTS, test_type="exunit")
    tests_first = Implement(setup_of(360, 300))(example, random(1))
    code_first = WriteTests(setup_of(300 + 9, 360 - 2))(example, random(1))

    assert tests_first and code_first
    assert read(tests_first.source)[len("<code><test>") : -len("</s>")] == read(code_first.target)[: -len("</s>")]
    assert read(code_first.source)[len("<test>exunit\n") : -len("</s>")] == read(tests_first.target)[: -len("</s>")]
