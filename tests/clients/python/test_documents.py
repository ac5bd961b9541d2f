"""Every example in a document runs as printed: each fenced block has a runner, and a block without one is a failure."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

import pytest

from test_tokens import KEY

from conftest import PATIENCE

ROOT = Path(__file__).parents[3]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("web/*.md")]


def blocks():
    for path in sorted(DOCUMENTS):
        for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(), re.S | re.M):
            yield str(path.relative_to(ROOT)), language, text.strip()


def shell(script, **environment):
    """Runs a script as printed, with `gantry` on the path, and gives what it wrote."""
    done = subprocess.run(
        ["bash", "-euc", script], env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def home(platform, tmp_path):
    """The environment of a person who started the platform with its default folder."""
    (tmp_path / ".local/share").mkdir(parents=True)
    (tmp_path / ".local/share/gantry").symlink_to(platform.folder / "data")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gantry").symlink_to(os.environ["GANTRY_BIN"])
    # Without what the suite itself was told.
    hidden = {name: "" for name in os.environ if name.startswith(("GANTRY_", "IOTHUB_")) and name != "GANTRY_BIN"}
    unset = "".join(f"unset {name}; " for name in hidden)
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    return lambda script: shell(unset + script, **environment)


def first_device(language, text, home, env, registry):
    name = f"readme-{uuid.uuid4().hex[:10]}"
    connection_string = home(f"gantry device create {name}").strip()
    assert len(text.splitlines()) <= 12
    command = [sys.executable, "-c", text] if language == "python" else ["node", "-e", text]
    done = subprocess.run(
        command, env={**os.environ, **env, "DEVICE": connection_string}, cwd=ROOT / "tests/clients/node",
        capture_output=True, text=True, timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "desired" in done.stdout
    assert registry.get_device(name).last_activity_time is not None
    registry.delete_device(name)


def development(text, home):
    """Steps of the loop: targets of make and packages of cargo exist, files are there, commands of ours run."""
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words[0] == "make":
            shell(f"make -n {words[1]}")
        elif words[0] == "cargo":
            if "-p" in words:
                assert (ROOT / "crates" / words[words.index("-p") + 1].removeprefix("gantry-") / "Cargo.toml").exists()
        elif words[:2] == ["git", "diff"]:
            shell(line)
        elif words[0].endswith("/gantry"):
            # `serve` and `monitor` run until they are stopped: the platform of this suite is the one, events end the other.
            if words[-2:] == ["create", "dev1"]:
                assert "DeviceId=dev1" in home("gantry device create dev1")
                home("gantry device delete dev1")
            else:
                assert {"serve", "monitor"} & set(words), line
        else:
            assert (ROOT / words[0]).exists(), line


def migration(text, home, env, registry, folder):
    """From this platform into itself: everything is the same already. The CA is told as that of a stranger."""
    made = f"migration-{uuid.uuid4().hex[:10]}"
    registry.create_device_with_sas(made, "", "", "enabled")
    text = re.sub(r"(gantry import \w+)", rf"\1 --ca {env['GANTRY_CA_FILE']}", text)
    sources = {"SOURCE_URL": "IOTCENTRAL_URL", "SOURCE_TOKEN": "IOTCENTRAL_API_TOKEN",
               "SOURCE_CONNECTION_STRING": "IOTHUB_CONNECTION_STRING"}
    given = "".join(f"{name}={shlex.quote(env[variable])}\n" for name, variable in sources.items())
    said = home(f"unset {' '.join(sources.values())}\ncd {folder}\n{given}{text}")
    assert "SAME" in said and "CREATE" not in said and "FAILED" not in said, said
    assert list(folder.glob("gantry-import-*/report.json"))
    registry.delete_device(made)


BUILDING = []
"""The program of docs/digital-twins.md, which makes what the queries behind it are about."""


def digital_twins(language, text, env):
    """The program runs, every query is understood and finds something, and the file is one an import reads."""
    names = {**os.environ, **env}
    if language == "python":
        BUILDING.append(text)
        done = subprocess.run([sys.executable, "-c", text], env=names, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stdout == "23.0\n", done.stderr
    elif language == "text":
        setup = BUILDING[0].split("context =")[0]
        for query in text.splitlines():
            program = f"{setup}\nprint(len(list(client.query_twins({query!r}))))"
            done = subprocess.run([sys.executable, "-c", program], env=names, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0 and int(done.stdout) >= 1, (query, done.stderr)
    elif language == "json":
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["Section"] for line in lines if "Section" in line] == ["Header", "Twins", "Relationships"]
    else:
        assert set(tomllib.loads(text)["models"]) <= {"folder", "address", "serve", "ca_file"}


@pytest.mark.parametrize("document, language, text", list(blocks()), ids=lambda value: value.split("\n")[0][:50])
def test_every_block_runs_as_printed(document, language, text, home, platform, env, registry, tmp_path):
    first = text.split("\n")[0]
    if document in ("docs/directory.md", "docs/sign-in.md"):
        # They need a platform with a directory, or people of its own: test_directory.py and test_sign_in.py run them, and
        # crates/runtime the configurations.
        return
    if document == "docs/questions.md" and language == "python":
        made = f"questions-{uuid.uuid4().hex[:10]}"
        registry.create_device_with_sas(made, "", "", "enabled")
        done = subprocess.run(
            [sys.executable, "-c", text], env={**os.environ, **env}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0 and done.stdout, done.stderr
        assert made in done.stdout or "twins" in done.stdout
        registry.delete_device(made)
    elif document == "docs/digital-twins.md":
        digital_twins(language, text, env)
    elif document == "docs/streaming.md" and language in ("json", "sql", "text"):
        # Events, jobs over them and what comes out: crates/streaming/tests runs them.
        return
    elif document == "docs/streaming.md" and language == "toml":
        [job] = tomllib.loads(text)["streaming"]["jobs"].values()
        given = [f"{name}={data['query']}" for name, data in job.get("reference", {}).items()]
        reference = " ".join(f"--reference {shlex.quote(text)}" for text in given)
        home(f"gantry query --stream {shlex.quote(job['query'])} {reference} 'Telemetry | take 1'")
    elif language in ("kusto", "sql", "tsql"):
        # crates/analytics/tests read these out of the document and run them over tables that have the columns.
        assert document == "docs/questions.md", text
    elif language in ("python", "js"):
        first_device(language, text, home, env, registry)
    elif document == "CONTRIBUTING.md" or first.startswith("make "):
        development(text, home)
    elif text == "gantry serve":
        (tmp_path / ".local/share/gantry").unlink()
        serving = subprocess.Popen(
            shlex.split(text), stdout=subprocess.PIPE, text=True, cwd=tmp_path,
            env={"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "GANTRY_PORT_OFFSET": "1700"},
        )
        try:
            said = ""
            for line in serving.stdout:
                said += line
                if "secrets" in line:
                    break
            assert "is ready" in said and (tmp_path / ".local/share/gantry/connection.env").exists()
        finally:
            serving.terminate()
            serving.wait(PATIENCE)
    elif "gantry device create dev1" in text:
        made = home(f'{text}\necho "$DEVICE"')
        assert "DeviceId=dev1" in made
        home("gantry device delete dev1")
    elif first.startswith("gantry query "):
        assert ("average" if "--stream" in first else "count_") in home(text)
    elif first.startswith("gantry policy connection-string device"):
        lines = [line.replace("device.connection", f"{tmp_path}/device.connection") for line in text.splitlines()]
        entry = home("\n".join(lines[:2]))
        assert "sha256" in entry and "SharedAccessKeyName=device" in (tmp_path / "device.connection").read_text()
        # The third line starts the server: what it reads is the next block, and crates/gantry runs it whole.
        assert shlex.split(lines[2])[:2] == ["gantry", "token-server"] and len(lines) == 3
    elif language == "toml":
        config = tomllib.loads(text)
        config["hub"]["primary_file"], config["token_server"]["audit_log"] = "", str(tmp_path / "audit.jsonl")
        assert re.fullmatch("[0-9a-f]{64}", config["token_server"]["api_keys"][0]["sha256"])
    elif document == "docs/migration.md":
        migration(text, home, env, registry, tmp_path)
    elif first.startswith("curl "):
        ask = first.replace("HUB/devices/line-3-motor-1", f"{env['IOTHUB_HOSTNAME']}/devices/token-doc")
        ask = ask.replace("HOST", "localhost").replace("ca.pem", env["GANTRY_CA_FILE"])
        assert home(f"KEY={KEY}\n{ask}").startswith("SharedAccessSignature sr=")
    else:
        # Notation of shapes and of a way, not something to run.
        assert document in ("docs/platform-api.md", "docs/token-server.md") and not first.startswith(("gantry ", "$ ")), text


def test_nothing_is_missing():
    found = {(document, text.split("\n")[0]) for document, _, text in blocks()}
    assert ("README.md", "gantry serve") in found and len(found) >= 13, found
    assert {language for _, language, _ in blocks()} <= {"", "python", "js", "toml", "kusto", "sql", "tsql", "json", "text"}
