"""One port, one number: what the files say is what the coordinator listens on."""

import json

from tests.deploy.files import DEPLOY, compose, last_stage, of_kind

from antiphon.core.coordinator_settings import CoordinatorSettings

DEFAULTS = CoordinatorSettings()
CLIENTS, ENROLMENT, METRICS = (
    int(str(address).rpartition(":")[2])
    for address in (DEFAULTS.listen, DEFAULTS.enrolment, DEFAULTS.metrics)
)
IMAGE = last_stage(DEPLOY / "docker" / "Dockerfile.coordinator")


def test_the_image_exposes_them():
    """EXPOSE names all three."""
    assert [int(each) for each in IMAGE["EXPOSE"].split()] == [CLIENTS, ENROLMENT, METRICS]


def test_the_image_asks_for_its_health_where_it_is():
    """The image's health check asks /healthz on the port of the metrics."""
    check = json.loads(IMAGE["HEALTHCHECK"].partition("CMD ")[2])

    assert f"http://127.0.0.1:{METRICS}/healthz" in check[-1]


def test_compose_publishes_them():
    """The ports for clients are published as they are, the metrics on the loopback only."""
    services = compose()["services"]

    assert services["coordinator"]["ports"] == [
        f"{CLIENTS}:{CLIENTS}",
        f"{ENROLMENT}:{ENROLMENT}",
        f"127.0.0.1:{METRICS}:{METRICS}",
    ]
    assert services["harbour"]["environment"]["ANTIPHON_ENROLMENT"] == f"coordinator:{ENROLMENT}"


def test_kubernetes_serves_them():
    """One service has the clients' ports, the other the metrics."""
    services = of_kind("Service")

    ports = {
        name: [each["port"] for each in found["spec"]["ports"]] for name, found in services.items()
    }

    assert ports == {"coordinator": [CLIENTS, ENROLMENT], "coordinator-metrics": [METRICS]}


def test_kubernetes_lets_them_through():
    """The coordinator's network policy opens the three ports, the client's policy the way to two."""
    policies = of_kind("NetworkPolicy")
    coordinator = policies["coordinator"]["spec"]["ingress"]
    client = policies["client"]["spec"]["egress"]

    opened = [port["port"] for rule in coordinator for port in rule["ports"]]
    reached = [port["port"] for rule in client for port in rule["ports"]]

    assert opened == [CLIENTS, ENROLMENT, METRICS]
    assert {CLIENTS, ENROLMENT} <= set(reached)
