"""A new interpreter elsewhere: nothing of this checkout on its path, and warnings are errors."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run(program: str, *arguments: Any, folder: Path, says_offline: bool = True) -> Any:
    """What `program` prints last, as JSON, run in `folder`, which keeps its remote code.

    says_offline: tell the Hub's client so. Without, nothing is said, and a program that closes its sockets shows that
    none was wanted.
    """
    unsaid = {"PYTHONPATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}
    environment = {name: value for name, value in os.environ.items() if name not in unsaid}
    environment |= {"HF_MODULES_CACHE": str(folder / "modules"), "OMP_NUM_THREADS": "1"}
    if says_offline:
        environment["HF_HUB_OFFLINE"] = "1"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
