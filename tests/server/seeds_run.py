"""What the two clients of the `federation` fixture send."""

import numpy as np
from tests.strategies.served import walk

from antiphon.core.types import Update
from antiphon.core.wire import pack_update
from antiphon.server.machine.actions import Fold

CLIENTS = ("north", "south")


def sent(federation, client="north", value=1.0, number=1, examples=10):
    scalars = walk(np.array([3], dtype=np.uint32), np.array([value], dtype=np.float32))
    update = Update(client, number, examples, 1, scalars, {"loss": 2.0})
    return pack_update(update, federation.run_id, pack=None).message


def fold_round(federation, number):
    for client in CLIENTS:
        federation.submit(federation.receive(client, sent(federation, client, number=number)))
    federation.submit_many(federation.perform(Fold(number, CLIENTS)))
