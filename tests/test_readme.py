"""The README keeps its word: its code runs, its commands work, its links lead somewhere, its card is complete.

Blocks run in the order of the page in a copy of this checkout: first every ```bash and ```console block, each in a
shell of its own; then the ```python blocks, one after another in one Python, as a reader would paste them. In a
```console block the lines after `$ ` are run and the rest is output, which is not compared: the model's words change
with its weights. A line `<!-- not run: reason -->` above a block leaves it out; the reason is shown as a skipped test.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CHANGELOG.md"]
SHELL, PYTHON = ("bash", "console"), ("python",)
SHOWN = ("elixir", "text", "json", "yaml", "bibtex", "diff", "html", "http")  # languages of blocks that only show

FRONT_MATTER = {
    "language": list,
    "license": str,
    "library_name": str,
    "pipeline_tag": str,
    "tags": list,
}


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int  # of the first line of the text, from 1
    not_run: str | None  # the reason

    @property
    def shell(self) -> str:
        """What to hand to bash."""
        if self.language == "bash":
            return self.text
        return "\n".join(line[2:] for line in self.text.splitlines() if line.startswith(("$ ", "> ")))


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a page. Raises ValueError for one without a language, or that does not end."""
    blocks, lines = [], text.splitlines()
    at = 0
    while at < len(lines):
        fence = re.match(r"(\s*)(`{3,}|~{3,})\s*(\S*)", lines[at])
        at += 1
        if not fence:
            continue
        indent, ticks, language = fence.groups()
        if not language:
            raise ValueError(f"line {at}: the block does not say its language")
        marker = re.fullmatch(r"\s*<!-- not run: (.+?) -->\s*", lines[at - 2]) if at > 1 else None
        first, body = at + 1, []
        while at < len(lines) and lines[at].strip() != ticks:
            body.append(lines[at].removeprefix(indent))
            at += 1
        if at == len(lines):
            raise ValueError(f"line {first - 1}: the block does not end")
        at += 1
        blocks.append(Block(language, "\n".join(body) + "\n", first, marker[1] if marker else None))
    return blocks


def broken_links(page: Path, root: Path) -> list[str]:
    """The relative links and images of a page that lead to no file, or to no heading of it."""
    text = re.sub(r"(?ms)^(\s*)(`{3,}|~{3,}).*?^\s*\2\s*$", "", page.read_text("utf-8"))
    text = re.sub(r"`[^`\n]*`", "", text)
    targets = re.findall(
        r"\]\(\s*<?([^\s)>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)|(?:src|href)=[\"']([^\"']+)", text, re.MULTILINE
    )
    broken = []
    for target in ("".join(groups) for groups in targets):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        leads_to_file = file.exists() and file.is_relative_to(root)
        if not leads_to_file or (anchor and file.suffix == ".md" and anchor not in anchors_of(file.read_text("utf-8"))):
            broken.append(target)
    return broken


def anchors_of(text: str) -> set[str]:
    """The anchors that GitHub and the Hub give the headings of a page."""
    headings = re.findall(r"^#+\s+(.+?)\s*#*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def front_matter_of(text: str) -> dict:
    """The YAML between the two lines of hyphens at the top of a model card."""
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    if not match:
        raise ValueError("the card does not begin with YAML between two lines of ---")
    return yaml.safe_load(match[1])


def program_of(blocks: list[Block]) -> str:
    """One Python program of all blocks, in the lines they have on the page; where a block ends, it says so."""
    lines: list[str] = []
    for block in blocks:
        lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines() + [f"print({_done(block)!r})"]
    return "\n".join(lines) + "\n"


def _done(block: Block) -> str:
    return f"<block of line {block.line} ran>"


README = (ROOT / "README.md").read_text("utf-8") if (ROOT / "README.md").exists() else ""
BLOCKS = blocks_of(README)


def each_block(languages):
    return [
        pytest.param(block, id=f"line {block.line}", marks=marks_of(block))
        for block in BLOCKS
        if block.language in languages
    ]


def marks_of(block):
    if block.not_run:
        return [pytest.mark.skip(reason=f"README.md, line {block.line}: {block.not_run}")]
    return [pytest.mark.elixir] if needs_elixir(block) else []


def needs_elixir(block):
    return "elixir_coder.toolchain" in block.text


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the files of this checkout, without what .gitignore names."""
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text("utf-8").splitlines() if line[:1] != "#"]
    copy = tmp_path_factory.mktemp("readme") / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", *ignored))
    (copy / ".venv").symlink_to(sys.prefix)
    return copy


def run(command: list[str], checkout: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NO_SETUP": "1",  # a make in a block uses this Python and installs nothing
        "INSIDE_README_TEST": "1",
        "OMP_NUM_THREADS": "1",  # two threads that wait for each other on a busy machine took 10 times as long
    }
    return subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300
    )


@pytest.fixture(scope="module")
def examples(checkout):
    """The result of the program that all Python blocks make."""
    program = checkout / "README.py"
    blocks = [b for b in BLOCKS if b.language in PYTHON and not b.not_run]
    if not shutil.which("elixir"):
        blocks = [b for b in blocks if not needs_elixir(b)]
    program.write_text(program_of(blocks), encoding="utf-8")
    return run([sys.executable, "-W", "error", program.name], checkout)


def test_the_readme_does_not_run_itself():
    assert "INSIDE_README_TEST" not in os.environ, "mark the block that runs the tests with <!-- not run: ... -->"


def test_the_card_has_the_fields_that_the_hub_reads():
    card = front_matter_of(README)
    assert {name: type(card.get(name)) for name in FRONT_MATTER} == FRONT_MATTER
    assert card["license"] == "apache-2.0"
    assert card["library_name"] == "transformers"
    assert "elixir" in card["tags"]


def test_the_readme_shows_its_two_commands():
    shown = "".join(block.shell for block in BLOCKS if block.language in SHELL)
    assert "make demo" in shown
    assert "make test" in shown


def test_every_block_is_of_a_language_we_know():
    assert [b for b in BLOCKS if b.language not in (*SHELL, *PYTHON, *SHOWN)] == []


@pytest.mark.parametrize("block", each_block(SHELL))
def test_a_command_of_the_readme_works(block, checkout):
    assert block.shell.strip(), "the block has no command"
    result = run(["bash", "-euo", "pipefail", "-c", block.shell], checkout)
    assert result.returncode == 0, f"{result.stdout[-4000:]}\n{result.stderr[-4000:]}"


@pytest.mark.parametrize("block", each_block(PYTHON))
def test_an_example_of_the_readme_runs(block, examples):
    assert _done(block) in examples.stdout, f"{examples.stdout[-4000:]}\n{examples.stderr[-4000:]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    assert broken_links(page, ROOT) == []


# ----------------------------------------------------------------------------------------------- the readers above


def test_blocks_are_read_with_their_language_line_and_marker():
    page = (
        "# T\n```python\na = 1\n```\n<!-- not run: it clones -->\n  ```bash\n  x\n    y\n  ```\n````text\n```\n````\n"
    )
    assert blocks_of(page) == [
        Block("python", "a = 1\n", 3, None),
        Block("bash", "x\n  y\n", 7, "it clones"),
        Block("text", "```\n", 11, None),
    ]


@pytest.mark.parametrize(("page", "message"), [("```\nx\n```", "language"), ("```text\nx", "does not end")])
def test_a_block_that_cannot_be_read_is_an_error(page, message):
    with pytest.raises(ValueError, match=message):
        blocks_of(page)


def test_only_the_commands_of_a_console_block_are_run():
    block = Block("console", "$ for i in 1 2; do\n> echo $i\n> done\n1\n2\n$ true\n", 1, None)
    assert block.shell == "for i in 1 2; do\necho $i\ndone\ntrue"


def test_the_program_keeps_the_line_numbers_of_the_page():
    program = program_of(blocks_of("```python\na = 1\n```\n\ntext\n```python\nb = a\n```\n"))
    assert [(node.lineno, ast.unparse(node)) for node in ast.parse(program).body] == [
        (2, "a = 1"),
        (3, "print('<block of line 2 ran>')"),
        (7, "b = a"),
        (8, "print('<block of line 7 ran>')"),
    ]


def test_a_link_to_a_missing_file_or_heading_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# The `first` part!\n", encoding="utf-8")
    page = tmp_path / "README.md"
    page.write_text(
        "[a](other.md) [b](other.md#the-first-part) [c](https://example.org/x) `[not](a-link)`\n"
        "[d](missing.md) ![e](missing.png) [f](other.md#second) [g](#nowhere) <img src='gone.svg'> [h](../outside)\n"
        "```text\n[i](in-a-block)\n```\n[j]: absent.md\n",
        encoding="utf-8",
    )
    assert set(broken_links(page, tmp_path)) == {
        "missing.md", "missing.png", "other.md#second", "#nowhere", "gone.svg", "../outside", "absent.md",
    }  # fmt: skip


def test_a_card_without_front_matter_is_an_error():
    assert front_matter_of("---\nlicense: mit\n---\n# Title\n") == {"license": "mit"}
    with pytest.raises(ValueError, match="does not begin"):
        front_matter_of("# Title\n")
