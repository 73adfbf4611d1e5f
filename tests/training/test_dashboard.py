"""The table on a real pseudo-terminal, read back by a small emulation of the control codes it uses."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

import pytest

from elixir_coder.training.dashboard import Dashboard, is_terminal
from elixir_coder.training.journal import Journal

CODES = re.compile(r"\x1b\[(?P<arguments>[?\d;]*)(?P<letter>[A-Za-z])|(?P<plain>[^\x1b])", re.DOTALL)


class Screen:
    """What a terminal shows after some output. A code it does not know is an error."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.lines = [""] * height
        self.row = self.column = 0
        self.scrolled = []
        self.shows_cursor = self.wraps = True
        self.was_hidden = False

    def feed(self, text):
        at = 0
        while at < len(text):
            match = CODES.match(text, at)
            assert match, text[at : at + 20]
            at = match.end()
            if match["plain"]:
                self._letter(match["plain"])
            else:
                self._code(match["arguments"], match["letter"])
        return self

    def _letter(self, letter):
        if letter == "\r":
            self.column = 0
        elif letter == "\n":
            self.row += 1
            if self.row == self.height:
                self.scrolled.append(self.lines.pop(0))
                self.lines.append("")
                self.row -= 1
        elif self.column < self.width or not self.wraps:
            column = min(self.column, self.width - 1)
            line = self.lines[self.row].ljust(column)
            self.lines[self.row] = line[:column] + letter + line[column + 1 :]
            self.column = column + 1
        else:
            self._letter("\r"), self._letter("\n"), self._letter(letter)

    def _code(self, arguments, letter):
        match letter:
            case "A":
                self.row = max(self.row - int(arguments or 1), 0)
            case "K":
                self.lines[self.row] = self.lines[self.row][: self.column]
            case "J":
                self.lines[self.row] = self.lines[self.row][: self.column]
                self.lines[self.row + 1 :] = [""] * (self.height - self.row - 1)
            case "m":
                assert arguments in ("0", "1", "2")
            case "h" | "l" if arguments == "?25":
                self.shows_cursor = letter == "h"
                self.was_hidden = self.was_hidden or letter == "l"
            case "h" | "l" if arguments == "?7":
                self.wraps = letter == "h"
            case _:
                raise AssertionError(f"unknown code {arguments}{letter}")

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n")


class Terminal:
    """A pseudo-terminal of some size; `stream` is what a program writes to."""

    def __init__(self, width=100, height=30):
        self.master, slave = pty.openpty()
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        self.resize(width, height)
        self.received = b""
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def resize(self, width, height):
        self.width, self.height = width, height
        fcntl.ioctl(self.stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def _read(self):
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            self.received += data

    def close(self):
        self.stream.close()
        self.reader.join()
        os.close(self.master)

    def screen(self, width=None, height=None):
        """Closes it, and gives what it shows."""
        self.close()
        return Screen(width or self.width, height or self.height).feed(self.received.decode())


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def dashboard_on(terminal, steps=1000, clock=None, **settings):
    return Dashboard("multi", steps=steps, stream=terminal.stream, clock=clock or Clock(), **settings)


def logged(step, **more):
    return {
        "step": step,
        "loss": 2.3144,
        "learning_rate": 3e-4,
        "grad_norm": 0.82,
        "tokens_per_second": 4512.3,
        "mfu": 0.412,
        "tasks": {"generate": 2.1, "quality": 0.3},
        "weights": {"generate": 1.0, "quality": 0.5},
        "shares": {"generate": 0.6, "quality": 0.4},
        "gradient_norms": {"generate": 0.31, "quality": 0.05},
        **more,
    }


def measured(step, accuracy, f1, bits_per_byte=1.4):
    held_out = {
        "generate": {"token_accuracy": accuracy, "low": 0.0, "high": 1.0, "count": 64, "nats": 2.0},
        "quality": {"macro_f1": f1, "low": 0.0, "high": 1.0, "count": 64},
    }
    return {"step": step, "bits_per_byte": bits_per_byte, "held_out": held_out}


def test_the_table_shows_the_run_and_each_task():
    terminal = Terminal()
    dashboard = dashboard_on(terminal)
    dashboard.recall({"step": 0, "note": "phase 2 (simple ontology) begins"})
    dashboard.show(measured(0, 0.391, 0.2, 1.443))
    dashboard.show(logged(100))
    dashboard.show(measured(100, 0.412, 0.15, 1.412))
    assert terminal.screen().text.splitlines() == [
        "multi  step 100 of 1,000  10.0%  ██████" + "░" * 54,
        "elapsed 0:00:00  tokens/s 4,512  MFU 41.2%",
        "loss 2.314  learning rate 0.0003  gradient norm 0.82  bits per byte 1.4120 (-0.0310)",
        "step 0: phase 2 (simple ontology) begins",
        "",
        "task       loss  weight  share  norm  held out  change  metric",
        "generate  2.100    1.00  60.0%  0.31     0.412  +0.021  token accuracy",
        "quality   0.300    0.50  40.0%  0.05     0.150  -0.050  macro f1",
    ]


def test_the_loss_of_a_head_stands_with_its_task_or_below_it():
    terminal = Terminal()
    losses = {"generate": 1.0, "clarify": 2.0, "quality:quality": 3.0, "clarify:clarification": 4.0}
    dashboard_on(terminal).show({"step": 1, "tasks": losses, "shares": {"quality": 0.5, "clarify": 0.5}})
    assert terminal.screen().text.splitlines()[-5:] == [
        "task                    loss  share",
        "generate               1.000",
        "clarify                2.000  50.0%",
        "clarify:clarification  4.000",
        "quality                3.000  50.0%",
    ]


def test_the_time_that_is_left_is_that_of_the_last_half_of_the_run():
    terminal, clock = Terminal(), Clock()
    dashboard = dashboard_on(terminal, clock=clock, after_step=100)
    for step in range(101, 111):  # slow at first
        clock.now += 10
        dashboard.tick(step)
    for step in range(111, 311):  # then a step a second, but every tenth takes two
        clock.now += 2 if step % 10 == 0 else 1
        dashboard.tick(step)
    assert "elapsed 0:05:20  left 0:12:41" in terminal.screen().text  # 690 steps, at 145 in 160 seconds


def test_a_resumed_run_counts_the_time_before_and_shows_what_was_measured():
    terminal, clock = Terminal(), Clock()
    dashboard = dashboard_on(terminal, clock=clock, after_step=500)
    dashboard.recall(measured(500, 0.4, 0.2) | {"seconds": 3600.0})
    clock.now = 5
    dashboard.tick(505)
    text = terminal.screen().text
    assert "step 505 of 1,000" in text
    assert "elapsed 1:00:05  left 0:08:15" in text
    assert "0.400" in text


@pytest.mark.parametrize("width", [99, 70, 50, 30, 12, 3])
def test_a_narrow_table_drops_columns_and_is_never_broken(width):
    terminal = Terminal(width, 30)
    dashboard = dashboard_on(terminal)
    for step in (100, 200):
        dashboard.show(logged(step))
        dashboard.show(measured(step, 0.5, 0.4))
    screen = terminal.screen()
    assert max(map(len, screen.lines)) <= width
    assert screen.scrolled == []
    assert screen.text.count("multi"[: max(width - 4, 0)]) == 1 or width < 6
    if width >= 30:
        assert re.search(r"^generate .*0\.500", screen.text, re.MULTILINE)
    assert ("weight" in screen.text) == (width >= 70)
    assert ("loss  " in screen.text) == (width >= 50) or width == 30


def test_a_table_that_is_higher_than_the_window_says_what_it_leaves_out():
    terminal = Terminal(80, 12)
    dashboard = dashboard_on(terminal)
    for step in (1, 2, 3):
        dashboard.show({"step": step, "loss": 1.0, "tasks": {f"task{number}": 1.0 for number in range(20)}})
    screen = terminal.screen()
    assert screen.scrolled == []
    assert screen.text.splitlines()[-1] == "and 15 more tasks: make the window taller"
    assert screen.text.splitlines()[-2].startswith("task4 ")


def test_lines_that_are_said_stay_above_the_table():
    terminal = Terminal(60, 8)
    dashboard = dashboard_on(terminal)
    for step in range(1, 6):
        dashboard.show({"step": step, "loss": 1.0})
        dashboard.say(f"saved step {step}")
    screen = terminal.screen()
    shown = [*screen.scrolled, *screen.text.splitlines()]
    assert shown[:5] == [f"saved step {step}" for step in range(1, 6)]
    assert [line for line in shown if line.startswith("multi")] == shown[5:6]
    assert screen.text.splitlines()[-1] == "loss 1"


def test_a_long_line_that_is_said_is_whole_and_the_phase_stays_in_the_table():
    terminal = Terminal(40, 20)
    dashboard = dashboard_on(terminal)
    dashboard.recall({"step": 7, "note": "phase 2 begins"})
    dashboard.recall({"step": 8, "note": "tier 2 begins"})
    dashboard.say("word" * 20 + "end")
    text = terminal.screen().text
    assert "".join(text.splitlines()[:3]) == "word" * 20 + "end"
    assert text.endswith("step 7: phase 2 begins")


def test_a_window_that_changes_its_width_gets_a_new_table_and_loses_no_line():
    terminal = Terminal(80, 20)
    dashboard = dashboard_on(terminal)
    dashboard.say("first")
    dashboard.show({"step": 1, "loss": 1.0})
    terminal.resize(50, 20)
    dashboard.show({"step": 2, "loss": 2.0})
    dashboard.show({"step": 3, "loss": 3.0})
    text = terminal.screen(80).text
    assert text.startswith("first\n")
    assert "step 3 of" in text and "step 2 of" not in text
    assert text.endswith("loss 3")


def test_nothing_of_a_message_moves_the_cursor():
    terminal = Terminal()
    dashboard = Dashboard("a\x1b[2Jb\nc", steps=10, stream=terminal.stream, clock=Clock())
    dashboard.recall({"step": 1, "note": "x\ry\tz"})
    dashboard.show({"step": 2, "loss": 1.0, "tasks": {"o\x07dd": 1.0}})
    text = terminal.screen().text
    assert "a?[2Jb?c" in text and "x?y?z" in text and "o?dd" in text


def test_a_terminal_that_knows_no_such_letters_gets_a_plain_bar():
    terminal = Terminal(60, 10)
    terminal.stream.reconfigure(encoding="ascii")
    dashboard_on(terminal, steps=4).show({"step": 1, "loss": 1.0})
    assert re.search(r"25\.0%  #+\.+$", terminal.screen().text, re.MULTILINE)


def test_every_step_draws_but_only_so_often():
    terminal, clock = Terminal(), Clock()
    dashboard = dashboard_on(terminal, clock=clock)
    for step in range(1, 1001):
        clock.now += 0.001
        dashboard.tick(step)
    terminal.close()
    assert terminal.received.count(b"\x1b[J") == 4


def test_a_run_goes_on_without_its_terminal():
    terminal = Terminal()
    dashboard = dashboard_on(terminal)
    dashboard.show({"step": 1, "loss": 1.0})
    broken, other_end = os.pipe()
    with os.fdopen(other_end, "w") as stream:
        os.close(broken)
        dashboard.stream = stream
        dashboard.show({"step": 2, "loss": 1.0})
        dashboard.say("still here")
        assert dashboard.is_gone
        os.dup2(terminal.stream.fileno(), stream.fileno())  # so that it can be closed
    terminal.close()


PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is told to ignore it
from elixir_coder.training.dashboard import Dashboard
dashboard = Dashboard("multi", steps=1000)
for step in range(1, 1001):
    dashboard.show({"step": step, "loss": 1.0, "tasks": {"generate": 1.0}})
    if step == 20 and sys.argv[1] == "raise":
        raise RuntimeError("no")
    time.sleep(0.001)
"""


@pytest.mark.parametrize("end", ["raise", signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_however_a_run_ends_the_cursor_is_there_and_lines_wrap(end):
    terminal = Terminal(80, 24)
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(end)], stdout=terminal.stream, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while terminal.received.count(b"\x1b[J") < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    if end != "raise":
        child.send_signal(end)
    assert child.wait(60) != 0
    screen = terminal.screen()
    assert screen.was_hidden
    assert screen.shows_cursor and screen.wraps
    assert "multi  step" in screen.text


@pytest.mark.parametrize(("term", "expected"), [("xterm-256color", True), ("dumb", False), ("", False)])
def test_only_a_terminal_that_can_is_drawn_on(term, expected, monkeypatch, tmp_path):
    monkeypatch.setenv("TERM", term)
    terminal = Terminal()
    assert is_terminal(terminal.stream) == expected
    terminal.close()
    with (tmp_path / "log").open("w") as file:
        assert not is_terminal(file)


def test_a_journal_on_a_terminal_draws_what_it_writes_down_and_what_it_did_before(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    with Journal(tmp_path) as journal:  # elsewhere than on a terminal
        journal.note(1, "phase 1 (code) begins")
        journal.write(5, held_out={"generate": {"token_accuracy": 0.25, "count": 8}})
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal.stream)
    with Journal(tmp_path, after_step=5, steps=10) as journal:
        journal.say("going on after step 5")
        journal.write(6, loss=2.0, tasks={"generate": 2.5})
        journal.tick(7)
        journal.note(8, "phase 2 (all) begins")
        journal.write(10, held_out={"generate": {"token_accuracy": 0.5, "count": 8}})
    monkeypatch.undo()
    lines = terminal.screen().text.splitlines()
    assert lines[:2] == ["going on after step 5", "step 8: phase 2 (all) begins"]
    assert lines[2].startswith(f"{tmp_path.name}  step 10 of 10  100.0%")
    assert lines[-3:] == [
        "",
        "task       loss  held out  change  metric",
        "generate  2.500     0.500  +0.250  token accuracy",
    ]
