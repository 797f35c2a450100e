"""A measurement that cannot be true costs its client the evaluation, and nobody else anything."""

import asyncio

import grpc
import pytest
from tests.server.coordinator.conftest import journalled, refusal, sites

from antiphon.core.events import Evaluated
from antiphon.v1 import coordinator_pb2 as pb


@pytest.mark.parametrize("lie", [{"accuracy": 1e9}, {"loss": -1.0}])
def test_who_measures_nonsense_is_not_waited_for(serve, lie):
    """It is refused, and the round goes on without that client."""

    async def scenario():
        before = "evaluation.before_first_round=true"
        async with serve(before) as running, sites(running, "north", "south") as (north, south):
            await asyncio.gather(north.join(), south.join())
            task = await north.next("evaluate")
            request = pb.SubmitEvaluationRequest(run_id="run", round=task.round, metrics=lie)
            code, _ = await refusal(north.stub.SubmitEvaluation(request))
            await south.measure()
            await south.next("train")
            return code, journalled(running.folder, Evaluated)

    code, measured = asyncio.run(scenario())

    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert [each.client for each in measured] == ["south"]
