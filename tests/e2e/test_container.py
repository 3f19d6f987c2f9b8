"""The container as its users have it: built, composed, sealed, stopped and killed; then replicated and updated."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import needs
from tests.support.data import PNG, RED, REPOSITORY, SAMPLES, SHARED
from tests.support.processes import answers, environment, free_port, half_sent, wait_for

SERVICE, FULL = "mobilenet-service:test", "mobilenet-service:test-full"
PROJECT = "mobilenet-test"
EMULATION_S = 300
ADDED_MB, IDLE_MB = 200, 150
"""What the image adds to its base image at most, and what an idle service takes."""


pytestmark = [
    pytest.mark.timeout(900),
    needs.DOCKER.mark(),
]


def run(*command: str, check: bool = True, settings: dict[str, object] | None = None) -> str:
    """Run a command with settings in its environment, as a user's shell has them; return what it printed."""
    outside = {"IMAGE": SERVICE, "FULL_IMAGE": FULL, "BUILD_NETWORK": "host", "CI": "true"}
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment(**settings or {}) | outside,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not (check and done.returncode), f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def compose(*arguments: str, project: str = PROJECT, settings: dict[str, object] | None = None) -> str:
    command = needs.compose()
    assert command is not None
    return run(*command, "--project-name", project, *arguments, settings=settings)


def inspect(what: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("docker", "inspect", what))[0]
    return found


@dataclass
class Stack:
    """A composed service: where it answers, and its container."""

    url: str
    container: str

    def inside(self, *command: str, check: bool = True) -> str:
        return run("docker", "exec", self.container, *command, check=check)


@pytest.fixture(scope="module", autouse=True)
def images() -> None:
    """Both images, built once as Compose builds them."""
    compose("build")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    port = free_port()
    try:
        compose("up", "--detach", settings={"HOST": "127.0.0.1", "PORT": port, "REQUEST_TIMEOUT_MS": 60_000})
        container = compose("ps", "--quiet", "mobilenet").strip()
        stack = Stack(f"http://127.0.0.1:{port}", container)
        wait_for(lambda: answers(f"{stack.url}/readyz"))
        yield stack
    finally:
        compose("down", "--volumes", "--timeout", "1")


def test_compose_serves_a_photo_with_the_compiled_default(stack: Stack) -> None:
    answer = httpx.post(f"{stack.url}/predict", content=RED, headers=PNG).json()
    assert answer["model"] == {"alpha": 0.5, "resolution": 160, "weights": "imagenette", "precision": "float32"}
    assert len(answer["results"][0]["predictions"]) == 5
    assert "there already" in compose("logs", "weights"), "the volume starts with what the image has compiled"


def test_the_health_check_says_when_the_service_is_ready(stack: Stack) -> None:
    wait_for(lambda: inspect(stack.container)["State"]["Health"]["Status"] == "healthy")
    (*_, last) = inspect(stack.container)["State"]["Health"]["Log"]
    assert (last["ExitCode"], last["Output"].strip()) == (0, '200 {"status":"ready"}')


def test_no_right_is_there_to_lose_and_nothing_can_be_written(stack: Stack) -> None:
    status = dict(line.split(":\t", 1) for line in stack.inside("cat", "/proc/1/status").splitlines() if ":\t" in line)
    assert {status["Uid"], status["Gid"]} == {"\t".join(["10001"] * 4)}
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    for folder in ("/opt/mobilenet/app", "/opt/venv", "/var/cache/mobilenet", "/etc", "/"):
        assert "Read-only file system" in stack.inside("touch", f"{folder}/file", check=False)
    host = inspect(stack.container)["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (2**30, 2 * 10**9, 256)


def test_what_compiles_is_not_in_the_service_and_is_in_the_full_image(stack: Stack) -> None:
    find = (
        "from importlib.util import find_spec as f; print([m for m in ('tensorflow', 'keras', 'h5py', 'pip') if f(m)])"
    )
    assert stack.inside("python", "-c", find).strip() == "[]"
    assert "not found" in stack.inside("sh", "-c", "command -v cc gcc || echo not found")
    assert stack.inside("sh", "-c", "ls -A /root/.cache /tmp 2>/dev/null", check=False).split() == ["/tmp:"]
    found = run("docker", "run", "--rm", "--entrypoint", "python", FULL, "-c", find)
    assert found.strip() == "['tensorflow', 'keras', 'h5py']"


STATISTICS = "cat /sys/fs/cgroup/memory.stat || cat /sys/fs/cgroup/memory/memory.stat"
"""In control groups of version 2, or else 1."""


def memory_mb(stack: Stack) -> float:
    """Return the memory that the kernel cannot take back.

    `docker stats` also counts files that were read twice, by whichever container was the first to read them.
    """
    found = dict(line.split() for line in stack.inside("sh", "-c", f"({STATISTICS}) 2> /dev/null").splitlines())
    names = ("anon", "shmem") if "anon" in found else ("total_rss", "total_shmem")
    return sum(int(found[name]) for name in names) / 1e6


def test_the_image_is_small_and_the_idle_service_too(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    config = inspect(SERVICE)
    base = next(
        line.removeprefix("ARG BASE_IMAGE=")
        for line in (REPOSITORY / "Dockerfile").read_text().splitlines()
        if line.startswith("ARG BASE_IMAGE=")
    )
    added = (config["Size"] - inspect(base)["Size"]) / 1e6
    taken: list[float] = []

    def is_small() -> bool:
        taken.append(memory_mb(stack))
        return 0 < taken[-1] < IDLE_MB

    # It is idle some time after the requests of the tests before, whose workers may still be being replaced.
    wait_for(is_small)
    with capsys.disabled():
        print(f"\nthe image adds {added:.0f} MB to {base}; an idle service takes {taken[-1]:.0f} MB")
    assert 0 < added <= ADDED_MB
    labels = {name.rpartition(".")[2] for name in config["Config"]["Labels"]}
    assert {"title", "description", "licenses", "version", "revision"} <= labels


@needs.ARM64.mark()
@needs.REFERENCE_DATA.mark()
def test_the_image_for_arm64_answers_as_this_machine_does() -> None:
    photos = [path.read_bytes() for path in sorted(SAMPLES.glob("*.JPEG"))[:3]]
    port = free_port()
    publish = ("--publish", f"127.0.0.1:{port}:8000")
    container = run("docker", "run", "--detach", "--platform", "linux/arm64", *publish, needs.ARM64_IMAGE).strip()
    emulated = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{emulated}/readyz"), EMULATION_S)
        assert run("docker", "exec", container, "uname", "-m").strip() == "aarch64"
        for photo in photos:
            answer = httpx.post(f"{emulated}/predict?top_k=10", content=photo, timeout=EMULATION_S).json()
            assert shares(answer["results"][0]) == pytest.approx(shares(scaled_by_pillow(photo)), abs=1e-3)
    finally:
        run("docker", "rm", "--force", container)


def shares(result: dict[str, Any]) -> dict[str, float]:
    """Return the probability of each class."""
    return {found["label"]: found["probability"] for found in result["predictions"]}


def scaled_by_pillow(photo: bytes) -> dict[str, Any]:
    """Classify a photo in the image of this machine as where the SIMD resizer has no build: by Pillow."""
    program = "import sys; sys.modules['cykooz_resizer'] = None; from app.cli.main import main; main()"
    options = ("--rm", "--interactive", "--env", "MOBILENET_MODEL_WORKERS=0", "--entrypoint", "python")
    command = ["docker", "run", *options, SERVICE, "-c", program, "classify", "-", "--json", "--top-k", "10"]
    found: dict[str, Any] = json.loads(subprocess.run(command, input=photo, capture_output=True, check=True).stdout)
    return found


def test_a_service_whose_process_is_killed_comes_back(stack: Stack) -> None:
    before = inspect(stack.container)["RestartCount"]
    stack.inside("sh", "-c", "kill -KILL -1", check=False)
    wait_for(lambda: inspect(stack.container)["RestartCount"] > before)
    wait_for(lambda: answers(f"{stack.url}/readyz"))


def refuses(url: str) -> bool:
    """Whether a connection is refused. Docker's proxy takes it first, and then closes it without an answer."""
    try:
        httpx.get(f"{url}/readyz", timeout=60)
    except (httpx.NetworkError, httpx.RemoteProtocolError):
        return True
    return False


def test_told_to_stop_it_finishes_what_it_accepted_and_exits_0(stack: Stack) -> None:
    under_way = [half_sent(stack.url, RED) for _ in range(4)]
    wait_for(lambda: "mobilenet_requests_in_flight 5.0" in httpx.get(f"{stack.url}/metrics").text)
    with subprocess.Popen(["docker", "stop", "--time", "70", stack.container], stdout=subprocess.DEVNULL):
        wait_for(lambda: refuses(stack.url))
        for connection in under_way:
            connection.sendall(RED[50:])
        for connection in under_way:
            connection.settimeout(20)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
            connection.close()
    assert inspect(stack.container)["State"]["ExitCode"] == 0
    assert "Traceback" not in run("docker", "logs", stack.container)


def test_a_width_that_is_not_in_the_image_is_one_line_and_exit_code_2() -> None:
    command = ["docker", "run", "--rm", "--env", "MOBILENET_ALPHA=0.25", SERVICE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "not compiled in /var/cache/mobilenet" in done.stderr


def test_without_room_for_a_process_it_does_not_start_and_says_so_in_one_line() -> None:
    command = ["docker", "run", "--rm", "--pids-limit", "1", SERVICE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be started: Resource temporarily unavailable; is the number of processes limited" in done.stderr


def test_with_room_for_few_processes_it_says_which_are_missing_and_answers_as_it_can() -> None:
    port = free_port()
    options = ["--pids-limit", "4", "--env", "MOBILENET_MODEL_WORKERS=4", "--publish", f"127.0.0.1:{port}:8000"]
    container = run("docker", "run", "--detach", *options, SERVICE).strip()
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{url}/readyz"))
        with ThreadPoolExecutor(8) as threads:
            asked = [
                threads.submit(httpx.post, f"{url}/predict", content=RED, headers=PNG, timeout=60) for _ in range(40)
            ]
        assert 200 in {one.result().status_code for one in asked}
        log = run("docker", "logs", container)
        assert "a worker cannot be started: Resource temporarily unavailable; is the number of processes" in log
        assert "Traceback" not in log
    finally:
        run("docker", "rm", "--force", container)


@needs.REFERENCE_DATA.mark()
def test_compose_fetches_and_compiles_the_published_weights_before_it_serves() -> None:
    project, mirror, port = f"{PROJECT}-imagenet", f"{PROJECT}-mirror", free_port()
    settings = {
        "WEIGHTS": "imagenet",
        "ALPHA": 0.25,
        "RESOLUTION": 128,
        "WEIGHTS_URL": f"http://{mirror}:9000/",
        "HOST": "127.0.0.1",
        "PORT": port,
    }
    try:
        compose("up", "--no-start", "weights", project=project)  # for the network
        files = f"{SHARED.resolve()}/imagenet:/srv:ro"
        serving = ["--entrypoint", "python", SERVICE, "-m", "http.server", "9000", "--directory", "/srv"]
        run(
            "docker",
            "run",
            "--rm",
            "--detach",
            "--name",
            mirror,
            "--network",
            f"{project}_default",
            "-v",
            files,
            *serving,
        )
        compose("up", "--detach", project=project, settings=settings)
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(f"{url}/readyz"))
        info = httpx.get(f"{url}/model-info").json()
        assert (info["weights"], info["classes"], info["resolution"]) == ("imagenet", 1000, 128)
    finally:
        run("docker", "rm", "--force", mirror, check=False)
        compose("down", "--volumes", "--timeout", "1", project=project)


class Swarm:
    """The stack of `deploy/swarm`, and clients in its network."""

    name = f"{PROJECT}-swarm"
    service = f"{name}_mobilenet"
    network = f"{name}_default"

    def containers(self) -> set[str]:
        """Return the replicas that are healthy."""
        label = f"label=com.docker.swarm.service.name={self.service}"
        return set(run("docker", "ps", "--quiet", "--filter", label, "--filter", "health=healthy").split())

    def updated(self) -> str:
        return str(inspect(self.service).get("UpdateStatus", {}).get("State"))

    def load(self, photo: Path) -> subprocess.Popen[str]:
        """Start clients, and wait for their first answer; see `balanced.py` for what ends them and what they print."""
        script = Path(__file__).with_name("balanced.py")
        mounts = [f"{script}:/balanced.py:ro", f"{photo}:/photo.png:ro"]
        volumes = [word for mount in mounts for word in ("--volume", mount)]
        command = [
            "docker",
            "run",
            "--rm",
            "--interactive",
            "--network",
            self.network,
            *volumes,
            "--entrypoint",
            "python",
            SERVICE,
        ]
        arguments = ["/balanced.py", "mobilenet", "/photo.png"]
        load = subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert load.stdout
        assert load.stdout.readline() == "answered\n"
        return load


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    state = json.loads(run("docker", "info", "--format", "{{json .Swarm}}"))["LocalNodeState"]
    if state == "inactive":
        run("docker", "swarm", "init", "--advertise-addr", "127.0.0.1")
    # Clients of the test join the network, and find the replicas by name: not every kernel has what the mesh needs.
    joined = tmp_path_factory.mktemp("swarm") / "joined.yml"
    joined.write_text("version: '3.8'\nnetworks: {default: {driver: overlay, attachable: true}}\n")
    swarm, files = Swarm(), ["--compose-file", "deploy/swarm/stack.yml", "--compose-file", str(joined)]
    variables = {"ENDPOINT_MODE": "dnsrr", "PORT_MODE": "host", "PORT": "0", "CPUS": "1"}
    try:
        deploy = ["docker", "stack", "deploy", "--resolve-image", "never", *files, swarm.name]
        run("env", *(f"{name}={value}" for name, value in variables.items()), *deploy)
        wait_for(lambda: len(swarm.containers()) == 2)
        yield swarm
    finally:
        run("docker", "stack", "rm", swarm.name)
        wait_for(lambda: not run("docker", "network", "ls", "-q", "-f", f"name={swarm.network}"))
        if state == "inactive":
            run("docker", "swarm", "leave", "--force")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(RED)
    tmp_path.chmod(0o755)
    return path


def finished(load: subprocess.Popen[str]) -> dict[str, dict[str, int]]:
    output, _ = load.communicate(timeout=120)
    assert load.returncode == 0
    found: dict[str, dict[str, int]] = json.loads(output)
    return found


def reported(what: str, load: dict[str, dict[str, int]], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{what}: {load['statuses']} of {len(load['addresses'])} replicas, broken {load['failures']}")


def test_a_rolling_update_loses_no_request(swarm: Swarm, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = swarm.containers()
    load = swarm.load(photo)
    run("docker", "service", "update", "--detach", "--env-add", "MOBILENET_MAX_QUEUE=128", swarm.service)
    wait_for(lambda: swarm.updated() == "completed")
    outcome = finished(load)
    reported("rolling update", outcome, capsys)
    assert not swarm.containers() & before
    assert list(outcome["statuses"]) == ["200"]
    assert len(outcome["addresses"]) == 4, "two replicas before, two after, all of them asked"
    assert outcome["failures"] == {}, "not even asked again"


def test_a_killed_replica_is_replaced_and_every_request_is_answered_by_the_others(
    swarm: Swarm, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = swarm.containers()
    load = swarm.load(photo)
    run("docker", "kill", sorted(before)[0])
    wait_for(lambda: len(swarm.containers() - before) == 1)
    outcome = finished(load)
    reported("killed replica", outcome, capsys)
    assert list(outcome["statuses"]) == ["200"]


def test_an_update_that_does_not_get_ready_is_rolled_back_and_nobody_notices(
    swarm: Swarm, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = swarm.containers()
    load = swarm.load(photo)
    run("docker", "service", "update", "--detach", "--env-add", "MOBILENET_ALPHA=9", swarm.service)
    wait_for(lambda: swarm.updated() == "rollback_completed")
    outcome = finished(load)
    reported("update that fails", outcome, capsys)
    assert swarm.containers() == before
    assert list(outcome["statuses"]) == ["200"]
    assert outcome["failures"] == {}
