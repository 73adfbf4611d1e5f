"""What holds for every command; what a command does is tested beside the module that adds it."""

import argparse
import importlib
import subprocess
import sys

import pytest

from elixir_coder import __version__, cli
from elixir_coder.errors import InputError


def parsers(parser, words=()):
    """Every parser of the tree with the words that lead to it: ((), root), (("data",), ...), ..."""
    yield words, parser
    for name, child in subcommands(parser).items():
        yield from parsers(child, (*words, name))


def subcommands(parser) -> dict[str, argparse.ArgumentParser]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return groups[0].choices if groups else {}


TREE = dict(parsers(cli.build_parser()))
LEAVES = {words: parser for words, parser in TREE.items() if not subcommands(parser)}


def named(words):
    return " ".join(words) or "elixir-coder"


@pytest.mark.parametrize("words", TREE, ids=named)
def test_every_command_prints_help(words, capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main([*words, "--help"])
    assert raised.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {' '.join(['elixir-coder', *words])} ")


@pytest.mark.parametrize("words", TREE, ids=named)
def test_every_command_and_every_argument_says_what_it_is(words):
    for action in TREE[words]._actions:
        if isinstance(action, argparse._SubParsersAction):
            summaries = {choice.dest: choice.help for choice in action._choices_actions}
            assert set(summaries) == set(action.choices)
            assert all(summaries.values()), summaries
        else:
            assert action.help, f"{action.option_strings or action.dest} has no help"


@pytest.mark.parametrize("words", LEAVES, ids=named)
def test_every_command_has_something_to_run(words):
    assert callable(LEAVES[words].get_default("run"))


def test_the_tree_holds_the_commands_of_the_readme():
    words = {" ".join(words) for words in LEAVES}
    assert words >= {"data collect debian", "data collect folder", "tokenizer train", "generate", "save", "card"}


def test_version(capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"elixir-coder {__version__}\n"


@pytest.mark.parametrize("argv", [[], ["data"], ["no-such-command"], ["--no_such_option"]])
def test_wrong_usage_is_exit_code_2(argv, capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(argv)
    assert raised.value.code == 2
    assert "usage: elixir-coder" in capsys.readouterr().err


def run_instead(monkeypatch, run):
    parser = argparse.ArgumentParser()
    parser.set_defaults(run=run)
    monkeypatch.setattr(cli, "build_parser", lambda word: parser)


def test_the_exit_code_is_that_of_the_command(monkeypatch):
    run_instead(monkeypatch, lambda args: 1)
    assert cli.main([]) == 1


def test_a_users_error_is_one_line(monkeypatch, capsys):
    def run(args):
        raise InputError("the prompt is empty")

    run_instead(monkeypatch, run)
    assert cli.main([]) == 2
    assert capsys.readouterr().err == "error: the prompt is empty\n"


def test_an_interrupt_is_exit_code_130_without_a_traceback(monkeypatch, capsys):
    def run(args):
        raise KeyboardInterrupt

    run_instead(monkeypatch, run)
    assert cli.main([]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(("module", "summaries"), [(module, added) for module, _, added in cli.COMMANDS])
def test_the_table_says_what_each_module_adds(module, summaries):
    commands = argparse.ArgumentParser().add_subparsers()
    importlib.import_module(module).add_parser(commands)
    assert {choice.dest: choice.help for choice in commands._choices_actions} == summaries


@pytest.mark.parametrize("words", TREE, ids=named)
def test_help_does_not_depend_on_what_was_imported(words, capsys):
    texts = []
    for parser in (cli.build_parser(), cli.build_parser(words[0] if words else "")):
        with pytest.raises(SystemExit):
            parser.parse_args([*words, "--help"])
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("argv", "modules"),
    [(["generate", "--help"], ["elixir_coder.generation.generator"]), (["--help"], []), (["--version"], [])],
    ids=["generate", "help", "version"],
)
def test_a_command_imports_no_other(argv, modules):
    program = f"""
import sys
from elixir_coder import cli
try:
    cli.main({argv})
except SystemExit:
    print(sorted({{module for module, _, _ in cli.COMMANDS}} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == str(modules)


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from elixir_coder import cli; cli.build_parser();"
        "print(sorted({'torch', 'transformers', 'tokenizers', 'numpy', 'pyarrow', 'accelerate'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_the_package_runs_as_a_module():
    result = subprocess.run([sys.executable, "-m", "elixir_coder", "--version"], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"elixir-coder {__version__}\n", "")
