"""What other people's libraries say on stderr where they are installed and our words alone are looked at."""


def without_torchao(stderr: str) -> str:
    """torchao's wheel has extensions for GPUs; where torch is a CPU build it complains in every process."""
    lines = stderr.splitlines(keepends=True)
    return "".join(line for line in lines if "torchao" not in line and "torch/utils/_pytree.py" not in line)
