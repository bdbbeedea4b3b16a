"""Basic and Digest, against the examples of the RFCs."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.media.rtsp.auth import Authenticator, parse_challenges
from edge_node.protocol.rtsp_address import Credentials


def authenticator(user: str = "u", password: str = "p", cnonce: str = "c") -> Authenticator:
    return Authenticator(Credentials(user, password), lambda: cnonce)


def fields(value: str) -> dict[str, str]:
    return {key: quoted or bare for key, quoted, bare in re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^,\s]+))', value)}


# RFC 7616 section 3.9.1
MUFASA = Credentials("Mufasa", "Circle of Life")
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
EXAMPLE = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_example_of_rfc_7616(algorithm: str, response: str) -> None:
    auth = Authenticator(MUFASA, lambda: CNONCE)
    assert auth.accept([EXAMPLE.format(algorithm)])
    value = auth.authorization("GET", "/dir/index.html")
    assert value is not None
    given = fields(value)
    assert given["response"] == response
    assert (given["nc"], given["qop"], given["algorithm"]) == ("00000001", "auth", algorithm)
    assert given["opaque"] == "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
    again = auth.authorization("GET", "/dir/index.html")
    assert again is not None
    assert fields(again)["nc"] == "00000002"


def test_the_example_of_rfc_2617() -> None:
    auth = Authenticator(Credentials("Mufasa", "Circle Of Life"), lambda: "0a4f113b")
    nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
    assert auth.accept([f'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="{nonce}"'])
    value = auth.authorization("GET", "/dir/index.html")
    assert value is not None
    assert fields(value)["response"] == "6629fae49393a05397450978507c4ef1"


def test_the_old_digest_without_qop() -> None:
    auth = authenticator("Mufasa", "CircleOfLife")
    nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
    assert auth.accept([f'Digest realm="testrealm@host.com", nonce="{nonce}"'])
    value = auth.authorization("GET", "/dir/index.html")
    assert value is not None
    given = fields(value)
    assert given["response"] == "1949323746fe6a43ef61f9606e7febea"  # the erratum of RFC 2069
    assert not {"qop", "nc", "cnonce", "opaque", "algorithm"} & set(given)


@pytest.mark.parametrize(("offer", "qop"), [("auth-int", "auth-int"), ("auth-int, Auth", "auth"), ("auth", "auth")])
def test_a_server_that_protects_bodies(offer: str, qop: str) -> None:
    auth = authenticator()
    assert auth.accept([f'Digest realm="r", nonce="n", qop="{offer}", algorithm=SHA-256'])
    given = fields(auth.authorization("PLAY", "rtsp://c/s") or "")

    def digest(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    what = "PLAY:rtsp://c/s" + (f":{digest('')}" if qop == "auth-int" else "")
    one = digest("u:r:p")
    assert given["qop"] == qop
    assert given["response"] == digest(f"{one}:n:00000001:{given['cnonce']}:{qop}:{digest(what)}")


def test_session_keys_differ() -> None:
    values = []
    for algorithm in ("MD5", "MD5-sess"):
        auth = authenticator()
        assert auth.accept([f'Digest realm="r", nonce="n", qop="auth", algorithm={algorithm}'])
        values.append(fields(auth.authorization("PLAY", "rtsp://c/s") or "")["response"])
    assert values[0] != values[1]


def test_basic() -> None:
    auth = authenticator("Aladdin", "open sesame")
    assert auth.authorization("PLAY", "rtsp://c/s") is None
    assert auth.accept(['Basic realm="x"'])
    assert auth.authorization("PLAY", "rtsp://c/s") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


@pytest.mark.parametrize(
    ("offers", "starts"),
    [
        (['Basic realm="x"', 'Digest realm="x", nonce="n"'], "Digest"),
        (['Digest realm="x", nonce="n", Basic realm="x"'], "Digest"),
        (['Digest nonce="1"', 'Digest nonce="2", algorithm=SHA-256'], 'Digest username="u", realm="", nonce="2"'),
        (['Digest nonce="1", algorithm=SHA-512-256', "Basic"], "Basic"),
        (['Digest nonce="1", qop="auth-conf"', "Basic"], "Basic"),
        (['Digest nonce="1", qop="auth-int"', "Basic"], "Digest"),
        (['Digest realm="no nonce"', "Basic"], "Basic"),
    ],
)
def test_takes_the_strongest(offers: list[str], starts: str) -> None:
    auth = authenticator()
    assert auth.accept(offers)
    assert (auth.authorization("PLAY", "rtsp://c/s") or "").startswith(starts)


@pytest.mark.parametrize("offers", [[], [""], ["Negotiate"], ['Digest nonce="1", algorithm=MD4'], [", = ,,"]])
def test_refuses_what_it_cannot_answer(offers: list[str]) -> None:
    auth = authenticator()
    assert not auth.accept(offers)
    assert auth.authorization("PLAY", "rtsp://c/s") is None


def test_quotes_are_escaped_both_ways() -> None:
    (challenge,) = parse_challenges([r'Digest realm="a \"b\" \\c", nonce=bare'])
    assert challenge.parameters == {"realm": 'a "b" \\c', "nonce": "bare"}
    auth = authenticator(user='x"y')
    assert auth.accept([r'Digest realm="a \"b\"", nonce="n"'])
    value = auth.authorization("PLAY", "rtsp://c/s") or ""
    assert r'username="x\"y"' in value
    assert r'realm="a \"b\""' in value


def test_a_new_challenge_starts_the_count_again() -> None:
    auth = authenticator()
    for nonce in ("1", "2"):
        assert auth.accept([f'Digest nonce="{nonce}", qop="auth"'])
        assert fields(auth.authorization("PLAY", "rtsp://c/s") or "")["nc"] == "00000001"


@given(st.lists(st.text(max_size=200), max_size=4))
def test_any_challenge_is_answered_or_refused(offers: list[str]) -> None:
    auth = authenticator()
    for prefix in ("", "Digest nonce=x, "):
        if auth.accept([prefix + offer for offer in offers]):
            assert auth.authorization("PLAY", "rtsp://c/s")
