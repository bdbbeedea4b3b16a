"""TLS: the hub's own authority, other people's certificates, what happens while it runs."""

from __future__ import annotations

import datetime as dt
import ipaddress
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509

from edge_node.errors import RetryLater, SettingsError, SignallingConnectError
from edge_node.hub import addresses, reload
from edge_node.hub.addresses import local_addresses
from edge_node.hub.config import TlsConfig, hub_config
from edge_node.hub.local_ca import LocalCa, _load, _new_leaf, _store
from edge_node.hub.server import Hub
from edge_node.hub.tls import NAMES_EVERY_S, Certificates
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.wire import trust
from tests.support.clock import ManualClock
from tests.support.hub_client import client, running_hub
from tests.support.waiting import eventually

NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
NAMES = ["pi", "pi.local", "localhost"]
ADDRESSES = [ipaddress.ip_address(text) for text in ("127.0.0.1", "192.168.1.5", "fd00::5")]


def leaf(ca: LocalCa) -> x509.Certificate:
    return x509.load_pem_x509_certificate(ca.files.certificate.read_bytes())


def authority(ca: LocalCa) -> bytes:
    return ca.files.ca.read_bytes()


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


@pytest.fixture
def ca(tmp_path: Path) -> LocalCa:
    made = LocalCa(tmp_path / "tls")
    assert made.ensure(NAMES, ADDRESSES, NOW)
    return made


def test_a_leaf_is_for_the_machines_names_and_short(ca: LocalCa) -> None:
    cert = leaf(ca)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == NAMES
    assert names.get_values_for_type(x509.IPAddress) == ADDRESSES
    assert cert.not_valid_before_utc < NOW and cert.not_valid_after_utc - cert.not_valid_before_utc <= 397 * DAY
    for private in (ca.files.ca_key, ca.files.key, ca.files.ca, ca.files.certificate):
        assert private.stat().st_mode & 0o077 == 0
    assert ca.files.ca.parent.stat().st_mode & 0o777 == 0o700


def test_it_stays_while_it_is_good_and_is_renewed_in_time(ca: LocalCa) -> None:
    old, root = leaf(ca), authority(ca)
    assert not ca.ensure(NAMES, ADDRESSES, NOW + 360 * DAY)
    assert not ca.ensure(NAMES[:2], ADDRESSES[:1], NOW), "an address that is away may come back"
    assert ca.ensure(NAMES, ADDRESSES, NOW + 370 * DAY)
    assert leaf(ca).serial_number != old.serial_number and authority(ca) == root
    assert ca.ensure(NAMES, [*ADDRESSES, ipaddress.ip_address("10.0.0.9")], NOW + 370 * DAY), "a new address"
    assert authority(ca) == root, "devices keep their trust"


def test_a_clock_that_was_wrong_is_healed(ca: LocalCa) -> None:
    root = authority(ca)
    assert ca.ensure(NAMES, ADDRESSES, NOW + 4000 * DAY) and authority(ca) != root


def test_what_was_spoilt_is_made_again(ca: LocalCa) -> None:
    root = authority(ca)
    ca.files.key.write_text("garbage")
    assert ca.ensure(NAMES, ADDRESSES, NOW) and authority(ca) == root
    ca.files.ca.unlink()
    assert ca.ensure(NAMES, ADDRESSES, NOW) and authority(ca) != root
    other = LocalCa(ca.files.ca.parent.parent / "other")
    other.ensure(NAMES, ADDRESSES, NOW)
    shutil.copy(other.files.key, ca.files.key)
    shutil.copy(other.files.certificate, ca.files.certificate)
    assert ca.ensure(NAMES, ADDRESSES, NOW), "a leaf of another authority"
    shutil.copy(other.files.certificate, ca.files.ca)
    shutil.copy(other.files.key, ca.files.ca_key)
    assert ca.ensure(NAMES, ADDRESSES, NOW), "an authority that is none"


def test_a_name_outside_its_bounds_needs_a_new_authority(ca: LocalCa) -> None:
    root = authority(ca)
    assert ca.ensure([*NAMES, "door.lan"], ADDRESSES, NOW) and authority(ca) == root
    assert ca.ensure([*NAMES, "door.example.org"], [*ADDRESSES, ipaddress.ip_address("192.0.0.8")], NOW)
    assert authority(ca) != root


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_stolen_authority_cannot_be_somebodys_bank(ca: LocalCa, tmp_path: Path) -> None:
    def verdict(names: list[str], found: list[Any]) -> str:
        root = _load(ca.files.ca, ca.files.ca_key)
        assert root is not None
        _store(_new_leaf(root, names, found, NOW), tmp_path / "x.crt", tmp_path / "x.key")
        words = ["openssl", "verify", "-attime", str(int(NOW.timestamp())), "-CAfile", str(ca.files.ca)]
        done = subprocess.run([*words, str(tmp_path / "x.crt")], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert verdict(NAMES, ADDRESSES).strip().endswith("OK")
    assert "permitted subtree violation" in verdict(["bank.example"], [])
    assert "permitted subtree violation" in verdict(["pi"], [ipaddress.ip_address("8.8.8.8")])


def test_the_machine_knows_its_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = local_addresses()
    assert ipaddress.ip_address("127.0.0.1") in found and not any(a.is_link_local for a in found)
    table = tmp_path / "if_inet6"
    table.write_text("fd000000000000000000000000000002 02 40 00 80 eth0\n\n")
    assert addresses._ipv6(table) == [ipaddress.ip_address("fd00::2")] and addresses._ipv6(tmp_path / "none") == []

    def broken(*words: object) -> None:
        raise OSError

    monkeypatch.setattr("fcntl.ioctl", broken)
    assert addresses._ipv4() == []


async def test_a_hub_with_its_own_authority(tmp_path: Path) -> None:
    values: dict[str, Any] = {"state_dir": tmp_path, "tls": {"self_made": True, "http_port": 0}}
    async with running_hub(**values) as hub, aiohttp.ClientSession() as http:
        assert hub.url.startswith("wss://127.0.0.1:") and hub.console_url.startswith("https://127.0.0.1:")
        assert hub.ca_url is not None and hub.ca_url.startswith("http://127.0.0.1:")
        async with http.get(hub.ca_url) as reply:
            assert reply.status == 200 and reply.content_type == "application/x-x509-ca-cert"
            (tmp_path / "downloaded.crt").write_bytes(await reply.read())
        trust = trusting(tmp_path / "downloaded.crt")
        async with client(hub, ssl=trust) as anna, client(hub, ssl=trust, server_hostname="localhost") as ben:
            await anna.join("home")
            assert (await ben.join("home"))["joined"] == [{"peerId": anna.peer_id}]
        async with http.get(f"{hub.http_url}/metrics", ssl=trust) as reply:
            assert "edge_node_hub_certificate_expiry_timestamp_seconds" in await reply.text()
        async with http.get(f"{hub.http_url}/", ssl=trust) as reply:
            policy = reply.headers["Content-Security-Policy"]
            assert f" wss://127.0.0.1:{hub.port}" in policy and " ws://" not in policy
        async with http.post(f"{hub.http_url}/console/session", ssl=trust, json={"code": hub.code}) as reply:
            assert (await reply.json())["ca_path"] == "/ca.crt"
        async with http.get(f"{hub.http_url}/ca.crt", ssl=trust) as reply:
            assert reply.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get(hub.http_url)


async def test_our_sdk_joins_given_the_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_hub(state_dir=tmp_path, tls={"self_made": True}) as hub:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls" / "ca.crt"))
        async with SignallingClient(url=hub.url, api_key=hub.dev_key) as joined:
            await joined.publish("a", 1)


async def test_our_sdk_trusts_an_authority_of_its_settings(tmp_path: Path) -> None:
    async with running_hub(state_dir=tmp_path, tls={"self_made": True}) as hub:
        connect = trust(tmp_path / "tls" / "ca.crt")
        async with SignallingClient(url=hub.url, api_key=hub.dev_key, connect=connect) as joined:
            await joined.publish("a", 1)
        for wrong in (None, tmp_path / "nothing.crt"):
            with pytest.raises(SignallingConnectError):
                await SignallingClient(url=hub.url, api_key=hub.dev_key, connect=trust(wrong)).connect()


async def test_the_plain_port_sends_pages_to_https_and_takes_no_credential(tmp_path: Path) -> None:
    values: dict[str, Any] = {"state_dir": tmp_path, "tls": {"self_made": True, "http_port": 0}}
    async with running_hub(**values) as hub, aiohttp.ClientSession() as http:
        assert hub.ca_url is not None
        plain = hub.ca_url.removesuffix("/ca.crt")
        for host, place in (("pi.local:80", "pi.local"), ("pi.local", "pi.local"), ("[fd00::5]:80", "[fd00::5]")):
            async with http.get(f"{plain}/a?b=c", headers={"Host": host}, allow_redirects=False) as reply:
                assert (reply.status, reply.headers["Location"]) == (308, f"https://{place}:{hub.port}/a?b=c")
        for path, headers in (
            ("/v1?key=pk_dev_test", {}),
            ("/v1", {"Upgrade": "websocket", "Connection": "Upgrade"}),
            ("/", {"Host": "x\ty"}),
        ):
            async with http.get(f"{plain}{path}", headers=headers, allow_redirects=False) as reply:
                assert reply.status in (400, 403), path
        async with http.post(f"{plain}/console/session", json={}) as reply:
            assert reply.status == 405


async def test_garbage_and_plain_http_on_the_tls_port_harm_nobody(tmp_path: Path) -> None:
    async with running_hub(state_dir=tmp_path, tls={"self_made": True}) as hub:
        assert hub.ca_url is None
        trust = trusting(tmp_path / "tls" / "ca.crt")
        async with client(hub, ssl=trust) as anna, aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.ClientError):
                await http.get(f"http://127.0.0.1:{hub.port}/")
            assert (await anna.ask(type="ping"))["type"] == "pong"


@pytest.fixture
def pair(ca: LocalCa, tmp_path: Path) -> dict[str, Path]:
    """A certificate as from somebody else."""
    ca.ensure(["door.example.org"], ADDRESSES[:1], dt.datetime.now(dt.UTC))
    found = {"certificate": tmp_path / "door.crt", "key": tmp_path / "door.key"}
    shutil.copy(ca.files.certificate, found["certificate"])
    shutil.copy(ca.files.key, found["key"])
    return found


async def test_ones_own_certificate_is_taken_again_when_its_files_change(
    pair: dict[str, Path], ca: LocalCa, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "EVERY_S", 0.05)
    async with running_hub(tls=pair) as hub:
        assert hub.url == f"wss://door.example.org:{hub.port}" and hub.ca_path is None
        certificates = hub._certificates
        assert certificates is not None and certificates.ca_pem is None
        ends = certificates.expires_at
        pair["key"].write_text("half written")
        await eventually(lambda: "certificate in use stays" in caplog.text)
        assert certificates.expires_at == ends
        ca.ensure(["door.example.org"], ADDRESSES, dt.datetime.now(dt.UTC) + 400 * DAY)
        shutil.copy(ca.files.key, pair["key"])
        shutil.copy(ca.files.certificate, pair["certificate"])
        await eventually(lambda: certificates.expires_at != ends)
        hub.reload()
        async with aiohttp.ClientSession() as http:
            address = f"https://127.0.0.1:{hub.port}"
            async with http.get(f"{address}/healthz", ssl=False) as reply:
                assert reply.status == 200
            async with http.get(f"{address}/ca.crt", ssl=False) as reply:
                assert reply.status == 404


@pytest.mark.parametrize("spoil", ["certificate", "key", "both", "encrypted"])
def test_an_unusable_certificate_is_one_sentence(pair: dict[str, Path], spoil: str) -> None:
    if spoil == "encrypted":
        pair["key"].write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
    for name in ("certificate", "key") if spoil == "both" else (spoil,):
        if name in pair:
            pair[name].unlink()
    with pytest.raises(SettingsError, match="PEM"):
        Hub(hub_config({"tls": pair}))


async def test_a_taken_plain_port_leaves_nothing_open(tmp_path: Path) -> None:
    async with running_hub() as other:
        hub = Hub(hub_config({"port": 0, "state_dir": tmp_path, "tls": {"self_made": True, "http_port": other.port}}))
        with pytest.raises(RetryLater):
            await hub.start()
        await hub.stop()


def test_a_self_made_certificate_follows_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    certificates = Certificates(TlsConfig(self_made=True, names=("Door.lan", "10.1.2.3")), tmp_path, clock)
    before = certificates.expires_at
    names = leaf(LocalCa(tmp_path / "tls")).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "door.lan" in names.get_values_for_type(x509.DNSName)
    assert ipaddress.ip_address("10.1.2.3") in names.get_values_for_type(x509.IPAddress)
    clock.advance(NAMES_EVERY_S)
    certificates.refresh()
    assert certificates.expires_at == before
    clock.advance(370 * 86_400)
    certificates.refresh()
    assert certificates.expires_at > before
    here = [ipaddress.ip_address("127.0.0.1")]
    monkeypatch.setattr("edge_node.hub.tls.local_addresses", lambda: here)
    assert certificates.address is not None and certificates.address.endswith(".local")
    here.append(ipaddress.ip_address("fd00::7"))
    assert certificates.address == "[fd00::7]"
    here[1] = ipaddress.ip_address("192.168.7.7")
    assert certificates.address == "192.168.7.7"
    assert (
        Hub(
            hub_config(
                {"host": "0.0.0.0", "port": 9, "key": [{"id": "pk_live_1"}], "state_dir": tmp_path}
                | {"tls": {"self_made": True}}
            )
        ).url
        == "wss://192.168.7.7:9"
    )
