"""What the charts say by colour: the same thing in every run and every round."""

from __future__ import annotations

from typing import Any

from antiphon.dashboard import charts
from antiphon.dashboard.gantt import Span
from antiphon.dashboard.learning import Curve
from antiphon.dashboard.traffic import TrafficRow


def colours(drawing: Any, *layer: int) -> dict[str, str]:
    """What stands for what in a drawing's colours."""
    spec = drawing.to_dict()
    for number in layer:
        spec = spec["layer"][number]
    scale = spec["encoding"]["color"]["scale"]
    return dict(zip(scale["domain"], scale["range"], strict=True))


def test_bytes_keep_their_colour_whatever_else_has_moved() -> None:
    """Updates have one colour, alone or beside models and messages."""
    update = TrafficRow(1, "up", "update", 10)
    others = [TrafficRow(1, "down", "control", 1), TrafficRow(1, "down", "model", 5), update]

    alone, among = colours(charts.traffic([update])), colours(charts.traffic(others))

    assert alone.items() <= among.items()
    assert len(set(among.values())) == 3


def test_an_ending_keeps_its_colour_when_it_is_slow() -> None:
    """Slow is an edge; the colour still says how the work ended, and no two endings share one."""
    late = Span("a", 0.0, 9.0, "late", slow=True)
    accepted = Span("b", 0.0, 2.0, "accepted", slow=True)
    carried = [Span("c", 0.0, 2.0, "carried on"), Span("d", 0.0, 2.0, "working")]

    drawn = colours(charts.gantt([late, accepted, *carried], None), 0)

    assert set(drawn) == {"late", "accepted", "carried on", "working"}
    assert len(set(drawn.values())) == 4


def test_a_client_keeps_its_colour_when_another_appears() -> None:
    """A client without a number yet has its colour already."""
    mean = Curve("loss", None, (0, 1), (2.0, 1.0))
    b = Curve("loss", "b", (0, 1), (2.0, 1.0))
    later, measured = Curve("loss", "a", (), ()), Curve("loss", "a", (1,), (1.0,))

    before = charts.learning("loss", mean, [later, b], None)
    after = charts.learning("loss", mean, [measured, b], None)

    assert colours(before, 0) == colours(after, 0)


def test_a_whole_name_of_a_client_fits() -> None:
    """The longest name that a fleet takes, 64 characters, has room beside the chart."""
    (bars, *_) = charts.gantt([Span("x" * 64, 0.0, 1.0, "accepted")], None).to_dict()["layer"]

    assert bars["encoding"]["y"]["axis"]["labelLimit"] >= 64 * 6
