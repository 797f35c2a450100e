"""What every installed method has in common."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies.members.installed import CONFIG, cases

from antiphon.core.method_choice import MethodChoice
from antiphon.server.planning.plans import assignment_of, plan_round
from antiphon.strategies.methods.method import method_of

FACTS = st.fixed_dictionaries(
    {},
    optional={
        "memory_bytes": st.integers(0, 1 << 40) | st.none() | st.just("much"),
        "device": st.sampled_from(["cpu", "cuda", "phone", ""]),
    },
)


@pytest.fixture(scope="module", params=cases("method"), ids=str)
def case(request):
    return request.param


@pytest.fixture(scope="module", params=cases("method"), ids=str)
def method(request):
    return request.param.build()


@given(client=st.text(max_size=8), facts=FACTS)
def test_every_client_has_a_role(method, client, facts):
    """Whatever a client is called and says of its machine, there is something for it to do."""
    assert method.role_of(client, facts) in method.roles


def test_roles_are_found_by_their_names(method):
    """What an assignment asks for is one role, and the same one for everybody."""
    assert [method.role(name) for name in method.names] == list(method.roles)


def test_no_trainer_takes_more_than_the_most_steps(method):
    """Deadlines, progress and a draft's steps go by the largest of the roles."""
    assert max(each.trainer.steps for each in method.roles) == method.most_steps


def test_a_plan_asks_each_client_for_its_role(case):
    """An assignment has the role of its client, that role's steps and its learning rate."""
    method = MethodChoice(kind=case.name, **case.arguments)
    config = CONFIG.model_copy(update={"method": method})
    clients = ("harbour", "meadow", "mill")

    plan = plan_round(config, 1, clients, 1.0)

    for client in clients:
        asked, role = assignment_of(config, plan, client), method_of(config).role_of(client, {})
        assert (asked.method, asked.steps) == (role.name, role.trainer.steps)
        assert asked.learning_rate == role.trainer.learning_rate(1)
