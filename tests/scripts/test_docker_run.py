"""docker_run_verl.sh: the commands that it gives to docker, seen by a stand-in on PATH; no engine is needed."""

from __future__ import annotations

import csv
import itertools
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from script_runner import ROOT, Checkout, error_lines

SCRIPT = "train/docker_run_verl.sh"
STAND_IN = """#!{python}
import json, os, sys
from pathlib import Path
home = Path(__file__).parent
call = sys.argv[1:]
with (home / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps({{"call": call, "env": dict(os.environ)}}) + "\\n")
answers = json.loads((home / "answers.json").read_text())
status, text = answers.get(" ".join(call[:2]), answers.get(call[0], [0, ""]))
print(text, file=sys.stderr if status else sys.stdout)
raise SystemExit(status)
"""


class Docker(Checkout):
    """A checkout, and a stand-in for docker that answers what a test says."""

    def __init__(self, tmp: Path) -> None:
        super().__init__(tmp)
        program = self.bin / "docker"
        program.write_text(STAND_IN.format(python=sys.executable))
        program.chmod(0o755)
        self.answers: dict[str, tuple[int, str]] = {}
        self.answer(
            **{
                "version": (0, "28.2.2"),
                "info": (0, '{"io.containerd.runc.v2":{},"nvidia":{}}'),
                "container inspect": (1, "Error response from daemon: No such container: veritas-rl"),
            }
        )

    def answer(self, **answers: tuple[int, str]) -> None:
        self.answers.update(answers)
        (self.bin / "answers.json").write_text(json.dumps(self.answers))

    def calls(self, *words: str) -> list[dict]:
        file = self.bin / "calls.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [call for call in map(json.loads, lines) if call["call"][: len(words)] == list(words)]

    def start(self, *arguments: str, **env: str | None) -> tuple[list[str], dict[str, str]]:
        """The one `docker run` and the environment in which docker saw it."""
        done = self.script(SCRIPT, *arguments, **env)
        assert done.returncode == 0, done.stderr
        (call,) = self.calls("run")
        return call["call"], call["env"]


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path)


def values(call: list[str], option: str) -> list[str]:
    return [after for word, after in itertools.pairwise(call) if word == option]


def mounts(call: list[str]) -> dict[str, str]:
    """Target → source, read as docker reads it."""
    rows = [dict(field.split("=", 1) for field in next(csv.reader([text]))) for text in values(call, "--mount")]
    assert all(row["type"] == "bind" for row in rows)
    return {row["target"]: row["source"] for row in rows}


def test_a_shell_in_the_repository_with_all_gpus(docker: Docker) -> None:
    call, _ = docker.start()
    assert call[-3:] == ["--entrypoint", "bash", "veritas-rl:vllm"]
    assert mounts(call)["/workspace/veritas-rl"] == str(docker.root)
    assert values(call, "--workdir") == ["/workspace/veritas-rl"]
    assert values(call, "--gpus") == ["all"]
    assert values(call, "--shm-size") == ["64g"]
    assert {"--ipc=host", "--rm", "--init"} <= set(call)
    assert not {"--privileged", "--tty", "--security-opt", "--cap-add", "--network", "--user"} & set(call)


def test_a_command_keeps_its_words(docker: Docker) -> None:
    call, _ = docker.start("bash", "-c", "echo 'a b' \"$1\"", "--build")
    image = call.index("veritas-rl:vllm")
    assert call[image - 1 :] == ["bash", "veritas-rl:vllm", "-c", "echo 'a b' \"$1\"", "--build"]


def test_a_command_after_two_dashes(docker: Docker) -> None:
    call, _ = docker.start("--user", "--", "--odd")
    assert call[-3:] == ["--entrypoint", "--odd", "veritas-rl:vllm"]


def test_secrets_are_handed_on_by_name(docker: Docker) -> None:
    lines = ['HF_TOKEN="hf_1234 # 5"', "EXTRA='x'", "WANDB_EXP=from-env", "VERITAS_PYTHON=/here"]
    (docker.root / ".env").write_text("\n".join(lines))
    call, env = docker.start(WANDB_EXP="from-shell", EXTRA="shell", OTHER="1", GPU_COUNT="")
    handed = values(call, "--env")
    assert {"HF_TOKEN", "EXTRA", "WANDB_EXP", "CUDA_VISIBLE_DEVICES"} <= set(handed)
    assert not {"OTHER", "VERITAS_PYTHON", "GPU_COUNT", "PATH", "HOME"} & set(handed)
    assert (env["HF_TOKEN"], env["EXTRA"], env["WANDB_EXP"]) == ("hf_1234 # 5", "shell", "from-shell")
    assert "hf_1234" not in json.dumps([record["call"] for record in docker.calls()])


def test_a_broken_env_file_is_refused_before_anything_starts(docker: Docker) -> None:
    (docker.root / ".env").write_text("HF_TOKEN='open\n")
    done = docker.script(SCRIPT)
    assert done.returncode == 2
    assert ".env:1" in done.stderr
    assert docker.calls("run") == []


def test_the_user_of_the_host_and_no_more_capabilities(docker: Docker) -> None:
    call, _ = docker.start("--user", "--sandbox")
    assert values(call, "--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert sorted(values(call, "--security-opt")) == [
        "apparmor=unconfined",
        "seccomp=unconfined",
        "systempaths=unconfined",
    ]
    assert "--cap-add" not in call


def test_the_sandboxes_of_root_need_one_capability(docker: Docker) -> None:
    call, _ = docker.start("--sandbox")
    assert values(call, "--cap-add") == ["SYS_ADMIN"]
    advice = (ROOT / "train/tools/sandbox/probe.py").read_text()
    for option in [*values(call, "--security-opt"), "--cap-add SYS_ADMIN"]:
        assert option in advice


def test_more_directories_and_the_models_of_the_hub(docker: Docker) -> None:
    data = docker.home / 'data, "two"'
    data.mkdir()
    call, _ = docker.start("--mount", str(data), "--mount", 'data, "two"', HF_HOME=str(docker.home / "hf, cache"))
    assert mounts(call)[str(data)] == str(data)
    assert mounts(call)["/cache/huggingface"] == str(docker.home / "hf, cache")
    assert (docker.home / "hf, cache").is_dir()
    assert "HF_HOME=/cache/huggingface" in values(call, "--env")


def test_more_machines_are_reached_through_the_hosts_network(docker: Docker) -> None:
    call, _ = docker.start(NNODES="2")
    assert values(call, "--network") == ["host"]
    assert "NNODES" in values(call, "--env")


def test_sglang_has_an_image_of_its_own(docker: Docker) -> None:
    call, env = docker.start(IMAGE="sglang")
    assert call[-1] == "veritas-rl:sglang"
    assert "ROLLOUT_BACKEND" in values(call, "--env")
    assert env["ROLLOUT_BACKEND"] == "sglang"


def test_another_image_is_taken_as_it_is(docker: Docker) -> None:
    call, _ = docker.start("--user", "nvidia-smi", IMAGE="registry:5000/mine@sha256:0", CONTAINER="second")
    assert call[-3:] == ["--entrypoint", "nvidia-smi", "registry:5000/mine@sha256:0"]
    assert values(call, "--name") == ["second"]
    assert docker.calls("image") == []


def test_build_comes_first_and_sees_the_repository(docker: Docker) -> None:
    docker.answer(**{"image inspect": (1, "No such image")})
    docker.start("--build", IMAGE="sglang")
    (build,) = docker.calls("build")
    assert build["call"][-3:] == ["--tag", "veritas-rl:sglang", str(docker.root)]
    assert values(build["call"], "--file") == [str(docker.root / "train/Dockerfile")]
    assert values(build["call"], "--build-arg") == ["ROLLOUT=sglang"]


def test_a_failed_build_starts_nothing(docker: Docker) -> None:
    docker.answer(build=(1, "no space left on device"))
    done = docker.script(SCRIPT, "--build")
    assert done.returncode == 2
    assert "could not be built" in done.stderr
    assert docker.calls("run") == []


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"version": (1, "permission denied while trying to connect")}, "daemon does not answer (permission denied"),
        ({"info": (0, '{"runc":{}}')}, "docker knows no NVIDIA runtime: install the NVIDIA Container Toolkit"),
        ({"container inspect": (0, "running")}, "veritas-rl runs already: --attach opens a shell in it"),
        ({"container inspect": (0, "exited")}, "is exited: remove it with docker rm veritas-rl"),
        ({"image inspect": (1, "No such image")}, "veritas-rl:vllm is not built yet: add --build"),
    ],
)
def test_what_stands_in_the_way_is_said(docker: Docker, answers: dict[str, tuple[int, str]], message: str) -> None:
    docker.answer(**answers)
    done = docker.script(SCRIPT)
    assert done.returncode == 2
    (error,) = error_lines(done)
    assert message in error
    assert docker.calls("run") == []


def test_no_docker_is_said(docker: Docker) -> None:
    for program in [*Path("/bin").iterdir(), *Path("/usr/bin").iterdir()]:
        if program.name != "docker" and not (docker.bin / program.name).exists():
            (docker.bin / program.name).symlink_to(program)
    (docker.bin / "docker").unlink()
    done = docker.script(SCRIPT, PATH=str(docker.bin))
    assert done.returncode == 2
    assert error_lines(done) == [
        "error: docker is not installed: install Docker Engine and the NVIDIA Container Toolkit"
    ]


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--privileged"], {}, "unknown option --privileged"),
        (["--mount"], {}, "--mount wants a directory"),
        (["--mount", "nowhere"], {}, "--mount=nowhere is not there"),
        (["--build"], {"IMAGE": "mine"}, "IMAGE=mine is another one"),
        ([], {"CONTAINER": "a b"}, "CONTAINER=a b is not a name"),
        ([], {"SHM_SIZE": "much"}, "SHM_SIZE=much is not a size"),
        ([], {"DRY_RUN": "yes"}, "DRY_RUN=yes is not known"),
        (["--attach"], {}, "no container veritas-rl runs here"),
    ],
)
def test_a_wrong_word_is_refused(
    docker: Docker, arguments: list[str], environment: dict[str, str], message: str
) -> None:
    done = docker.script(SCRIPT, *arguments, **environment)
    assert done.returncode == 2
    assert message in done.stderr
    assert docker.calls("run") == docker.calls("build") == []


def test_attach_opens_a_shell_in_the_container_that_runs(docker: Docker) -> None:
    docker.answer(**{"container inspect": (0, "running")})
    assert docker.script(SCRIPT, "--attach").returncode == 0
    (call,) = docker.calls("exec")
    assert call["call"] == ["exec", "--interactive", "--workdir", "/workspace/veritas-rl", "veritas-rl", "bash"]


def test_a_dry_run_prints_what_a_shell_can_run_and_starts_nothing(docker: Docker) -> None:
    done = docker.script(SCRIPT, "--build", "bash", "-c", "echo 'a  b'", DRY_RUN="1", HF_TOKEN="hf_secret")
    assert done.returncode == 0, done.stderr
    assert docker.calls() == []
    assert "hf_secret" not in done.stdout + done.stderr
    assert docker.bash(done.stdout).returncode == 0
    assert docker.calls("build")
    (call,) = docker.calls("run")
    assert call["call"][-2:] == ["-c", "echo 'a  b'"]
    assert mounts(call["call"])["/workspace/veritas-rl"] == str(docker.root)


def test_a_terminal_is_handed_on(docker: Docker) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(["bash", str(docker.root / SCRIPT)], env=docker.env, stdin=theirs, stdout=theirs, timeout=60)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0
    assert "--tty" in docker.calls("run")[0]["call"]


def test_dockers_own_client_knows_every_option(docker: Docker) -> None:
    client = shutil.which("docker", path="/usr/local/bin:/usr/bin:/bin")
    if client is None:
        pytest.skip("the docker client is not installed")
    call, _ = docker.start("--user", "--sandbox", "--mount", str(docker.home), NNODES="2")
    env = {**docker.env, "DOCKER_HOST": "unix:///nowhere.sock"}
    real = subprocess.run([client, *call], env=env, capture_output=True, text=True, timeout=60)
    assert real.returncode != 0
    assert not re.search(r"unknown (shorthand )?flag|invalid argument|requires at least", real.stderr), real.stderr
    wrong = subprocess.run([client, "run", "--gpu", "all", "x"], env=env, capture_output=True, text=True, timeout=60)
    assert "unknown flag" in wrong.stderr
