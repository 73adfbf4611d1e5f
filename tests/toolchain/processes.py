"""Which processes there are below a process, as /proc tells."""

import os
import time
from pathlib import Path


def descendants(pid: int | None = None) -> dict[int, str]:
    """Process id and program name of all below `pid`, of this process by default."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        before, _, after = stat.rpartition(")")
        state, parent = after.split()[:2]
        if state != "Z":
            parents[int(folder.name)] = int(parent)
            names[int(folder.name)] = before.partition("(")[2]
    top = os.getpid() if pid is None else pid
    found: dict[int, str] = {}
    below = {child for child, parent in parents.items() if parent == top}
    while below:
        found |= {child: names[child] for child in below}
        below = {child for child, parent in parents.items() if parent in below}
    return found


def machines(pid: int | None = None) -> list[int]:
    """Process ids of the Erlang machines below."""
    return [child for child, name in descendants(pid).items() if name == "beam.smp"]


def are_gone(pids, within_s: float = 5.0) -> bool:
    """Whether the processes end in time."""
    until = time.monotonic() + within_s
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
