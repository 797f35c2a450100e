"""The coordinator's certificate: kept while it is fresh, made anew in time, never in the way."""

import asyncio
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from antiphon.core.identity import IdentityError
from antiphon.server.enrolment.authority import bundle_file
from antiphon.server.enrolment.failure_limit import FailureLimit
from antiphon.server.enrolment.server_certificate import LIFE_S
from antiphon.server.enrolment.service import EnrolmentService, serve_enrolment


def serial(keys) -> int:
    """Return the serial number of a certificate that is shown."""
    return x509.load_pem_x509_certificate(keys.chain).serial_number


def shown(port) -> int:
    """Return the serial number of the certificate that a server shows."""
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=5)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def test_fresh(fleet):
    """While it is fresh, the same object is given."""
    now = fleet.clock.now()

    assert fleet.certificate.at(now) is fleet.certificate.at(now + LIFE_S / 2)


def test_past_two_thirds(fleet):
    """Past two thirds of its life another one is given, with the root behind it."""
    old = fleet.certificate.at(fleet.clock.now())

    new = fleet.certificate.at(fleet.clock.now() + LIFE_S * 0.67)

    assert serial(new) != serial(old)
    assert x509.load_pem_x509_certificates(new.chain)[1] == fleet.authority.root


def test_not_valid_yet(fleet):
    """One that was signed while the clock was a day ahead is replaced by one that holds now."""
    fleet.certificate.at(fleet.clock.now() + LIFE_S * 0.67)

    leaf = x509.load_pem_x509_certificate(fleet.certificate.at(fleet.clock.now()).chain)

    assert leaf.not_valid_before_utc.timestamp() <= fleet.clock.now()


def test_another_root(fleet, make_fleet):
    """A root that is added to the bundle is trusted within a second; the coordinator's leaf stays."""
    old = fleet.certificate.at(fleet.clock.now())
    other = make_fleet("other").authority.root.public_bytes(Encoding.PEM)
    file = bundle_file(fleet.authority.folder)
    file.write_bytes(file.read_bytes() + other)

    new = fleet.certificate.at(fleet.clock.now() + 1.5)

    assert new.roots == old.roots + other
    assert new.chain == old.chain


def test_damaged_bundle(fleet):
    """A damaged bundle is an error for whoever asks directly."""
    bundle_file(fleet.authority.folder).write_text("nothing")

    with pytest.raises(IdentityError, match=r"roots\.pem"):
        fleet.certificate.at(fleet.clock.now() + 1.5)


def test_live(fleet):
    """A running server shows the new certificate; with the bundle gone it goes on with what it has."""

    async def scenario() -> list[int]:
        service = EnrolmentService(fleet.registrar, FailureLimit(fleet.clock.now))
        async with serve_enrolment("127.0.0.1:0", service, fleet.certificate) as port:
            seen = [await asyncio.to_thread(shown, port)]
            fleet.clock.advance_to(fleet.clock.now() + LIFE_S * 0.67)
            seen.append(await asyncio.to_thread(shown, port))
            bundle_file(fleet.authority.folder).unlink()
            fleet.clock.advance_to(fleet.clock.now() + LIFE_S)
            return [*seen, await asyncio.to_thread(shown, port)]

    first, second, third = asyncio.run(scenario())

    assert first != second == third
