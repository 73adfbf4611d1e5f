"""What setup.cfg, constraints.txt and the Makefile promise to each other and to what is installed."""

import configparser
import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
BASE = {"torch", "transformers", "tokenizers", "safetensors"}


def requirements(text: str) -> list[Requirement]:
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [Requirement(line) for line in lines if line]


EXTRAS = {name: requirements(text) for name, text in SETUP["options.extras_require"].items()}
INSTALLS = requirements(SETUP["options"]["install_requires"])
EVERY = [*INSTALLS, *(each for extra in EXTRAS.values() for each in extra)]
PINS = {canonicalize_name(each.name): each for each in requirements((ROOT / "constraints.txt").read_text("utf-8"))}


def test_a_base_install_is_small():
    assert {each.name for each in INSTALLS} == BASE


@pytest.mark.parametrize("requirement", EVERY, ids=str)
def test_every_requirement_is_pinned_to_a_version_it_allows(requirement):
    pin = PINS[canonicalize_name(requirement.name)]
    (version,) = [each.version for each in pin.specifier if each.operator == "=="]
    assert requirement.specifier.contains(version)


def test_the_tests_run_on_the_pinned_versions():
    installed = {canonicalize_name(each.name): each.version for each in importlib.metadata.distributions()}
    wrong = [
        f"{pin} is pinned, {installed[name]} is installed"
        for name, pin in PINS.items()
        if name in installed and not pin.specifier.contains(installed[name], prereleases=True)
    ]
    assert wrong == []


def test_every_requirement_is_described():
    text = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    for requirement in EVERY:
        assert re.search(rf"^\| {re.escape(requirement.name)} \|", text, re.MULTILINE), requirement.name


def test_every_module_that_is_installed_exists():
    modules = SETUP["options"]["py_modules"].split()
    assert [name for name in modules if not (ROOT / f"{name}.py").exists()] == []
    assert {f"{name}.py" for name in modules} == {path.name for path in ROOT.glob("*_elixir_coder.py")}


def test_an_install_has_every_file_of_the_package():
    data = {package: globs.replace("\n", ",") for package, globs in SETUP["options.package_data"].items()}
    installed = {
        path
        for package, globs in data.items()
        for glob in globs.split(",")
        for path in (ROOT / package.replace(".", "/")).glob(glob.strip())
    }
    folders = {path.parent for path in (ROOT / "elixir_coder").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []
    others = {
        path
        for path in (ROOT / "elixir_coder").rglob("*")
        if path.is_file()
        and path.suffix not in (".py", ".pyc")
        and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(ROOT).parts)
    }
    assert sorted(map(str, others - installed)) == []


def test_help_names_every_target_of_the_makefile():
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)[1].split()
    steps = {"help", "base", "dev", "system"}
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^make (\w+)", shown, re.MULTILINE)) == set(phony) - steps


def test_continuous_integration_runs_the_command_of_the_readme():
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert "make test" in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()


# ------------------------------------------------------------------------------------- system packages, with a fake apt

APT = "echo apt-get $* >> log"
ROOT_ID, USER_ID = "echo 0", "echo 1000"
WITH_SUDO, WITHOUT_SUDO = 'shift; echo sudo >> log; exec "$@"', "exit 1"
INSTALL = "apt-get install -y -qq --no-install-recommends"


@pytest.fixture
def system_packages(tmp_path):
    """Run `make system` where only the given commands exist; give what it printed and what it called."""

    def run(venv=sys.prefix, **commands):
        programs = tmp_path / "bin"
        programs.mkdir()
        for name in ("env", "true"):
            (programs / name).symlink_to(shutil.which(name))
        for name, script in commands.items():
            program = programs / name.replace("_", "-")
            program.write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n", encoding="utf-8")
            program.chmod(0o755)
        command = [shutil.which("make"), "-s", "-C", str(ROOT), "system", f"VENV={venv}", "PYTHON=python3"]
        result = subprocess.run(command, env={"PATH": str(programs)}, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        log = tmp_path / "log"
        return result.stdout + result.stderr, log.read_text("utf-8").splitlines() if log.exists() else []

    return run


def test_nothing_is_installed_when_nothing_is_missing(system_packages):
    assert system_packages(elixir="", bwrap="", cc="", apt_get=APT, id=ROOT_ID) == ("", [])


def test_root_installs_what_is_missing(system_packages):
    printed, calls = system_packages(elixir="", clang="", apt_get=APT, id=ROOT_ID)
    assert calls == ["apt-get update -qq", f"{INSTALL} bubblewrap"]
    assert printed == "Installing system packages: bubblewrap ...\n"


def test_sudo_is_used_when_it_asks_no_password(system_packages):
    _, calls = system_packages(apt_get=APT, id=USER_ID, sudo=WITH_SUDO)
    assert calls == ["sudo", "sudo", "apt-get update -qq", "sudo", f"{INSTALL} elixir bubblewrap gcc libc6-dev"]


@pytest.mark.parametrize("commands", [{"apt_get": APT, "id": USER_ID, "sudo": WITHOUT_SUDO}, {"id": ROOT_ID}])
def test_without_rights_or_without_apt_it_says_what_to_install(system_packages, commands):
    printed, calls = system_packages(**commands)
    missing = "elixir bubblewrap gcc libc6-dev"
    assert printed == f"note: not installed, and not ours to install here: {missing}. As root: apt install {missing}\n"
    assert calls == []


def test_a_failing_apt_is_said_and_does_not_stop_the_rest(system_packages):
    printed, _ = system_packages(apt_get="exit 100", id=ROOT_ID)
    assert "note: apt could not install elixir bubblewrap" in printed


def test_python_without_venv_is_missing_too(system_packages, tmp_path):
    printed, _ = system_packages(venv=tmp_path / "none", elixir="", bwrap="", cc="", python3="exit 1", id=USER_ID)
    assert "apt install python3-venv" in printed
