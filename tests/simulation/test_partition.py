import numpy as np
import pytest

from antiphon.client.data.examples import Example
from antiphon.client.data.rows import Rows
from antiphon.core import registry
from antiphon.core.errors import ConfigError, DataError
from antiphon.simulation.partition import by_field, dirichlet, iid, quantity

PARTITIONS = {
    "iid": iid(),
    "dirichlet": dirichlet(alpha=1.0),
    "quantity": quantity(exponent=0.5),
}


def make_rows(count, labels=3):
    values = tuple({"site": f"s{index % 4}", "kind": index % labels} for index in range(count))
    words = tuple("abc"[:labels])
    examples = tuple(
        Example("", words[index % labels], choices=words, label=index % labels)
        for index in range(count)
    )
    return Rows(values, examples)


def rng(seed=0):
    return np.random.Generator(np.random.Philox(seed))


@pytest.mark.parametrize("name", PARTITIONS)
def test_the_seed_decides(name):
    """Another seed gives other shares."""
    split, rows = PARTITIONS[name].split, make_rows(100)

    assert split(rows, 3, rng(5)) != split(rows, 3, rng(6))


def test_a_field_names_the_clients():
    """Each value of the field is a client that holds the rows with that value."""
    shares = by_field(field="site").split(make_rows(8), None, rng())

    assert shares == {"s0": (0, 4), "s1": (1, 5), "s2": (2, 6), "s3": (3, 7)}


def test_equal_shares_differ_by_one_row():
    """Shares of equal size are equal to within one row."""
    sizes = {len(share) for share in iid().split(make_rows(11), 4, rng()).values()}

    assert sizes == {2, 3}


def test_a_small_alpha_makes_clients_unlike():
    """Clients' commonest labels weigh more at a small alpha than at a large one."""
    rows = make_rows(3000)

    def dominance(alpha):
        shares = dirichlet(alpha=alpha).split(rows, 5, rng(1)).values()
        return np.mean([np.bincount(np.array(share) % 3).max() / len(share) for share in shares])

    assert dominance(0.2) > dominance(100.0) + 0.2


def test_a_fields_values_can_be_the_labels():
    """Dirichlet shares out by a field of the rows where the config names one."""
    shares = dirichlet(alpha=5.0, label="kind").split(make_rows(90), 3, rng(2))

    assert sum(map(len, shares.values())) == 90


def test_quantity_gives_the_first_most():
    """With exponent 1, the first of two clients gets twice the rows of the second."""
    shares = quantity(exponent=1.0).split(make_rows(30), 2, rng())

    assert [len(share) for share in shares.values()] == [20, 10]


@pytest.mark.parametrize(
    ("partition", "clients", "said"),
    [
        (by_field(field="sight"), None, "its fields are site, kind"),
        (by_field(field="site"), 3, "has 4 values, but data.clients is 3"),
        (iid(), None, "set data.clients"),
        (iid(), 13, "lower data.clients"),
        (dirichlet(alpha=0.001), 10, "raise alpha"),
        (quantity(exponent=8.0), 5, "lower the exponent"),
    ],
)
def test_a_split_that_cannot_be_is_said(partition, clients, said):
    """A partition that would leave a client without rows says what to change."""
    with pytest.raises(DataError, match=said):
        partition.split(make_rows(12), clients, rng())


def test_dirichlet_needs_labels():
    """Rows without labels cannot be split by label."""
    rows = Rows(({"text": "t"},), (Example(completion="t"),))

    with pytest.raises(DataError, match="needs labels"):
        dirichlet().split(rows, 1, rng())


@pytest.mark.parametrize("arguments", [{"alpha": 0.0}, {"alpha": -1}, {"alpha": float("nan")}])
def test_an_impossible_alpha_is_a_config_error(arguments):
    """Alpha must be above zero."""
    with pytest.raises(ConfigError):
        registry.build("partition", "dirichlet", arguments)
