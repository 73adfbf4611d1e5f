"""When a run saves and ends before its last step: SIGTERM, Ctrl-C, a deadline, or the death of its launcher."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """A wish to stop that the loop asks for after each step, so that no signal cuts a step or a save in two.

    with Stop(after_minutes=55) as stop:
        while not stop.reason(): ...
    """

    def __init__(self, after_minutes: float | None = None):
        self.deadline = None if after_minutes is None else time.monotonic() + 60 * after_minutes
        self.received = 0
        # `accelerate launch` does not pass a signal on: told to end, it dies and would leave this process behind.
        self.launcher = os.getppid() if "ACCELERATE_MIXED_PRECISION" in os.environ else None
        self.handlers: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        self.handlers = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number

    def reason(self) -> str:
        """Why to stop now, or nothing."""
        if self.received:
            return signal.Signals(self.received).name
        if self.launcher is not None and os.getppid() != self.launcher:
            return "the launcher ended"
        if self.deadline is not None and time.monotonic() > self.deadline:
            return "--stop_after_minutes"
        return ""
