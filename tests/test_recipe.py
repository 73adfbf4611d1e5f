import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.errors import RecipeError
from elixir_coder.recipe import TrainRecipe, describe, parse, save

REQUIRED = ["--data", "shards", "--out", "runs/1", "--steps", "1000"]


@dataclass(frozen=True, kw_only=True)
class EveryKind:
    """One setting of every type a recipe may have."""

    text: str = field(default="", metadata={"help": "any text"})
    number: int = 0
    ratio: float = 0.0
    flag: bool = False
    folder: Path = Path(".")
    form: Literal["a", "b-c"] = "a"
    words: tuple[str, ...] = ()
    sizes: list[int] = field(default_factory=list)
    folders: tuple[Path, ...] = ()
    maybe_text: str | None = None
    maybe_number: int | None = None
    maybe_folder: Path | None = None
    maybe_flag: bool | None = None


def args_file(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return f"@{path}"


def error_of(recipe_class, *argv) -> str:
    with pytest.raises(RecipeError) as raised:
        parse(recipe_class, argv)
    return str(raised.value)


def train_error(*argv) -> str:
    return error_of(TrainRecipe, *REQUIRED, *argv)


# ---------------------------------------------------------------------------------------------------------------- words


def test_a_setting_takes_its_value_as_the_next_word_or_after_an_equals_sign():
    assert parse(EveryKind, ["--text", "a b", "--number=3"]) == EveryKind(text="a b", number=3)


def test_what_is_not_given_keeps_its_default():
    recipe = parse(TrainRecipe, REQUIRED)
    assert recipe == TrainRecipe(data=(Path("shards"),), out=Path("runs/1"), steps=1000)
    assert (recipe.preset, recipe.learning_rate, recipe.tokenizer) == ("tiny", 1e-3, Path("."))


def test_what_stands_later_wins():
    assert parse(EveryKind, ["--number", "1", "--flag", "--number", "2", "--no_flag"]) == EveryKind(number=2)


@pytest.mark.parametrize(
    ("word", "value"), [("1000", 1000), ("1_000", 1000), ("1e3", 1000), ("-7", -7), ("2.5e1", 25), ("4.0", 4)]
)
def test_a_whole_number_may_be_written_in_several_ways(word, value):
    number = parse(EveryKind, ["--number", word]).number
    assert (number, type(number)) == (value, int)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--flag"], True),
        (["--no_flag"], False),
        (["--flag", "true"], True),
        (["--flag", "No"], False),
        (["--flag=0"], False),
        (["--flag", "--number", "1"], True),
    ],
)
def test_a_bool_is_a_flag_or_takes_a_word(words, value):
    assert parse(EveryKind, words).flag is value


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--words", "a", "b"], ("a", "b")),
        (["--words", "a,b"], ("a", "b")),
        (["--words=a,b,"], ("a", "b")),
        (["--words", "dims=[1,2],x=(3,4)", "y"], ("dims=[1,2]", "x=(3,4)", "y")),
        (["--words", r"a\,b,c\\d"], ("a,b", r"c\d")),
        (["--words="], ()),
        (["--words", "a", "--words", "b"], ("b",)),
    ],
)
def test_a_list_is_separated_by_spaces_or_by_commas_outside_brackets(words, value):
    assert parse(EveryKind, words).words == value


def test_the_elements_of_a_list_are_read_as_their_type():
    assert parse(EveryKind, ["--sizes", "1_000,2", "--folders", "a", "b"]) == EveryKind(
        sizes=[1000, 2], folders=(Path("a"), Path("b"))
    )


def test_none_is_no_value_only_where_there_may_be_none():
    recipe = parse(EveryKind, ["--maybe_number=3", "--maybe_number", "none", "--text", "none"])
    assert (recipe.maybe_number, recipe.text) == (None, "none")


def test_a_value_may_begin_with_a_hyphen():
    assert parse(EveryKind, ["--text", "-x", "--ratio", "-1.5"]) == EveryKind(text="-x", ratio=-1.5)


# ---------------------------------------------------------------------------------------------------------------- files


def test_a_recipe_file_holds_the_words_of_the_command_line(tmp_path):
    recipe = args_file(
        tmp_path / "base.args",
        "# the base model\n--number 1e3 --flag  # both at once\n--text 'a #b'\n--folder runs/#7 --words a \\\n  b\n",
    )
    assert parse(EveryKind, [recipe]) == EveryKind(
        number=1000, flag=True, text="a #b", folder=Path("runs/#7"), words=("a", "b")
    )


def test_the_command_line_and_the_file_win_by_their_order(tmp_path):
    recipe = args_file(tmp_path / "base.args", "--number 1")
    assert parse(EveryKind, [recipe, "--number", "2"]).number == 2
    assert parse(EveryKind, ["--number", "2", recipe]).number == 1


def test_a_file_inside_a_file_is_relative_to_its_folder(tmp_path):
    args_file(tmp_path / "shared" / "small.args", "--number 5 --text small")
    recipe = args_file(tmp_path / "runs" / "mine.args", "@../shared/small.args\n--text mine")
    assert parse(EveryKind, [recipe]) == EveryKind(number=5, text="mine")


def test_a_recipe_that_includes_itself_is_an_error(tmp_path):
    args_file(tmp_path / "a.args", "@b.args")
    recipe = args_file(tmp_path / "b.args", "--number 1\n@a.args")
    assert error_of(EveryKind, recipe) == f"{tmp_path}/a.args, line 1: recipe {tmp_path}/b.args includes itself"


def test_the_same_recipe_may_stand_twice(tmp_path):
    recipe = args_file(tmp_path / "a.args", "--number 1")
    assert parse(EveryKind, [recipe, "--number", "2", recipe]).number == 1


def test_an_unknown_recipe_is_named(tmp_path):
    message = error_of(EveryKind, f"@{tmp_path}/absent.args")
    assert message == f"cannot read recipe {tmp_path}/absent.args: No such file or directory"


def test_an_error_inside_a_file_names_the_file_and_the_line(tmp_path):
    recipe = args_file(tmp_path / "a.args", "--flag\n\n--nmber 1\n")
    assert error_of(EveryKind, recipe) == (
        f"{tmp_path}/a.args, line 3: no such setting: --nmber; did you mean --number?"
    )


@pytest.mark.parametrize("text", ["--text 'open", '--flag\n--text "open', "--text a\\"])
def test_an_open_quote_is_named_with_its_line(tmp_path, text):
    recipe = args_file(tmp_path / "a.args", text)
    line = 1 + text.count("\n")
    assert error_of(EveryKind, recipe) == f"{tmp_path}/a.args, line {line}: a quote or a backslash here has no end"


# --------------------------------------------------------------------------------------------------------------- errors


def test_a_misspelt_setting_names_the_nearest():
    assert train_error("--lerning_rate", "1") == "no such setting: --lerning_rate; did you mean --learning_rate?"
    assert train_error("--learning-rate", "1") == "no such setting: --learning-rate; did you mean --learning_rate?"


def test_a_setting_like_no_other_points_to_help():
    assert train_error("--zzz") == "no such setting: --zzz; --help lists every setting"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--number", "1.5"], "--number must be a whole number, got '1.5'"),
        (["--number", "1e-3"], "--number must be a whole number, got '1e-3'"),
        (["--number", "1e999999999"], "--number must be a whole number, got '1e999999999'"),
        (["--maybe_number", "many"], "--maybe_number must be a whole number or none, got 'many'"),
        (["--ratio", "high"], "--ratio must be a number, got 'high'"),
        (["--ratio", "nan"], "--ratio must be a number, got 'nan'"),
        (["--flag=maybe"], "--flag must be true or false, got 'maybe'"),
        (["--form", "bc"], "--form must be one of a, b-c, got 'bc'; did you mean b-c?"),
        (["--sizes", "1", "x"], "--sizes must be a whole number, got 'x'"),
        (["--text"], "--text needs a value (str): any text"),
        (["--text", "--flag"], "--text needs a value (str): any text"),
        (["--no_flag=true"], "--no_flag takes no value; write --flag=true"),
        (["--no_text"], "no such setting: --no_text; did you mean --text?"),
        (["stray"], "expected --name value or @file.args, got 'stray'"),
        (["--flag", "maybe"], "expected --name value or @file.args, got 'maybe'"),
        (["--number", "1", "2"], "expected --name value or @file.args, got '2'"),
        (["-n"], "expected --name value or @file.args, got '-n'"),
    ],
)
def test_a_wrong_word_is_named_with_what_was_expected(words, message):
    assert error_of(EveryKind, *words) == message


def test_everything_missing_is_named_with_its_help():
    assert error_of(TrainRecipe, "--steps", "10") == (
        "missing: --data (folders of shards from `elixir-coder data`);"
        " --out (folder for checkpoints, logs and the saved recipe). --help lists every setting"
    )


def test_help_lists_every_setting_with_type_default_and_meaning(capsys):
    with pytest.raises(SystemExit) as raised:
        parse(TrainRecipe, ["--help"])
    assert raised.value.code == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("--")}
    assert set(lines) == {f"--{each.name}" for each in fields(TrainRecipe)}
    assert lines["--data"][1:3] == ["path...", "required"]
    assert lines["--preset"][1:3] == ["tiny|small|base|full", "tiny"]
    assert lines["--num_threads"][1:3] == ["int|none", "none"]
    assert all(len(line) > 3 for line in lines.values())


def test_help_of_a_recipe_shows_its_first_line():
    assert describe(EveryKind).startswith("One setting of every type a recipe may have.\n")


# ---------------------------------------------------------------------------------------------------------------- save

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
paths = texts.map(Path)
some_texts = texts.filter(lambda text: text != "")
recipes = st.builds(
    EveryKind,
    text=texts,
    number=st.integers(-(10**29), 10**29),
    ratio=st.floats(allow_nan=False),
    flag=st.booleans(),
    folder=paths,
    form=st.sampled_from(["a", "b-c"]),
    words=st.lists(some_texts | st.text("a\\,[](){}'\"# @-\n", min_size=1)).map(tuple),
    sizes=st.lists(st.integers(-1000, 1000)),
    folders=st.lists(paths).map(tuple),
    maybe_text=st.none() | texts.filter(lambda text: text != "none"),
    maybe_number=st.none() | st.integers(0, 9),
    maybe_folder=st.none() | paths | st.just(Path("none")),
    maybe_flag=st.none() | st.booleans(),
)


@given(recipe=recipes)
def test_a_saved_recipe_reads_back_as_the_same_recipe(tmp_path_factory, recipe):
    path = tmp_path_factory.getbasetemp() / "round-trip.args"
    save(recipe, path)
    assert parse(EveryKind, [f"@{path}"]) == recipe


@given(data=st.data())
def test_a_saved_training_recipe_reads_back_as_the_same_recipe(tmp_path_factory, data):
    steps = data.draw(st.integers(1, 10**9))
    recipe = TrainRecipe(
        data=tuple(data.draw(st.lists(paths, min_size=1, max_size=3))),
        out=data.draw(paths),
        steps=steps,
        warmup_steps=data.draw(st.integers(0, steps - 1)),
        config_overrides=tuple(f"classifier_hidden_dims={text}" for text in data.draw(st.lists(texts))),
        learning_rate=data.draw(st.floats(min_value=0, exclude_min=True, allow_infinity=False)),
        max_grad_norm=math.inf,
        compile=data.draw(st.booleans()),
        init_from=data.draw(st.none() | paths),
        stop_after_minutes=data.draw(st.none() | st.floats(min_value=0, exclude_min=True)),
    )
    path = tmp_path_factory.getbasetemp() / "train.args"
    save(recipe, path)
    assert parse(TrainRecipe, [f"@{path}"]) == recipe


def test_a_path_that_is_not_utf8_survives(tmp_path):
    recipe = EveryKind(folder=Path(b"caf\xe9".decode("utf-8", "surrogateescape")))
    save(recipe, tmp_path / "a.args")
    assert parse(EveryKind, [f"@{tmp_path}/a.args"]) == recipe


def test_save_replaces_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "recipe.args"
    save(EveryKind(number=1), path)
    save(EveryKind(number=2), path)
    assert parse(EveryKind, [f"@{path}"]).number == 2
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("recipe", [EveryKind(words=("a", "")), EveryKind(maybe_text="none")])
def test_what_a_file_cannot_say_is_an_error_and_leaves_the_old_file(tmp_path, recipe):
    path = tmp_path / "recipe.args"
    save(EveryKind(number=1), path)
    with pytest.raises(RecipeError):
        save(recipe, path)
    assert parse(EveryKind, [f"@{path}"]).number == 1


# ---------------------------------------------------------------------------------------------------------- TrainRecipe


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--learning_rate", "0"], "--learning_rate must be above 0 and below inf, got 0.0"),
        (["--learning_rate", "inf"], "--learning_rate must be above 0 and below inf, got inf"),
        (["--steps", "0"], "--steps must be at least 1, got 0"),
        (["--adam_beta2", "1"], "--adam_beta2 must be at least 0 and below 1, got 1.0"),
        (["--min_learning_rate_ratio", "1.1"], "--min_learning_rate_ratio must be at least 0 and at most 1, got 1.1"),
        (["--num_threads", "0"], "--num_threads must be at least 1, got 0"),
        (["--stop_after_minutes", "0"], "--stop_after_minutes must be above 0, got 0.0"),
        (["--preset", "huge"], "--preset must be one of tiny, small, base, full, got 'huge'"),
        (["--config_overrides", "d_model"], "--config_overrides takes key=value, e.g. d_model=256; got 'd_model'"),
        (["--tasks", "denoise=0"], "--tasks gives every task a share of 0; give at least one more"),
        (["--tasks", "denoise=x"], "--tasks takes name=number, at least 0, e.g. quality=0.5; got 'denoise=x'"),
        (["--tasks", "denoise", "denoise=2"], "--tasks names denoise twice"),
        (["--loss_weights", "quality=-1"], "--loss_weights takes name=number, at least 0, e.g. quality=0.5; got"),
        (["--loss_weighting", "gradnorm"], "gradnorm needs the tasks' gradients; give --norms_every, e.g. 10"),
        (
            ["--student_layers", "3", "1"],
            "--student_layers takes two numbers, e.g. 3 1, and a --teacher, and no --init",
        ),
        (["--asymmetric", "4"], "--asymmetric takes three numbers, e.g. 4 1 0.05; got 1"),
        (["--adapter", "mine"], "--adapter trains what is added to a model; give the model as --init_from"),
        (["--steps", "100"], "--warmup_steps 100 leaves nothing of --steps 100; try --warmup_steps 10"),
        (
            ["--schedule", "wsd", "--warmup_steps", "900"],
            "--warmup_steps 900 and --decay_fraction 0.2 together are longer than --steps 1000;"
            " make one of them smaller",
        ),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_range(words, message):
    assert message in train_error(*words)


def test_a_recipe_built_in_python_is_checked_too():
    recipe = parse(TrainRecipe, REQUIRED)
    with pytest.raises(RecipeError, match="--schedule must be one of cosine, wsd, constant, got 'linear'"):
        replace(recipe, schedule="linear")
    with pytest.raises(RecipeError, match="--learning_rate must be above 0 and below inf, got nan"):
        replace(recipe, learning_rate=math.nan)


def test_nothing_writes_to_a_recipe():
    with pytest.raises(AttributeError):
        parse(TrainRecipe, REQUIRED).steps = 2


RECIPES = sorted(path for path in (Path(__file__).parents[1] / "recipes").glob("*.args") if path.name != "eval.args")


@pytest.mark.parametrize("path", RECIPES, ids=[path.name for path in RECIPES])
def test_every_recipe_in_the_folder_can_be_trained(path):
    words = [f"@{path}", "--data", "shards", "--out", "runs/1"]
    assert parse(TrainRecipe, words).data == (Path("shards"),)
