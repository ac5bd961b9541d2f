"""The first devices of the README run as printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("language", ["python", "js"])
def test_first_device(language, device, env, registry):
    name, connection_string = device
    code = re.search(rf"```{language}\n(.*?)```", README, re.S)[1]
    assert len(code.strip().splitlines()) <= 12
    command = [sys.executable, "-c", code] if language == "python" else ["node", "-e", code]
    done = subprocess.run(
        command, env={**os.environ, **env, "DEVICE": connection_string}, cwd=ROOT / "tests/clients/node",
        capture_output=True, text=True, timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "desired" in done.stdout
    assert registry.get_device(name).last_activity_time is not None
