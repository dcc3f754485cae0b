"""The Helm chart, rendered and linted by Helm itself and checked against Kubernetes' schemas. No cluster is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

import remora
from remora.cli.flags import Flags
from remora.control.cli import build_parser
from remora.sidecar.cli import make_parser, options

CHART = Path(__file__).parents[2] / "charts" / "remora"
NEEDED: dict[str, Any] = {"etcd": {"url": "http://etcd:2379"}}
FULL: dict[str, Any] = yaml.safe_load((CHART / "ci" / "full-values.yaml").read_text())

KUBERNETES = ("1.29", "1.37")
"""The oldest version that the chart supports, and the newest that there is a schema for."""


def render(values: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The chart's manifests, by kind and name."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values, name="mesh", namespace="prod")
    texts = [text for path, text in files.items() if path.endswith(".yaml")]
    manifests = [found for text in texts for found in yaml.safe_load_all(text) if found]
    return {(found["kind"], found["metadata"]["name"]): found for found in manifests}


def pods(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pod spec of each Deployment."""
    return {
        name: found["spec"]["template"]["spec"]
        for (kind, name), found in render(values).items()
        if kind == "Deployment"
    }


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


@pytest.mark.parametrize(
    "values", [NEEDED, FULL, {**NEEDED, "example": {"enabled": False}}], ids=["least", "full", "no-example"]
)
def test_helm_lint_has_nothing_to_say(values: dict[str, Any]) -> None:
    report = helm.lint(CHART, values, strict=True)
    information = 1
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > information] == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", [NEEDED, FULL], ids=["least", "full"])
def test_every_manifest_is_valid_for_kubernetes(values: dict[str, Any], version: str) -> None:
    manifests = render(values)
    assert len(manifests) >= 5
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schemas_would_notice_a_mistake() -> None:
    manifest = render(NEEDED)["Deployment", "mesh-remora-control"]
    manifest["spec"]["replicaz"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, KUBERNETES[-1], strict=True)


def test_what_is_deployed() -> None:
    assert sorted(render(NEEDED)) == [
        ("Deployment", "mesh-remora-control"),
        ("Deployment", "mesh-remora-reviews-v1"),
        ("PodDisruptionBudget", "mesh-remora-control"),
        ("Service", "mesh-remora-control"),
        ("Service", "reviews"),
        ("ServiceAccount", "mesh-remora"),
    ]
    without = render({**NEEDED, "example": {"enabled": False}, "control": {"replicas": 1}})
    assert sorted(without) == [
        ("Deployment", "mesh-remora-control"),
        ("Service", "mesh-remora-control"),
        ("ServiceAccount", "mesh-remora"),
    ]


@pytest.mark.parametrize("values", [NEEDED, FULL], ids=["least", "full"])
def test_no_container_has_more_rights_than_it_needs(values: dict[str, Any]) -> None:
    """Pod Security Standard "restricted", a read-only root file system, and no token for the Kubernetes API."""
    for pod in pods(values).values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            security = pod["securityContext"] | container["securityContext"]
            assert security["runAsUser"] > 0
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert {"requests", "limits"} <= container["resources"].keys()


def test_ours_run_as_1337_and_the_app_does_not() -> None:
    control = pods(NEEDED)["mesh-remora-control"]
    assert (control["securityContext"]["runAsUser"], control["securityContext"]["runAsGroup"]) == (1337, 1337)
    sidecar, app = containers(pods(NEEDED)["mesh-remora-reviews-v1"])
    assert (sidecar["securityContext"]["runAsUser"], sidecar["securityContext"]["runAsGroup"]) == (1337, 1337)
    assert app["securityContext"]["runAsUser"] != 1337


def test_the_sidecar_is_a_native_sidecar_container_with_probes_on_15020() -> None:
    pod = pods(NEEDED)["mesh-remora-reviews-v1"]
    [sidecar] = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["command"] == ["sidecar", "run"]
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    assert ports == {"inbound": 15006, "metrics": 15020}
    paths = {name: sidecar[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in paths.values()} == {"metrics"}
    # The app is started only once the startup probe succeeds, so that one must not wait for the app.
    assert paths["startup"]["path"] == paths["liveness"]["path"] == "/healthz/live"
    assert paths["readiness"]["path"] == "/healthz/ready"


@pytest.mark.parametrize(("name", "port"), [("mesh-remora-control", "15014"), ("mesh-remora-reviews-v1", "15020")])
def test_prometheus_finds_every_pod(name: str, port: str) -> None:
    annotations = render(NEEDED)["Deployment", name]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/port"] == port
    assert annotations["prometheus.io/path"] == "/metrics"


def test_the_sidecar_is_told_by_environment() -> None:
    pod = pods(FULL)["mesh-remora-shop-v2"]
    told = environment(containers(pod)[0])
    assert told["SIDECAR_UPSTREAM"] == "127.0.0.1:9000"
    assert (told["SIDECAR_SERVICE"], told["SIDECAR_VERSION"]) == ("shop", "v2")
    assert told["SIDECAR_CONTROL"] == "mesh-remora-control.prod.svc:15010"
    assert told["SIDECAR_OUTBOUND"] == "prices=127.0.0.1:9102,reviews=127.0.0.1:9101"
    assert told["SIDECAR_HEALTH"] == "tcp"
    assert told["SIDECAR_LOG_LEVEL"] == "debug"
    assert environment(containers(pod)[1])["PORT"] == "9000"


@pytest.mark.parametrize("values", [NEEDED, FULL], ids=["least", "full"])
def test_the_sidecar_understands_what_it_is_told(values: dict[str, Any]) -> None:
    [pod] = [found for name, found in pods(values).items() if "control" not in name]
    told = {name: value for name, value in environment(containers(pod)[0]).items() if isinstance(value, str)}
    told["SIDECAR_ADVERTISE"] = told["SIDECAR_ADVERTISE"].replace("$(POD_IP)", "10.0.0.7")
    understood = options(make_parser(Flags("SIDECAR", told)).parse_args(["run"]))
    ports = (understood.inbound.port, understood.outbound.port, understood.admin.port, understood.metrics.port)
    assert ports == (15006, 15001, 15000, 15020)
    assert understood.upstream.host == "127.0.0.1"
    assert (understood.advertise.host, understood.advertise.port) == ("10.0.0.7", 0), "the inbound port is added"
    assert understood.control
    assert understood.state_dir == Path("/var/lib/remora")
    flags = subprocess.run(
        [sys.executable, "-m", "remora.sidecar.cli", "run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert [name for name in told if f"${name}" not in flags] == []


def test_control_is_told_by_environment() -> None:
    told = environment(containers(pods(FULL)["mesh-remora-control"])[0])
    assert told["CONTROL_ETCD"] == "https://etcd-0.etcd:2379,https://etcd-1.etcd:2379"
    assert (told["CONTROL_ENV"], told["CONTROL_LOG_LEVEL"]) == ("prod", "debug")


@pytest.mark.parametrize("values", [NEEDED, FULL], ids=["least", "full"])
def test_control_understands_what_it_is_told(values: dict[str, Any], tmp_path: Path) -> None:
    container = containers(pods(values)["mesh-remora-control"])[0]
    told = {name: value for name, value in environment(container).items() if isinstance(value, str)}
    for mount in container.get("volumeMounts", []):
        for name in ("ca.crt", "tls.crt", "tls.key"):
            (tmp_path / name).touch()
        told = {name: value.replace(mount["mountPath"], str(tmp_path)) for name, value in told.items()}
    understood = build_parser(told).parse_args(["run"])
    assert (understood.grpc.port, understood.http.port) == (15010, 15014)
    assert understood.etcd == values["etcd"]["url"]
    flags = subprocess.run(
        [sys.executable, "-m", "remora.control.cli", "run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert [name for name in environment(container) if f"${name}" not in flags] == []


def test_secrets_of_etcd_reach_control_and_nothing_else() -> None:
    control, app = (pods(FULL)[name] for name in ("mesh-remora-control", "mesh-remora-shop-v2"))
    told = environment(containers(control)[0])
    assert told["CONTROL_ETCD_PASSWORD"] == {"secretKeyRef": {"name": "etcd-user", "key": "password"}}
    assert told["CONTROL_ETCD_KEY"] == "/etc/remora/etcd/tls.key"
    [volume] = control["volumes"]
    assert volume["secret"] == {"secretName": "etcd-tls", "defaultMode": 0o440}
    assert "etcd" not in str(app)
    assert "volumes" not in pods(NEEDED)["mesh-remora-control"]


@pytest.mark.parametrize("values", [NEEDED, FULL], ids=["least", "full"])
def test_services_select_the_pods_that_there_are(values: dict[str, Any]) -> None:
    manifests = render(values)
    templates = [found["spec"]["template"] for (kind, _), found in manifests.items() if kind == "Deployment"]
    for (kind, name), found in manifests.items():
        if kind != "Service":
            continue
        wanted = found["spec"]["selector"].items()
        [pod] = [template["spec"] for template in templates if wanted <= template["metadata"]["labels"].items()]
        names = {port["name"] for container in containers(pod) for port in container.get("ports", [])}
        assert {port["targetPort"] for port in found["spec"]["ports"]} <= names, name


def test_etcd_is_required() -> None:
    with pytest.raises(helm.HelmError, match=r"etcd\.url is required: say where your etcd is"):
        render({})


@pytest.mark.parametrize(
    "values",
    [
        {"etcd": {"url": "etcd:2379"}},
        {"control": {"replicas": 0}},
        {"control": {"replica": 3}},
        {"sidecar": {"health": "/healthz"}},
        {"sidecar": {"extraEnv": {"LOG_LEVEL": "debug"}}},
        {"example": {"service": "Reviews"}},
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any]) -> None:
    with helm.Chart.load(CHART) as chart, pytest.raises(helm.HelmValuesError):
        chart.validate_schema({**NEEDED, **values})


def test_the_readme_names_every_value() -> None:
    readme = (CHART / "README.md").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for section, content in values.items():
        assert f"`{section}" in readme
        for key in content if isinstance(content, dict) else ():
            assert f".{key}" in readme, f"{section}.{key}"


def test_the_chart_goes_with_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == remora.__version__
