"""What a program inside can reach, what it may use, and when nothing is run at all."""

import contextlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import replace
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from elixir_coder.errors import MissingDependencyError, SandboxError
from elixir_coder.toolchain import sandbox as module
from elixir_coder.toolchain.sandbox import Limits, NoSandbox, Sandbox, find_elixir, seccomp_program, vm_flags
from elixir_coder.toolchain.toolchain import Toolchain

needs_bubblewrap = pytest.mark.skipif(
    not shutil.which("bwrap"), reason="`bwrap` is not on the PATH; install it with: apt install bubblewrap"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up its rights")
pytestmark = [pytest.mark.elixir, needs_bubblewrap]


def erlang(expressions, *, within=None, limits=None, **options):
    """Run Erlang in a virtual machine that is confined by `within`; what it printed, what it said, how it ended."""
    within = within or Sandbox.probe()
    arguments = ["-noshell", "-noinput", "-boot", "no_dot_erlang", "-eval", f"{expressions}, halt(0)."]
    return execute(within, find_elixir().command(vm_flags(limits or within.limits), arguments), **options)


def execute(within, argv, *, fds=(), **options):
    with within.launch(argv, fds=fds, **options) as launch:
        return subprocess.run(
            launch.argv, env=launch.env, **launch.options, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
        )


def printed(expression, **options):
    done = erlang(f'io:format("~0tp", [{expression}])', **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@pytest.fixture
def folder():
    """A folder that everybody can read, unlike pytest's own: where root starts us, the inside belongs to nobody."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def script(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


# ---------------------------------------------------------------------------------------------------------- the probe


def test_the_sandbox_holds_here():
    sandbox = Sandbox.probe()

    assert sandbox.describe().startswith("bubblewrap")
    assert sandbox.limits == Limits()
    assert Sandbox.probe() is sandbox  # proven once


def test_without_bubblewrap_code_is_parsed_and_formatted_but_not_run(monkeypatch, folder):
    for name in ("elixir", "erl", "prlimit"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))

    with Toolchain(workers=1) as toolchain:
        assert toolchain.parse("1 + 1").ok
        assert toolchain.format("1+1").formatted == "1 + 1\n"
        with pytest.raises(SandboxError, match="`bwrap` is not on the PATH; install it with: apt install bubblewrap"):
            toolchain.compile("defmodule A do\nend")


def test_who_insists_runs_code_without_a_sandbox(monkeypatch, folder):
    for name in ("elixir", "erl"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))  # nor is there a prlimit

    with Toolchain(workers=1, sandbox=False) as toolchain:
        assert toolchain.compile("defmodule A do\nend").modules == ("A",)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", "No permissions to create new namespace"),
        ("exit 3", "exit code 3"),
        ("kill -9 $$", "killed by SIGKILL"),
        ("echo 'bwrap: Unknown option --size' >&2; exit 1", "Unknown option --size; install a newer bubblewrap"),
        ("echo 'done ok'", "the probe did not say everything"),
    ],
)
def test_a_bubblewrap_that_does_not_work_is_refused_with_its_own_words(monkeypatch, folder, body, said):
    script(folder, "bwrap", body)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    with pytest.raises(SandboxError, match=rf"{said}.*--unsafe-no-sandbox") as refused:
        Sandbox.probe()

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("drop='--unshare-net'", "the network can be reached"),
        ("drop='--unshare-pid'", "processes of the host can be seen"),
        ("more='--ro-bind /etc /etc'", "/etc/passwd can be opened from inside, to read"),
        (
            f"more='--ro-bind {Path(module.__file__).parent} {Path(module.__file__).parent}'",
            "can be (opened|read) from inside",  # the file, or the home that the checkout lies in
        ),
        ("more='--bind /tmp /tmp'", "/tmp is not one of its own"),
        ("more='--setenv SECRET x'", "the environment is not empty inside \\(SECRET\\)"),
        ("drop='--remount-ro'", "/probe can be opened from inside, to write"),
        ("more='--ro-bind /bin/sh /bin/sh'", "/bin/sh can be opened from inside, to read"),
    ],
)
def test_the_probe_notices_a_promise_that_does_not_hold(monkeypatch, folder, change, said):
    bubblewrap = shutil.which("bwrap")
    leaky = script(
        folder,
        "bwrap",
        f"""
        {change}
        for word in "$@"; do
            shift
            if [ "$word" = "--remount-ro" ]; then set -- "$@" $more; fi
            if [ "$word" = "$drop" ]; then
                case $word in --remount-ro) word=--dir ;; *) continue ;; esac
            fi
            set -- "$@" "$word"
        done
        exec {bubblewrap} "$@"
        """,
    )
    monkeypatch.setenv("PATH", f"{leaky.parent}:{os.environ['PATH']}")

    with pytest.raises(SandboxError, match=said):
        Sandbox.probe()


def test_where_proc_cannot_be_mounted_the_sandbox_does_without(monkeypatch, folder):
    refuses = 'case "$*" in *--proc*) echo "bwrap: Can\'t mount proc on /newroot/proc" >&2; exit 1 ;; esac'
    script(folder, "bwrap", f'{refuses}\nexec {shutil.which("bwrap")} "$@"')
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    assert Sandbox.probe().describe().endswith("without /proc")


@needs_root
def test_where_nobody_has_no_namespaces_root_stays_root_and_says_so(monkeypatch, folder):
    script(folder, "bwrap", f'[ $(id -u) = 0 ] || exit 1\nexec {shutil.which("bwrap")} "$@"')
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    sandbox = Sandbox.probe()

    assert sandbox.user is None
    assert "as root, so the number of processes is not limited" in sandbox.describe()


@pytest.mark.parametrize("home", ["/", "/tmp", "~", "/home/Ольга", 'a"b\\'])
def test_any_home_may_be_the_callers(monkeypatch, home):
    monkeypatch.setenv("HOME", home)

    assert module._what_does_not_hold(Sandbox.probe()) is None


def test_a_home_that_can_be_read_is_noticed(monkeypatch, folder):
    (folder / "Дом").mkdir()
    (folder / "Дом" / "letters").write_text("private")
    monkeypatch.setenv("HOME", str(folder))
    insert = f'[ "$word" = --remount-ro ] && set -- "$@" --ro-bind {folder} {folder}'
    each = f'for word; do shift; {insert}; set -- "$@" "$word"; done'
    script(folder, "bwrap", f'{each}\nexec {shutil.which("bwrap")} "$@"')
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    with pytest.raises(SandboxError, match=f"{folder} can be read from inside"):
        Sandbox.probe()


def test_the_way_out_names_the_setting_that_forbids_user_namespaces(monkeypatch, folder):
    monkeypatch.setattr(module, "_SETTINGS", folder)
    (folder / "kernel").mkdir()
    (folder / "kernel/apparmor_restrict_unprivileged_userns").write_text("1\n")

    assert module._way_out("setting up uid map: Permission denied") == (
        "allow user namespaces with: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    )


# --------------------------------------------------------------------------------------------------- what is in reach


def test_the_root_holds_no_program_but_the_machine():
    find = """
    Walk = fun Walk(Path) -> case file:list_dir(Path) of
        {ok, Names} -> lists:append([Walk(filename:join(Path, Name)) || Name <- Names]);
        {error, _} ->
            {ok, Info} = file:read_file_info(Path),
            [filename:basename(Path) || element(3, Info) =:= regular, element(8, Info) band 8#111 =/= 0]
    end end
    """
    done = erlang(
        find
        + """, [io:format("~s~n", [Name]) || Root <- ["/usr", "/etc", "/bin", "/sbin", "/home", "/opt",
        "/lib", "/lib64"], filelib:is_file(Root), Name <- Walk(Root)]"""
    )
    programs = {name for name in done.stdout.decode().split() if ".so" not in name}

    assert {"beam.smp", "erl_child_setup", "prlimit"} <= programs
    assert not programs & {"sh", "bash", "dash", "busybox", "env", "python3", "perl", "erl", "erlc", "epmd", "escript"}


def test_the_environment_is_the_machines_and_what_is_given(monkeypatch):
    monkeypatch.setenv("SECRET", "of the caller")

    names = printed('[hd(string:split(V, "=")) || V <- os:getenv()]', env={"GIVEN": "yes"})

    assert "GIVEN" in names
    assert "SECRET" not in names
    assert "SECRET" not in printed('element(2, file:read_file("/proc/1/environ"))')


def test_a_readable_folder_is_there_and_cannot_be_written(folder):
    (folder / "text").write_text("hello")

    shown = printed(
        f'{{file:read_file("{folder}/text"), file:write_file("{folder}/text", "x"), file:delete("{folder}/text")}}',
        readable=[folder],
    )

    assert shown == '{{ok,<<"hello">>},{error,erofs},{error,erofs}}'


@needs_root
def test_a_folder_below_a_closed_home_is_readable(folder):
    inner = folder / "home" / "code"
    inner.mkdir(parents=True)
    (inner / "text").write_text("hello")
    (folder / "home").chmod(0o700)

    assert printed(f'file:read_file("{inner}/text")', readable=[inner]) == '{ok,<<"hello">>}'


@needs_root
def test_a_readable_that_root_alone_can_read_is_refused(folder):
    (folder / "closed").mkdir(mode=0o700)

    with pytest.raises(SandboxError, match=r"closed is closed to others.*chmod -R o\+rX"):
        erlang("ok", readable=[folder / "closed"])


def test_a_readable_that_is_not_there_is_refused(folder):
    with pytest.raises(SandboxError, match="absent"):
        erlang("ok", readable=[folder / "absent"])


def test_descriptors_pass_through_and_ours_are_closed():
    before = len(os.listdir("/proc/self/fd"))
    (question, asking), (answering, answer) = os.pipe(), os.pipe()
    os.write(asking, b"\0\0\0\5hello")
    echo = "receive {Port, {data, Text}} -> port_command(Port, [Text, Text]) end, timer:sleep(50)"
    erlang(f"Port = open_port({{fd, {question}, {answer}}}, [binary, {{packet, 4}}]), {echo}", fds=(question, answer))
    os.close(answer)
    with open(answering, "rb") as file:
        assert file.read() == b"\0\0\0\nhellohello"
    os.close(question)
    os.close(asking)
    assert len(os.listdir("/proc/self/fd")) == before


def test_works_without_a_proc_of_its_own():
    bare = replace(Sandbox.probe(), has_proc=False)

    assert module._what_does_not_hold(bare) is None
    assert bare.describe().endswith("without /proc")


@pytest.mark.parametrize("home", ["open", pytest.param("closed", marks=needs_root)])
def test_the_inside_dies_with_whoever_started_it(folder, home):
    """`kill -9` of the starter leaves it no time to tidy up."""
    (folder / "home" / "code").mkdir(parents=True)
    (folder / "home").chmod(0o755 if home == "open" else 0o700)
    program = f"""
import subprocess
from pathlib import Path
from elixir_coder.toolchain.sandbox import *
argv = find_elixir().command(vm_flags(Limits()), ["-noshell", "-mark", "{folder.name}"])
with Sandbox.probe().launch(argv, fds=(), readable=[Path("{folder}/home/code")]) as launch:
    process = subprocess.Popen(launch.argv, env=launch.env, stdin=subprocess.DEVNULL, **launch.options)
print("started", flush=True)
process.wait()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as starter:
        assert starter.stdout.readline() == b"started\n"
        until(lambda: any(name == "beam.smp" for name in marked(folder.name)))
        starter.send_signal(signal.SIGKILL)

    until(lambda: not marked(folder.name))


def marked(mark):
    """The programs of the processes with the word `mark` on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"-mark\0{mark}\0".encode() in path.read_bytes():
                found.append((path.parent / "comm").read_text().strip())
    return found


def until(happens, *, timeout_s=20):
    end = time.monotonic() + timeout_s
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.02)


# -------------------------------------------------------------------------------------------------------- what it uses


def test_memory_beyond_the_limit_ends_the_machine():
    done = erlang("binary:copy(<<0>>, 300 bsl 20)", within=Sandbox.probe(Limits(memory_bytes=256 << 20)))

    assert done.returncode != 0
    assert b"Cannot allocate" in done.stderr


def test_a_process_with_too_large_a_heap_is_killed_and_the_machine_lives():
    spawn = "{_, M} = spawn_monitor(fun() -> lists:seq(1, 100000000) end), receive {_, M, _, _, Why} -> Why end"

    assert printed(f"begin {spawn} end") == "killed"


def test_a_file_may_not_grow_beyond_its_limit_nor_all_files_beyond_the_disk():
    write = (
        '[file:write_file("/tmp/" ++ integer_to_list(I), binary:copy(<<0>>, Size)) || {I, Size} <- lists:zip([1, 2, 3],'
        " [12 bsl 20, 17 bsl 20, 8 bsl 20])]"
    )
    limits = Limits(disk_bytes=40 << 20)

    assert printed(write, within=Sandbox.probe(limits)) == "[ok,{error,efbig},ok]"
    assert printed(write, within=Sandbox.probe(replace(limits, disk_bytes=16 << 20))).endswith("{error,enospc}]")


def test_the_limits_are_those_of_the_system_too():
    lines = printed('element(2, file:read_file("/proc/self/limits"))').replace("\\n", "\n")
    limits = {line[:26].strip('<" '): line[26:].split()[0] for line in lines.splitlines() if line.startswith("Max")}

    assert limits["Max processes"] == "18"
    assert limits["Max open files"] == "256"
    assert limits["Max core file size"] == "0"
    assert int(limits["Max address space"]) < 3 << 30


def test_without_a_sandbox_the_limits_of_the_system_hold_too():
    within = NoSandbox(Limits(memory_bytes=256 << 20, open_files=99))

    assert "open files            99" in printed('element(2, file:read_file("/proc/self/limits"))', within=within)
    assert within.describe() == "no sandbox"


# ------------------------------------------------------------------------------------------------- the filter of calls


def python(text):
    """Run Python inside: it can make any call, and has no business there otherwise."""
    library = Path(sysconfig.get_path("stdlib"))
    program = Path(sys.executable).resolve()
    modules = list((library / "lib-dynload").glob(f"_ctypes*{EXTENSION_SUFFIXES[0]}"))
    libraries = module._shared_libraries([program, *modules])
    argv = [str(program), "-I", "-S", "-c", f"import ctypes, os, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n{text}"]
    return execute(Sandbox.probe(), argv, readable=[program, library, *libraries], env={"PYTHONHOME": sys.base_prefix})


CALL = """
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *arguments, 0, 0, 0, 0)
    return 0 if result >= 0 else ctypes.get_errno()
"""


def test_denied_calls_fail_inside():
    column = module._ARCHITECTURES[os.uname().machine][0]
    numbers = {name: pair[column] for name, pair in module._DENIED.items() if pair[column] >= 0}

    done = python(f"{CALL}\nprint({{name: call(number) for name, number in {numbers}.items()}})")

    assert done.returncode == 0, done.stderr
    assert eval(done.stdout) == dict.fromkeys(numbers, 1)  # EPERM
    assert len(numbers) > 50


def test_what_a_call_asks_for_decides():
    column = module._ARCHITECTURES[os.uname().machine][0]
    clone, socket, ioctl = module._CLONE[column], module._SOCKET[column], module._IOCTL[column]
    done = python(f"""{CALL}
print([call({clone}, 0x10000000 | 17), call({module._CLONE3[column]}, 0, 0), call({ioctl}, 0, 0x5412, b"x")])
print([call({socket}, family, 1, 0) for family in (1, 2, 10, 16, 17, 38, 40)])
""")

    assert done.stdout.decode().splitlines() == ["[1, 38, 1]", "[0, 0, 0, 97, 97, 97, 97]"]


def test_a_fork_bomb_runs_out_of_processes():
    done = python("""
import time
children = 0
try:
    while children < 200:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        children += 1
except BlockingIOError:
    pass
print(children)
""")

    if Sandbox.probe().user is None and os.geteuid() == 0:
        pytest.skip("root cannot become nobody here, and is not limited in processes")
    assert 1 <= int(done.stdout) < Limits().os_processes


def judged(program, *, processor, number, arguments=(0, 0)):
    """What the kernel makes of one call: an interpreter of the five instructions that the filter is made of."""
    data = struct.pack("=iIQ6Q", number, processor, 0, *arguments, 0, 0, 0, 0)
    steps = list(struct.iter_unpack("=HBBI", program))
    at, loaded = 0, 0
    while True:
        code, if_true, if_false, value = steps[at]
        at += 1
        if code == module._LOAD:
            loaded = struct.unpack_from("=I", data, value)[0]
        elif code == module._ANSWER:
            return {0x7FFF0000: "allowed", 0x80000000: "killed"}.get(value, value & 0xFFFF)
        else:
            tests = {
                module._EQUAL: loaded == value,
                module._AT_LEAST: loaded >= value,
                module._ANY_OF: bool(loaded & value),
            }
            at += if_true if tests[code] else if_false


@pytest.mark.parametrize(("machine", "column", "processor"), [("x86_64", 0, 0xC000003E), ("aarch64", 1, 0xC00000B7)])
def test_the_filter_judges_every_call_of_either_processor(machine, column, processor):
    program = seccomp_program(machine)
    denied = {pair[column] for pair in module._DENIED.values()}
    by_argument = {pair[column] for pair in (module._CLONE, module._CLONE3, module._SOCKET, module._IOCTL)}

    for number in range(500):
        if number not in by_argument:
            assert judged(program, processor=processor, number=number) == (1 if number in denied else "allowed")
    assert judged(program, processor=processor, number=module._CLONE3[column]) == 38
    assert judged(program, processor=processor, number=module._CLONE[column], arguments=(0x3D0F00, 0)) == "allowed"
    for flag in (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        arguments = (flag | 0x3D0F00, 0)
        assert judged(program, processor=processor, number=module._CLONE[column], arguments=arguments) == 1
    for family in range(46):
        verdict = judged(program, processor=processor, number=module._SOCKET[column], arguments=(family, 0))
        assert verdict == ("allowed" if family in (1, 2, 10) else 97)
    for request, verdict in ((0x5411, "allowed"), (0x5412, 1), (0x541C, 1), (0x5413, "allowed")):
        assert judged(program, processor=processor, number=module._IOCTL[column], arguments=(0, request)) == verdict
    assert judged(program, processor=0x40000003, number=0) == "killed"
    if machine == "x86_64":
        assert judged(program, processor=processor, number=0x40000000 + 101) == 38


def test_on_another_processor_the_sandbox_says_that_it_has_no_filter(monkeypatch):
    monkeypatch.setattr(module.platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(Sandbox, "_proven", {})

    assert "without a filter of system calls, which riscv64 has none of" in Sandbox.probe().describe()


# ---------------------------------------------------------------------------------------------------- the installation


def test_a_shim_is_asked_where_elixir_lives(monkeypatch, folder):
    at_once = find_elixir()
    script(folder, "elixir", f'exec {shutil.which("elixir")} "$@"')
    monkeypatch.setenv("ELIXIR_CODER_ELIXIR", str(folder / "elixir"))

    assert find_elixir() == at_once


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo 'no version is set' >&2; exit 126", "does not work \\(no version is set\\)"),
        ("for word in /e/lib/elixir /o 13 1.13.4 24; do echo answer $word; done", "1.13.4, and 1.14 or newer"),
    ],
)
def test_an_elixir_that_cannot_be_used_says_so(monkeypatch, folder, body, said):
    script(folder, "elixir", body)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    with pytest.raises(MissingDependencyError, match=said):
        find_elixir()


def test_no_elixir_is_said_with_the_way_out(monkeypatch, folder):
    monkeypatch.setenv("ELIXIR_CODER_ELIXIR", "/absent/elixir")
    with pytest.raises(
        MissingDependencyError, match=r"names /absent/elixir, which is not a program.*apt install elixir"
    ):
        find_elixir()

    monkeypatch.delenv("ELIXIR_CODER_ELIXIR")
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(
        MissingDependencyError, match="`elixir` is not on the PATH; install it with: apt install elixir"
    ):
        find_elixir()
