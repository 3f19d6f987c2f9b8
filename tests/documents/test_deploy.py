"""The files that the service is deployed with agree with the code, with each other and with published schemas."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from fastapi.routing import APIRoute

from app import __version__
from app.cli.main import cli
from app.config import PREFIX, Settings
from app.errors import BAD_START
from app.main import create_app
from app.oip.schemas import MODEL
from app.server.server import graceful_timeout_s
from app.server.supervisor import KILL_S
from tests.documents.test_docs import rows
from tests.support import needs
from tests.support.data import REPOSITORY

COMPOSE = (REPOSITORY / "docker-compose.yml").read_text()
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
STACK = REPOSITORY / "deploy" / "swarm" / "stack.yml"
SYSTEMD = REPOSITORY / "deploy" / "systemd"
MONITORING = REPOSITORY / "deploy" / "monitoring"
TESTS_OF_ALERTS = [path.name for path in sorted(MONITORING.glob("alerts*_test.yml"))]
KUBERNETES = REPOSITORY / "deploy" / "kubernetes"
KSERVE = REPOSITORY / "deploy" / "kserve" / "inference-service.yaml"
RAY = REPOSITORY / "deploy" / "ray" / "job.yaml"
RAY_JOB = {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"}
RAY_CLUSTER = {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
RAY_GROUP = {"groupName", "replicas", "rayStartParams", "template"}
"""What KubeRay's types have (`ray-operator/apis/ray/v1`), as far as it is used."""
SCALE = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget"}
"""What KServe's predictor has beside what any pod has, as far as it is used."""
SEALED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
NAMES = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
DRAIN_S = graceful_timeout_s(Settings()) + KILL_S
Resources = dict[str, dict[str, Any]]


@pytest.mark.parametrize("text", [COMPOSE, STACK.read_text()], ids=["Compose", "Swarm"])
def test_every_setting_reaches_the_container_from_the_shell(text: str) -> None:
    environment = yaml.safe_load(text)["services"]["mobilenet"]["environment"]
    assert set(environment) == NAMES
    for name in NAMES - {f"{PREFIX}{name}" for name in ("HOST", "PORT", "CACHE")}:  # these are the container's own
        assert environment[name] is None or environment[name].startswith(f"${{{name}:-"), name


def test_compose_shows_the_default_of_every_setting() -> None:
    said = dict(re.findall(rf"^ +{PREFIX}(\w+): *# ([^\s;]+)", COMPOSE, re.M))
    defaults = {name.upper(): field.default for name, field in Settings.model_fields.items()}
    plain = {name: default for name, default in defaults.items() if isinstance(default, bool | int | float | str)}
    for name in plain.keys() - {"HOST", "PORT"}:  # in the container these are what `ports` says
        shown = f"{plain[name]:g}" if isinstance(plain[name], float) else str(plain[name]).lower()
        assert said[name] == shown, name


def test_every_setting_that_can_be_is_checked_with_the_weights_before_the_service_is_replaced() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    weights, served = services["weights"]["environment"], services["mobilenet"]["environment"]
    assert {name: served[name] for name in weights} == weights
    # Where the service listens is that of the container, and keys are nobody else's to read.
    assert set(served) - set(weights) == {f"{PREFIX}{name}" for name in ("HOST", "PORT", "API_KEYS", "API_KEYS_FILE")}


def test_no_log_grows_for_ever_and_settings_that_are_wrong_are_not_tried_for_ever() -> None:
    compose = yaml.safe_load(COMPOSE)["services"]
    for service in (*compose.values(), yaml.safe_load(STACK.read_text())["services"]["mobilenet"]):
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert re.fullmatch(r"on-failure:\d+", compose["mobilenet"]["restart"])


def test_whoever_looks_at_the_dashboard_of_compose_cannot_sign_in_to_change_it() -> None:
    environment = yaml.safe_load(COMPOSE)["services"]["grafana"]["environment"]
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false", "or admin:admin is the key to Grafana's API"


def test_every_variable_anywhere_is_a_setting() -> None:
    files = [path for path in (REPOSITORY / "deploy").rglob("*.y*ml") if path.is_file()]
    assert len(files) > 5
    for path in [*files, *SYSTEMD.iterdir(), REPOSITORY / "Dockerfile", REPOSITORY / "docker-compose.yml"]:
        text = re.sub(r"#.*", "", path.read_text())  # a comment may warn of one that is none
        assert set(re.findall(rf"\b{PREFIX}[A-Z_]+", text)) <= NAMES, path


def test_the_image_has_the_version_of_the_code() -> None:
    assert f"ARG VERSION={__version__}\n" in DOCKERFILE


def test_whoever_stops_the_service_leaves_it_the_time_to_drain() -> None:
    assert seconds(yaml.safe_load(COMPOSE)["services"]["mobilenet"]["stop_grace_period"]) > DRAIN_S
    assert seconds(yaml.safe_load(STACK.read_text())["services"]["mobilenet"]["stop_grace_period"]) > DRAIN_S
    pod = base()["Deployment"]["spec"]["template"]["spec"]
    before = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > before + DRAIN_S
    assert int(unit("mobilenet.service")["Service"]["TimeoutStopSec"]) > DRAIN_S


def unit(name: str) -> ConfigParser:
    parser = ConfigParser()
    parser.optionxform = str  # type: ignore[method-assign, assignment]  # names are not made lower-case
    parser.read(SYSTEMD / name)
    return parser


def test_systemd_gives_the_service_one_stream_socket_and_does_not_repeat_a_wrong_start() -> None:
    assert unit("mobilenet.service")["Service"]["RestartPreventExitStatus"] == str(BAD_START)
    assert [name for name in unit("mobilenet.socket")["Socket"] if name.startswith("Listen")] == ["ListenStream"]
    assert "Accept" not in unit("mobilenet.socket")["Socket"]


@needs.SYSTEMD.mark()
def test_systemd_accepts_its_units(tmp_path: Path) -> None:
    for path in SYSTEMD.iterdir():
        text = path.read_text().replace("/opt/mobilenet/.venv/bin/mobilenet", sys.executable)  # which is there
        (tmp_path / path.name).write_text(text)
    command = ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def base() -> Resources:
    """Return what is applied without Kustomize's own files, by kind."""
    files = (path for path in (KUBERNETES / "base").iterdir() if path.name != "kustomization.yaml")
    return {resource["kind"]: resource for resource in (yaml.safe_load(path.read_text()) for path in files)}


def rendered(folder: Path) -> Resources:
    needs.KUBECTL.check()
    command = ["kubectl", "kustomize", str(folder)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {resource["kind"]: resource for resource in yaml.safe_load_all(text)}


@pytest.mark.parametrize(
    "resources", [base, lambda: rendered(KUBERNETES / "base"), lambda: rendered(KUBERNETES / "imagenet")]
)
def test_kubernetes_accepts_every_resource(resources: Callable[[], Resources]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kubernetes_validate
    found = resources()
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"} <= set(found)
    for resource in found.values():
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


def test_kubernetes_resources_find_each_other() -> None:
    found = base()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    (port,) = pod["containers"][0]["ports"]
    assert port["containerPort"] == Settings().port
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert not pod["enableServiceLinks"], "a service's name would make variables that stop the start"


def test_the_documented_commands_name_the_registry_of_every_image(tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path, dirs_exist_ok=True)
    text = (REPOSITORY / "docs" / "deployment.md").read_text()
    commands = re.findall(r"cd deploy/kubernetes/(\w+) && kustomize edit set image (\S+)=(\S+):(\S+?)\)?$", text, re.M)
    assert [folder for folder, *_ in commands] == ["base", "imagenet"]
    for folder, name, new_name, new_tag in commands:  # what the command does, without the program
        file = tmp_path / folder / "kustomization.yaml"
        kustomization = yaml.safe_load(file.read_text())
        (image,) = (image for image in kustomization["images"] if image["name"] == name)
        image.update(newName=new_name, newTag=new_tag)
        file.write_text(yaml.safe_dump(kustomization))
    service, full = (f"{new_name}:{new_tag}" for *_, new_name, new_tag in commands)
    pod = rendered(tmp_path / "imagenet")["Deployment"]["spec"]["template"]["spec"]
    assert [container["image"] for container in pod["containers"]] == [service]
    assert [container["image"] for container in pod["initContainers"]] == [full]


@pytest.mark.parametrize("folder", ["base", "imagenet"])
def test_every_container_of_a_pod_is_sealed(folder: str) -> None:
    pod = rendered(KUBERNETES / folder)["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    assert len(containers) == (2 if folder == "imagenet" else 1)
    for container in containers:
        assert container["securityContext"] == SEALED


def predictor() -> dict[str, Any]:
    predictor: dict[str, Any] = yaml.safe_load(KSERVE.read_text())["spec"]["predictor"]
    return predictor


def test_the_predictor_of_kserve_is_a_pod_that_kubernetes_accepts() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kubernetes_validate
    resource = yaml.safe_load(KSERVE.read_text())
    assert (resource["apiVersion"], resource["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    spec = {name: part for name, part in predictor().items() if name not in SCALE}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": resource["metadata"], "spec": spec}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


def test_the_predictor_of_kserve_is_the_deployment_with_probes_of_the_protocol() -> None:
    deployed = base()["Deployment"]["spec"]["template"]["spec"]
    found = predictor()
    for name in ("securityContext", "enableServiceLinks", "terminationGracePeriodSeconds", "volumes"):
        assert found[name] == deployed[name], name
    (container,) = found["containers"]
    assert container["name"] == "kserve-container", "KServe looks for it"
    for name in ("securityContext", "resources", "lifecycle", "volumeMounts"):
        assert container[name] == deployed["containers"][0][name], name
    assert {"name": "PROTOCOL", "value": "v2"} in container["env"]
    paths = {route.path for route in create_app(Settings()).routes if isinstance(route, APIRoute)}
    assert f"/v2/models/{MODEL}/ready" == container["readinessProbe"]["httpGet"]["path"]
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": container[probe]["httpGet"]["path"], "port": Settings().port}
        assert container[probe]["httpGet"]["path"] in paths


def ray_job() -> dict[str, Any]:
    job: dict[str, Any] = yaml.safe_load(RAY.read_text())
    return job


def ray_groups() -> list[dict[str, Any]]:
    cluster = ray_job()["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_the_job_of_kuberay_has_fields_of_its_published_types_and_pods_that_kubernetes_accepts() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kubernetes_validate
    job = ray_job()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job["spec"]) <= RAY_JOB
    assert set(job["spec"]["rayClusterSpec"]) <= RAY_CLUSTER
    for group in ray_groups():
        assert set(group) <= RAY_GROUP
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "they are text"
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


def test_the_nodes_of_ray_are_sealed_and_of_the_pinned_version() -> None:
    pinned = re.search(r"^ray==(.*)$", (REPOSITORY / "constraints.txt").read_text(), re.M)
    assert pinned
    assert ray_job()["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]
    for group in ray_groups():
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["enableServiceLinks"]
        assert pod["containers"][0]["securityContext"] == SEALED


def test_the_job_of_ray_is_a_command_that_the_command_line_has() -> None:
    command = shlex.split(ray_job()["spec"]["entrypoint"])
    assert command[:4] == ["python", "-m", "app", "batch"]
    assert "--accept-errors" in command  # or KubeRay would begin again because of a photo that cannot be read
    options = {option for parameter in typer.main.get_group(cli).commands["batch"].params for option in parameter.opts}
    assert {word for word in command if word.startswith("--")} <= options


def test_dashboard_and_alerts_ask_for_metrics_that_exist() -> None:
    dashboard = json.loads((MONITORING / "grafana" / "dashboards" / "mobilenet.json").read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    (group,) = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    asked = set(re.findall(r"mobilenet_\w+", " ".join([*panels, *(rule["expr"] for rule in group["rules"])])))
    metrics = {row[0].strip("`") for row in rows((REPOSITORY / "docs" / "operations.md").read_text(), "Metrics")}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in asked} <= metrics
    assert metrics - {re.sub("_(bucket|sum|count)$", "", name) for name in asked} == {"mobilenet_build_info"}


def test_the_share_of_failures_is_that_of_all_requests_but_probes() -> None:
    expressions = (MONITORING / "alerts.yml").read_text() + (
        MONITORING / "grafana/dashboards/mobilenet.json"
    ).read_text()
    left_out = re.findall(r'route!~\\?"(.*?)\\?"', expressions)
    assert len(left_out) == 4
    paths = {route.path for route in create_app(Settings()).routes if isinstance(route, APIRoute)}
    probes = {path for path in paths if path.endswith(("/healthz", "/readyz", "/metrics", "/live", "/ready"))}
    calls = {f"/inference.GRPCInferenceService/{name}" for name in ("ServerLive", "ServerReady", "ModelReady")}
    paths |= calls | {"/inference.GRPCInferenceService/ModelInfer"}
    probes |= calls
    for pattern in left_out:
        assert {path for path in paths if re.fullmatch(pattern, path)} == probes


def test_every_alert_is_in_the_documents_and_in_its_unit_tests() -> None:
    (group,) = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    alerts = {rule["alert"] for rule in group["rules"]}
    table = rows((REPOSITORY / "docs" / "operations.md").read_text(), "Alerts")
    assert {row[0].strip("`") for row in table} == alerts
    files = [yaml.safe_load((MONITORING / name).read_text()) for name in TESTS_OF_ALERTS]
    expected = [one for file in files for test in file["tests"] for one in test["alert_rule_test"]]
    for fires in (True, False):
        assert {one["alertname"] for one in expected if ("exp_alerts" in one) == fires} == alerts


@needs.PROMETHEUS.mark()
@pytest.mark.parametrize("way", ["static", "dns_sd", "kubernetes_sd"])
def test_prometheus_accepts_each_documented_way_to_scrape_without_compose_and_the_alerts_know_its_job(
    way: str, tmp_path: Path
) -> None:
    texts = re.findall(r"^```yaml\n(.*?)^```$", (REPOSITORY / "docs" / "operations.md").read_text(), re.M | re.S)
    (text,) = (text for text in texts if f"{way}_configs" in text.split("alerting:")[0])
    if way == "kubernetes_sd":  # Debian's Prometheus is built without it
        text = text.replace("kubernetes_sd_configs: [{role: pod}]", "static_configs: []")
    (tmp_path / "prometheus.yml").write_text(text)
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    command = ["promtool", "check", "config", "prometheus.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (job,) = yaml.safe_load(text)["scrape_configs"]
    (group,) = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    (down,) = [rule["expr"] for rule in group["rules"] if rule["alert"] == "MobilenetDown"]
    assert f'up{{job="{job["job_name"]}"}}' in down


def test_prometheus_finds_the_pods_of_the_deployment_by_their_label_and_port() -> None:
    texts = re.findall(r"^```yaml\n(.*?)^```$", (REPOSITORY / "docs" / "operations.md").read_text(), re.M | re.S)
    (text,) = (text for text in texts if "kubernetes_sd_configs" in text)
    ((job,), template) = yaml.safe_load(text)["scrape_configs"], base()["Deployment"]["spec"]["template"]
    (rule,) = job["relabel_configs"]
    assert rule["source_labels"] == [
        "__meta_kubernetes_pod_label_app_kubernetes_io_name",
        "__meta_kubernetes_pod_container_port_name",
        "__meta_kubernetes_pod_phase",
    ]
    (port,) = template["spec"]["containers"][0]["ports"]
    assert rule["regex"] == f"{template['metadata']['labels']['app.kubernetes.io/name']};{port['name']};Running"
    assert "annotations" not in template["metadata"], "another job would scrape the pods, too, under another name"


@needs.PROMETHEUS.mark()
@pytest.mark.parametrize(
    "arguments", [("check", "config", "prometheus.yml"), ("test", "rules", *TESTS_OF_ALERTS)], ids=" ".join
)
def test_prometheus_accepts_its_configuration_and_the_alerts_do_what_they_are_for(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
