"""The loopback Debian archive as a fixture."""

import shutil

import pytest

from tests.data.debian_archive import DebianArchive


@pytest.fixture
def archive(tmp_path, monkeypatch):
    if shutil.which("apt-get") is None:
        pytest.skip("needs apt-get")
    impatient = tmp_path / "apt.conf"
    impatient.write_text('Acquire::Retries::Delay "false";\n')
    monkeypatch.setenv("APT_CONFIG", str(impatient))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = DebianArchive(tmp_path / "mirror")
    yield served
    served.close()
