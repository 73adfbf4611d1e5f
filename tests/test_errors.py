import inspect

import pytest

from elixir_coder import errors


def test_exit_on_error_returns_what_main_returns():
    assert errors.exit_on_error(lambda: 1) == 1
    assert errors.exit_on_error(lambda: None) == 0


def test_a_users_error_is_one_line_on_stderr_and_exit_code_2(capsys):
    def main():
        raise errors.DataError("shards/train-00003.parquet, row 812:\n  no column `code`")

    assert errors.exit_on_error(main) == 2
    assert capsys.readouterr() == ("", "error: shards/train-00003.parquet, row 812: no column `code`\n")


def test_a_bug_of_ours_keeps_its_traceback():
    def main():
        raise KeyError("no such key")

    with pytest.raises(KeyError):
        errors.exit_on_error(main)


def test_a_missing_package_names_the_extra_that_brings_it():
    with pytest.raises(errors.MissingDependencyError) as raised:
        errors.require("surely_not_installed.submodule", "train")
    assert str(raised.value) == (
        "`surely_not_installed` is not installed; install it with: pip install 'elixir-coder[train]'"
    )


def test_an_installed_package_is_returned():
    assert errors.require("json.decoder", "train").JSONDecodeError


def test_every_error_is_in_the_tree_and_is_drawn_there():
    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == errors.__name__]
    assert len(classes) > 1
    for each in classes:
        assert issubclass(each, errors.ElixirCoderError)
        assert each.__name__ in errors.__doc__, f"{each.__name__} is missing from the docstring of errors.py"
