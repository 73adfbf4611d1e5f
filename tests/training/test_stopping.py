import os
import signal

import pytest

from elixir_coder.training.stopping import Stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_wish_that_waits_to_be_asked_for(number):
    with Stop() as stop:
        assert stop.reason() == ""
        os.kill(os.getpid(), number)
        assert stop.reason() == number.name


def test_signals_mean_afterwards_what_they_meant_before():
    before = signal.getsignal(signal.SIGTERM)
    with Stop():
        assert signal.getsignal(signal.SIGTERM) != before

    assert signal.getsignal(signal.SIGTERM) == before


def test_the_deadline_passes():
    assert Stop(after_minutes=1e-9).reason() == "--stop_after_minutes"
    assert Stop(after_minutes=60).reason() == ""


def test_the_death_of_accelerate_launch_ends_the_run_but_that_of_a_shell_does_not(monkeypatch):
    by_hand = Stop()
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    launched = Stop()
    monkeypatch.setattr(os, "getppid", lambda: 0)  # what no process has for a parent

    assert by_hand.reason() == ""
    assert launched.reason() == "the launcher ended"
