"""The native arithmetic against PyTorch's, for every form of weights, and how the library comes to be."""

import ctypes
import os
import platform

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import kernels_elixir_coder as kernels
from runtime_elixir_coder import RUNTIME_DTYPES, FastLinear

pytestmark = pytest.mark.compiler


def emulated(linear: nn.Linear, rows: torch.Tensor) -> torch.Tensor:
    """What a layer of 8 bits is meant to give, in float64."""
    scale = linear.weight.abs().amax(dim=1, keepdim=True) / 127
    weight = (linear.weight / scale).round().double()
    step = rows.abs().amax(dim=1, keepdim=True) / (127 * 128)
    whole = (rows * (1 / step).nan_to_num(posinf=0.0)).round().double()
    answer = whole @ weight.T * scale.T.double() * step.double()
    return answer if linear.bias is None else answer + linear.bias.double()


def linear(inputs: int, outputs: int, bias: bool, seed: int = 0) -> tuple[nn.Linear, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(inputs, outputs, bias=bias).requires_grad_(False)
    for parameter in layer.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer, generator


@settings(max_examples=60)
@given(
    inputs=st.integers(1, 150),
    outputs=st.integers(1, 90),
    count=st.integers(1, 21),
    bias=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_eight_bits_are_what_they_are_meant_to_be(inputs, outputs, count, bias, seed):
    layer, generator = linear(inputs, outputs, bias, seed)
    rows = torch.randn(count, inputs, generator=generator) * 10 ** torch.randn(count, 1, generator=generator)
    rows[0] = 0  # a row without any size has no scale
    answer = FastLinear(layer, "int8")(rows)
    expected = emulated(layer, rows)
    # one step in a rounding that goes the other way in float64 is all that may differ
    step = rows.abs().amax(dim=1, keepdim=True) / (127 * 128)
    tolerance = step * layer.weight.abs().amax(dim=1) * 1.01 + 1e-5 * expected.abs().amax() + 1e-6
    assert ((answer - expected).abs() <= tolerance).all()
    assert (answer - expected).abs().median() <= 1e-5 * expected.abs().amax() + 1e-6


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 1e-2), ("int8", 2e-2)])
@pytest.mark.parametrize(("inputs", "outputs", "count"), [(1, 1, 1), (7, 33, 3), (64, 16, 8), (130, 100, 19)])
def test_every_weight_is_multiplied(dtype, tolerance, inputs, outputs, count):
    layer, generator = linear(inputs, outputs, bias=True)
    rows = torch.randn(2, count, inputs, generator=generator)
    answer, expected = FastLinear(layer, dtype)(rows), layer(rows)
    assert answer.shape == expected.shape
    assert (answer - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("dtype", RUNTIME_DTYPES)
def test_a_row_does_not_depend_on_the_others(dtype):
    layer, generator = linear(75, 50, bias=True)
    rows = torch.randn(13, 75, generator=generator)
    fast = FastLinear(layer, dtype)
    together = fast(rows)
    for count in range(1, 13):
        assert torch.equal(fast(rows[:count]), together[:count])


@pytest.mark.parametrize("dtype", RUNTIME_DTYPES)
def test_outputs_can_be_scaled(dtype):
    layer, generator = linear(20, 24, bias=True)
    rows, factors = torch.randn(3, 20, generator=generator), torch.randn(24, generator=generator)
    fast = FastLinear(layer, dtype)
    before = fast(rows)
    fast.scale_outputs(factors)
    assert torch.allclose(fast(rows), before * factors, atol=6e-2 if dtype == "bfloat16" else 1e-5)


@pytest.fixture
def compiled_for(monkeypatch, tmp_path):
    """Compile the kernels for another processor, for the time of a test."""

    def compile_for(march: str) -> ctypes.CDLL:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(kernels, "FLAGS", [flag.replace("native", march) for flag in kernels.FLAGS])
        kernels.library.cache_clear()
        return kernels.library()

    yield compile_for
    kernels.library.cache_clear()


def has(feature: str) -> bool:
    return feature in kernels._processor().split()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="about processors of x86-64")
@pytest.mark.parametrize(("march", "feature"), [("x86-64", "sse2"), ("haswell", "avx2"), ("skylake-avx512", "avx512f")])
def test_narrow_processors_give_the_same(march, feature, compiled_for):
    if not has(feature):
        pytest.skip(f"this processor has no {feature}")
    layer, generator = linear(70, 40, bias=False)
    rows = torch.randn(9, 70, generator=generator)
    fast = {dtype: FastLinear(layer, dtype) for dtype in RUNTIME_DTYPES}
    expected = {dtype: each(rows) for dtype, each in fast.items()}
    compiled_for(march)
    for dtype, each in fast.items():
        assert torch.allclose(each(rows), expected[dtype], rtol=1e-5, atol=1e-5), dtype


def test_no_compiler_is_said(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    kernels.library.cache_clear()
    with pytest.raises(kernels.KernelError, match=r"no-such-compiler is not on the PATH.*set CC"):
        kernels.library()
    kernels.library.cache_clear()


def test_a_compiler_may_come_through_pip(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(kernels.shutil, "which", lambda command: None)
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: name == "ziglang" or None)
    assert kernels._compiler()[1:] == ["-m", "ziglang", "cc"]


def test_what_the_compiler_says_is_passed_on(monkeypatch, compiled_for, tmp_path):
    monkeypatch.setattr(kernels, "SOURCE", "int decode(void) { return nothing; }")
    with pytest.raises(kernels.KernelError, match=r"(?s)failed: .*nothing"):
        compiled_for("native")
    assert list(tmp_path.rglob("*.so")) == []  # nothing half-written is left to be loaded


def test_it_is_compiled_once(compiled_for, tmp_path):
    compiled_for("native")
    (built,) = tmp_path.rglob("*.so")
    before = built.stat().st_mtime_ns
    kernels.library.cache_clear()
    kernels.library()
    assert built.stat().st_mtime_ns == before


def test_a_folder_of_somebody_else_is_not_trusted(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kernels._cache_folder() == tmp_path / "elixir-coder"
    owner = os.getuid()
    with monkeypatch.context() as changed:
        changed.setattr(os, "getuid", lambda: owner + 1)
        folder = kernels._cache_folder()
    assert folder.parent != tmp_path and folder.is_dir()


def test_the_source_compiles_without_a_warning(tmp_path):
    source = tmp_path / "kernels.c"
    source.write_text(kernels.SOURCE)
    command = [*kernels._compiler(), *kernels.FLAGS, "-Wall", "-Wextra", "-Werror", "-Wno-psabi", str(source), "-lm"]
    result = kernels.subprocess.run([*command, "-o", str(tmp_path / "k.so")], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
