"""A fleet gets a new root as the operator's page says, without a client that has to join again."""

import asyncio
import secrets
import shutil
from dataclasses import replace

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from antiphon.core.channel import secure_channel
from antiphon.server.enrolment.authority import bundle_file, create_authority, open_authority
from antiphon.server.enrolment.registrar import Registrar
from antiphon.server.enrolment.server_certificate import ServerCertificate

LET_IN, KEPT_OUT = grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE


class Client:
    """A machine with a certificate, and the roots that came with it."""

    def __init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())

    def join(self, fleet):
        self._keep(fleet.registrar.enrol(fleet.token(), fleet.request(self._key)))
        return self

    def renew(self, fleet):
        self._keep(fleet.registrar.renew("edge", fleet.request(self._key)))

    def _keep(self, reply):
        certificates = [x509.load_der_x509_certificate(each) for each in reply.roots]
        self._roots = b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
        self._leaf = x509.load_der_x509_certificate(reply.certificate).public_bytes(Encoding.PEM)

    def calls(self, fleet) -> grpc.StatusCode:
        """Call a coordinator that knows no method: what comes back tells whether TLS let it through."""
        private = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        shown = grpc.ssl_channel_credentials(self._roots, private, self._leaf)

        async def scenario():
            server = grpc.aio.server()
            port = server.add_secure_port(
                "127.0.0.1:0", fleet.certificate.credentials(clients=True)
            )
            await server.start()
            try:
                async with secure_channel(f"127.0.0.1:{port}", shown, "ward") as channel:
                    await channel.unary_unary("/none/None")(b"", timeout=10)
            except grpc.aio.AioRpcError as error:
                return error.code()
            finally:
                await server.stop(None)

        return asyncio.run(scenario())


@pytest.fixture
def add_root(fleet, tmp_path):
    """Make another root of the same name, which the fleet trusts from then on; give its folder."""

    def add():
        folder = tmp_path / "next"
        create_authority(folder, "ward", None, fleet.clock.now())
        with bundle_file(fleet.authority.folder).open("ab") as bundle:
            bundle.write((folder / "root.pem").read_bytes())
        return folder

    return add


def switched(fleet, new):
    """The fleet's coordinator, begun again after the new root was put in place."""
    folder, now = fleet.authority.folder, fleet.clock.now
    for name in ("root.key", "root.pem"):
        shutil.copy(new / name, folder / name)
    authority = open_authority(folder, None)
    registrar = Registrar(authority, fleet.ledger, now, secrets.token_bytes, coordinator_port=8470)
    certificate = ServerCertificate(authority, folder, now)
    return replace(fleet, authority=authority, registrar=registrar, certificate=certificate)


def test_who_renewed_in_the_overlap_stays(fleet, add_root):
    """A certificate of the old root is good at a coordinator of the new one, and is renewed there."""
    client = Client().join(fleet)
    new = add_root()
    client.renew(fleet)
    overlapping = switched(fleet, new)

    seen = [client.calls(overlapping)]
    client.renew(overlapping)
    bundle_file(fleet.authority.folder).write_bytes((new / "root.pem").read_bytes())
    seen.append(client.calls(switched(fleet, new)))

    assert seen == [LET_IN, LET_IN]


def test_who_was_away_in_the_overlap_joins_again(fleet, add_root):
    """A client that knows the old root only does not take the coordinator of the new one for its own."""
    client = Client().join(fleet)
    after = switched(fleet, add_root())

    refused = client.calls(after)
    client.join(after)

    assert (refused, client.calls(after)) == (KEPT_OUT, LET_IN)


def test_the_old_root_is_worth_nothing_in_the_end(fleet, add_root):
    """Once it is out of the bundle, a certificate that it signed is refused."""
    client, new = Client().join(fleet), add_root()
    client.renew(fleet)
    bundle_file(fleet.authority.folder).write_bytes((new / "root.pem").read_bytes())

    assert client.calls(switched(fleet, new)) == KEPT_OUT
