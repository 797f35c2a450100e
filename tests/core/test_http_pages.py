"""Pages over plain HTTP, on real sockets."""

import http.client
import socket
import threading
from contextlib import contextmanager

import pytest

from antiphon.core.http_pages import HttpPages, Page

pytestmark = pytest.mark.slow


@contextmanager
def served(pages, address="127.0.0.1:0"):
    server = HttpPages(address, pages)
    try:
        yield server
    finally:
        server.close()


def get(port, path, host="127.0.0.1"):
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


def test_a_page_is_made_anew_for_each_request():
    """Content, type and code are the page's; what follows a ? does not matter."""
    numbers = iter((b"1", b"2"))

    with served({"/here": lambda: Page(next(numbers), "text/x", 503)}) as server:
        answers = [get(server.port, path) for path in ("/here", "/here?now")]

    assert answers == [(503, "text/x", b"1"), (503, "text/x", b"2")]


def test_another_path_is_not_found():
    """The answer names the pages that there are."""
    with served({"/b": lambda: Page(b""), "/a": lambda: Page(b"")}) as server:
        code, _, said = get(server.port, "/c")

    assert (code, said) == (404, b"there are /a, /b\n")


def test_a_silent_caller_holds_up_nobody():
    """Who connects and says nothing has a thread of its own."""
    with (
        served({"/": lambda: Page(b"ok")}) as server,
        socket.create_connection(("127.0.0.1", server.port)),
    ):
        assert get(server.port, "/")[0] == 200


def test_callers_are_served_side_by_side():
    """A page that takes long does not hold up another."""
    release = threading.Event()

    def slow() -> Page:
        assert release.wait(5)
        return Page(b"slow")

    with served({"/slow": slow, "/quick": lambda: Page(b"quick")}) as server:
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(get(server.port, "/slow")[2]))
        waiting.start()
        answers.append(get(server.port, "/quick")[2])
        release.set()
        waiting.join()

    assert answers == [b"quick", b"slow"]


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_ipv6_is_in_brackets():
    """[::1]:0 listens on the loopback of IPv6."""
    with served({"/": lambda: Page(b"ok")}, "[::1]:0") as server:
        assert get(server.port, "/", "::1")[0] == 200


def test_a_port_that_is_taken():
    """It cannot be listened on twice."""
    with served({}) as server, pytest.raises(OSError, match="in use"):
        HttpPages(f"127.0.0.1:{server.port}", {})
