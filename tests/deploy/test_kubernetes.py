"""The manifests: valid, restricted, and their parts fit together."""

import kubernetes_validate
import pytest
import yaml
from tests.deploy.files import containers, manifests, of_kind, pods

from antiphon.client.daemon.data_view import missing
from antiphon.client.daemon.settings import ClientSettings
from antiphon.core.config import validate
from antiphon.core.coordinator_settings import CoordinatorSettings
from antiphon.core.section import validated

OBJECTS = dict(manifests())
PODS = pods()
OLDEST = "1.29"


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_fits_its_schema(name, version):
    """Kubernetes' own schema takes every object, with no field that it does not know."""
    checked = kubernetes_validate.validate(OBJECTS[name], version, strict=True)

    assert version.startswith(checked)


def test_the_namespace_comes_first():
    """`kubectl apply -f` goes through files by name: the namespace must be there before the rest."""
    kinds = [each["kind"] for each in OBJECTS.values()]
    namespaces = {each["metadata"].get("namespace") for each in OBJECTS.values()}

    assert kinds.index("Namespace") == 0
    assert namespaces == {None, "antiphon"}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_restricted(name):
    """Each pod keeps to the restricted Pod Security Standard, and its image cannot be written to."""
    pod = PODS[name]
    security = pod["securityContext"]

    own = [each["securityContext"] for each in containers(pod)]

    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert {each["readOnlyRootFilesystem"] for each in own} == {True}
    assert {each["allowPrivilegeEscalation"] for each in own} == {False}
    assert [each["capabilities"] for each in own] == [{"drop": ["ALL"]}] * len(own)


@pytest.mark.parametrize("name", PODS)
def test_a_container_says_what_it_needs(name):
    """Each container requests processor and memory, and has a limit of memory."""
    resources = [each["resources"] for each in containers(PODS[name])]

    assert all({"cpu", "memory"} <= set(each["requests"]) for each in resources)
    assert all("memory" in each["limits"] for each in resources)


@pytest.mark.parametrize("name", PODS)
def test_what_a_pod_mounts_is_there(name):
    """Every mount names a volume of the pod or a claim of its set, and config maps exist."""
    pod = PODS[name]
    claims = of_kind("StatefulSet")[name]["spec"]["volumeClaimTemplates"]
    volumes = {each["name"] for each in pod["volumes"]} | {e["metadata"]["name"] for e in claims}

    mounted = {m["name"] for each in containers(pod) for m in each["volumeMounts"]}
    maps = {each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each}

    assert mounted == volumes
    assert maps <= set(of_kind("ConfigMap"))


def test_services_and_policies_select_pods_that_exist():
    """A label that a service or a policy looks for is the label of a set's pods."""
    sets = of_kind("StatefulSet").values()
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in sets]

    wanted = [each["spec"]["selector"] for each in of_kind("Service").values()]
    policies = [each["spec"]["podSelector"] for each in of_kind("NetworkPolicy").values()]
    wanted += [each["matchLabels"] for each in policies if each]

    assert [each for each in wanted if each not in labels] == []
    assert [each["spec"]["selector"]["matchLabels"] for each in sets] == labels


def test_services_name_ports_that_exist():
    """A service's target is a port that the coordinator's container names, with the same number."""
    (container,) = PODS["coordinator"]["containers"]
    named = {each["name"]: each["containerPort"] for each in container["ports"]}

    targets = [port for each in of_kind("Service").values() for port in each["spec"]["ports"]]

    assert {port["targetPort"]: port["port"] for port in targets} == named


def test_config_maps_are_valid():
    """The run and the settings of both halves are read without a complaint."""
    coordinator, client = of_kind("ConfigMap")["coordinator"], of_kind("ConfigMap")["client"]

    run = validate(yaml.safe_load(coordinator["data"]["run.yaml"]))
    settings = yaml.safe_load(coordinator["data"]["coordinator.yaml"])
    own = yaml.safe_load(client["data"]["client.yaml"])

    assert run.cohort.min_clients == 2
    assert validated(CoordinatorSettings, settings, "coordinator.yaml").log_format == "json"
    site = validated(ClientSettings, own, "client.yaml")
    assert (site.metrics, missing(site.data, {"format": {"kind": "text"}})) == (
        "127.0.0.1:9471",
        (),
    )


def test_there_is_one_coordinator():
    """A run has one coordinator: one replica, of a kind that never starts a second beside it."""
    found = of_kind("StatefulSet")["coordinator"]["spec"]

    assert found["replicas"] == 1
