"""What connections may send and how many there may be: by the fact, without a network."""

from __future__ import annotations

import pytest

from antiphon.core.clock import VirtualClock
from antiphon.server.front.lines import (
    LARGE,
    LARGE_BYTES,
    LARGE_EACH,
    PRESSED_S,
    SEATS_EACH,
    SETTLED_BYTES,
    SETTLED_S,
    SILENT_S,
    STRANGER_BYTES,
    STUCK_S,
    WAIT_S,
    YOUNG_BYTES,
    Line,
    Lines,
    Room,
)
from antiphon.server.front.peers import Peer, name_of


class Server:
    """Connections by number, from one address unless said otherwise."""

    def __init__(self) -> None:
        self.clock = VirtualClock(100.0)
        self.lines = Lines(self.clock.now, each_caller=2, each_address=30)
        self.of: dict[int, Line] = {}
        self.resumed: set[int] = set()
        self.cut: dict[int, str] = {}

    def comes(self, *numbers: int, address: str = "192.0.2.1") -> None:
        for number in numbers:
            line = self.lines.comes(number, Peer(address, number))
            if line is not None:
                self.of[number] = line

    def sends(self, number: int, size: int) -> int:
        """Send as much of it as is let through; return that."""
        sent = 0
        while sent < size and (may := self.lines.may_send(self.of[number])) > 0:
            step = min(may, size - sent)
            self.lines.moved(self.of[number], step, 0)
            sent += step
        return sent

    def call(self, number: int, caller: str = "edge", room: Room = Room(0)):  # noqa: B008 (frozen)
        name = "unix-abstract:" + name_of("ab", number, Peer("192.0.2.1", number))
        return self.lines.call(name, caller, room)

    def called(self, number: int, caller: str = "edge", size: int = 0) -> None:
        """Make a whole call."""
        with self.call(number, caller) as took:
            took(size)

    def settled(self, number: int, caller: str = "edge") -> None:
        """Connect, and wait until its settings must have been acknowledged."""
        self.comes(number)
        self.called(number, caller)
        self.passes(SETTLED_S + 0.1)

    def passes(self, seconds: float) -> None:
        """Let time pass, and look."""
        self.clock.advance_to(self.clock.now() + seconds)
        self.lines.look()
        self.obey()

    def obey(self) -> None:
        """Note what the front would do."""
        orders = self.lines.orders()
        self.resumed |= {each.number for each in orders.resume}
        for each in orders.cut:
            self.cut[each.number] = each.cut
            self.lines.gone(each)

    def ends(self, number: int) -> None:
        """Its caller goes away."""
        self.lines.gone(self.of[number])


@pytest.fixture
def server() -> Server:
    """A server with small budgets."""
    return Server()


def test_a_stranger_sends_a_handshake_and_a_record(server):
    """Before a call of it is let in, a connection gets so much through, however much it sends."""
    server.comes(1)

    assert server.sends(1, 10_000_000) == LARGE_BYTES


def test_few_strangers_send_a_large_record_at_once(server):
    """Of an address's strangers few get more than a handshake and a small call through at once."""
    server.comes(*range(10))

    sent = [server.sends(number, 1_000_000) for number in range(10)]

    assert sent == [LARGE_BYTES] * LARGE_EACH + [STRANGER_BYTES] * (10 - LARGE_EACH)


def test_what_a_flood_gets_through_is_bounded(server):
    """Thousands of strangers of many addresses get through what so many seats allow, and no byte more."""
    numbers = range(2_000)
    for number in numbers:
        server.comes(number, address=f"192.0.{number % 200}.{number // 200}")

    sent = sum(server.sends(number, 1_000_000) for number in numbers if number in server.of)

    assert sent == (96 - LARGE) * STRANGER_BYTES + LARGE * LARGE_BYTES


def test_a_stranger_waits_for_a_seat(server):
    """Who finds all seats of its address taken sends nothing, and goes on when one is left."""
    server.comes(*range(SEATS_EACH + 1))
    waits = server.sends(SEATS_EACH, 1_000)
    server.called(3)
    server.obey()

    assert (waits, server.resumed, server.sends(SEATS_EACH, 1_000)) == (0, {SEATS_EACH}, 1_000)


def test_a_large_place_that_is_left_goes_on(server):
    """Who waits to send a large record goes on as soon as another's call is let in."""
    last = LARGE_EACH + 1
    server.comes(*range(1, last + 1))
    for number in range(1, last + 1):
        server.sends(number, LARGE_BYTES)
    server.called(1)
    server.obey()

    assert last in server.resumed
    assert server.sends(last, LARGE_BYTES) == LARGE_BYTES - STRANGER_BYTES


def test_a_call_that_is_let_in_lets_its_connection_go_on(server):
    """What stood still behind the headers of a call goes on when the call is let in."""
    server.comes(1)
    server.sends(1, 10_000_000)

    with server.call(1):
        server.obey()

    assert server.resumed == {1}


def test_a_young_clients_block_is_bounded(server):
    """Right after an honest call a client gets little through besides, though open calls have room."""
    server.comes(1)
    server.called(1)

    with server.call(1, room=Room(4_000_000)), server.call(1, room=Room(4_000_000, stream=True)):
        sent = server.sends(1, 10_000_000)

    assert sent <= YOUNG_BYTES


def test_cheap_calls_are_not_saved_up(server):
    """A thousand calls that are paid for earn no more than one connection may have."""
    server.comes(1)
    for _ in range(1_000):
        server.called(1, size=100_000)

    assert server.sends(1, 10_000_000) == YOUNG_BYTES


def test_cheap_calls_are_not_saved_up_later_either(server):
    """Nor where the settings have been acknowledged, nor with time."""
    server.settled(1)
    for _ in range(1_000):
        server.called(1, size=100_000)
    server.passes(100_000.0)

    assert server.sends(1, 10_000_000) == SETTLED_BYTES


def test_messages_are_paid_for(server):
    """What its calls have taken is not held against a connection, young or not."""
    server.comes(1)

    with server.call(1, room=Room(1_000_000, stream=True)) as took:
        for _ in range(1_000):
            assert server.sends(1, 10_000) == 10_000
            took(10_000)


def test_a_large_message_of_a_young_client_waits(server):
    """It stands still until its settings must have been acknowledged, and then goes on."""
    server.comes(1)

    with server.call(1, room=Room(4_000_000)):
        before = server.sends(1, 4_000_000)
        server.passes(SETTLED_S + 0.1)
        after = server.sends(1, 4_000_000 - before)

    assert before <= YOUNG_BYTES
    assert before + after == 4_000_000
    assert (server.resumed, server.cut) == ({1}, {})


def test_behind_its_message_a_call_has_no_room(server):
    """While a call waits for its message, the message may be under way; behind it nothing may."""
    server.settled(1)

    with server.call(1, room=Room(4_000_000)) as took:
        took(0)
        sent = server.sends(1, 10_000_000)

    assert sent <= SETTLED_BYTES


def test_what_was_under_way_to_a_call_that_is_refused(server):
    """Uploads that are refused at their first message, again and again, do not stop their connection."""
    server.settled(1)

    for _ in range(100):
        with server.call(1, room=Room(1 << 20, stream=True)):
            pass
        assert server.sends(1, 512 << 10) == 512 << 10

    assert server.cut == {}


def test_what_is_read_pays_for_its_windows(server):
    """A reader may say how much it has read, however much that is."""
    server.comes(1)
    server.called(1)

    for _ in range(1_000):
        server.lines.moved(server.of[1], 0, 1 << 20)
        assert server.sends(1, 4_000) == 4_000


def test_a_silent_connection(server):
    """A connection on which nobody is let in is cut after 15 s; a client's stays."""
    server.comes(1, 2)
    server.called(2)

    server.passes(SILENT_S + 1)

    assert server.cut == {1: "no call within 15 s"}


def test_a_silent_connection_in_the_way(server):
    """Where others wait for its seat, it is cut after 5 s."""
    server.comes(*range(SEATS_EACH + 1))

    server.passes(PRESSED_S + 1)

    assert set(server.cut) == set(range(SEATS_EACH))
    assert server.sends(SEATS_EACH, 1_000) == 1_000


def test_nobody_waits_for_ever(server):
    """Who does not get a seat in time is told so by the end of its connection."""
    server.comes(*range(SEATS_EACH + 1))
    for number in range(SEATS_EACH):
        server.lines._let_in(server.of[number], "")
        server.of[number].open = 1

    server.passes(WAIT_S + 1)

    assert server.cut == {SEATS_EACH: "no call within 30 s"}


def test_a_flood_of_a_client_ends_and_bars_it(server):
    """A client whose connection stands still for what it sent is cut, and not let in for a minute."""
    server.settled(1)
    server.sends(1, 10_000_000)
    for _ in range(40):
        server.passes(0.5)
        server.sends(1, 10_000_000)

    assert "bytes that no call asked for" in server.cut[1]
    assert server.lines.barred_s("other") == 0.0
    assert 0 < server.lines.barred_s("edge") <= 60.0
    server.passes(60.0)
    assert server.lines.barred_s("edge") == 0.0


def test_an_honest_pause_is_no_flood(server):
    """A client that stood still once and sends no more is not cut."""
    server.settled(1)
    server.sends(1, 10_000_000)

    server.passes(STUCK_S - 1)
    server.passes(STUCK_S)

    assert server.cut == {}


def test_a_clients_young_connections_share(server):
    """However often it connects anew, a client gets little through that no call asked for."""
    sent = 0
    for number in range(1, 100):
        server.comes(number)
        server.called(number)
        sent += server.sends(number, 10_000_000)
        server.ends(number)

    assert sent <= YOUNG_BYTES + 100 * 1_024


def test_a_line_that_breaks_with_a_part_on_its_way_takes_the_next_part_soon(server):
    """A client whose line is cut again and again gets on, though what was under way is lost each time."""
    part = 64 << 10
    for number in range(1, 20):
        server.comes(number)
        server.called(number)
        server.passes(2.0)

        with server.call(number, room=Room(4_000_000, stream=True)):
            assert server.sends(number, part) == part
            server.ends(number)


def test_a_client_that_has_flooded_calls_on(server):
    """Its next connections carry small calls, and after some time a large one."""
    server.comes(1)
    server.called(1)
    server.sends(1, 10_000_000)
    server.ends(1)
    server.comes(2)
    server.called(2)
    for _ in range(10):
        server.passes(0.5)
        assert server.sends(2, 300) == 300
        server.called(2)

    server.passes(60.0)
    assert server.sends(2, YOUNG_BYTES) == YOUNG_BYTES


def test_connections_of_a_client(server):
    """Of a client's connections the one that was used longest ago is cut."""
    for number in (3, 1, 2):
        server.comes(number)
        server.called(number)
        server.clock.advance_to(server.clock.now() + 1)
    server.obey()

    assert server.cut == {3: "client edge has 3 connections, expected 2 at most"}


def test_connections_at_work_stay(server):
    """One that has a call open is cut after those that have none."""
    server.comes(1, 2, 3)
    with server.call(1):
        server.clock.advance_to(101.0)
        server.called(2)
        server.called(3)
        server.obey()

    assert set(server.cut) == {2}


def test_connections_of_an_address(server):
    """Of an address's connections on which nobody was let in one goes for one that comes too many."""
    server.comes(99)
    server.called(99)
    server.comes(*range(31))
    server.obey()

    assert list(server.cut.values()) == ["192.0.2.1 has 31 connections, expected 30 at most"]
    assert {30, 99}.isdisjoint(server.cut)


def test_connections_of_all(server):
    """Where there are as many as may be, who waits longest goes; where nobody waits, nobody is taken."""
    server.lines.most = SEATS_EACH + 1
    server.comes(*range(SEATS_EACH + 2))
    server.obey()
    few = set(server.cut)
    server.lines.most = 1
    server.lines._waiting.clear()
    server.comes(500)

    assert (few, 500 in server.of) == ({SEATS_EACH}, False)


def test_an_address_that_floods_again_and_again_is_shut_out(server):
    """After four connections that ended owing too much, for a minute; a neighbour is not."""
    for number in range(1, 5):
        server.comes(number)
        server.sends(number, 1_000_000)
        server.ends(number)
    server.comes(5)
    server.comes(6, address="192.0.2.2")

    assert set(server.of) == {1, 2, 3, 4, 6}
    server.passes(60.0)
    server.comes(7)
    assert 7 in server.of


def test_handshakes_that_come_to_nothing_are_forgiven(server):
    """A site whose certificates have run out is not shut out for some hundred of them a minute."""
    for number in range(500):
        server.comes(number)
        server.sends(number, 3_300)
        server.ends(number)

    server.comes(501)

    assert 501 in server.of


def test_a_client_shuts_no_address_out(server):
    """Who is known by name is barred by name: others may have the same address."""
    for number in range(1, 6):
        server.comes(number)
        server.called(number)
        server.sends(number, 5_000_000)
        server.ends(number)

    server.comes(7)

    assert 7 in server.of


def test_what_is_gone_is_forgotten(server):
    """Nothing is kept of connections that have ended, nor does time matter without any."""
    server.comes(*range(SEATS_EACH + 3))
    server.called(1)
    server.sends(2, 1_000_000)
    for number in server.of:
        server.ends(number)

    tables = ("_lines", "_strangers", "_of", "_waiting", "_paused", "_resume", "_to_cut")
    assert not any(getattr(server.lines, each) for each in tables)
    assert not server.lines.restless()


def test_a_client_at_rest_needs_no_look(server):
    """Time matters to strangers and to who stands still; not to clients that wait."""
    server.comes(1)
    before = server.lines.restless()
    server.called(1)

    assert (before, server.lines.restless()) == (True, False)
