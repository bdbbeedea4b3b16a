"""Masks what must not be read in logs or errors: keys, tokens, ICE passwords."""

from __future__ import annotations

import re

MASK = "<hidden>"
_SECRETS = re.compile(
    r"""(?ix)
    # `?key=…`, `token=…`, `api_key='…'`: in addresses, and in what a program logs of its own values
    (?P<pair> \b (?:api_|access_)? (?:key|token|credential|password) = ["']? ) [^&\s'"\\]+
    # session descriptions (RFC 8839 section 5.4), also inside JSON text, where line ends are escaped
  | (?P<sdp> \b ice-(?:pwd|ufrag) : ) [^\s"'\\]+
    # ICE servers as JSON or as a printed dict, also JSON inside JSON
  | (?P<json> \\?["'] credential \\?["'] \s* : \s* \\?["'] ) [^"'\\]+
    """
)


def scrub(text: str) -> str:
    """`text` without keys, tokens and ICE credentials."""
    return _SECRETS.sub(lambda m: f"{m['pair'] or m['sdp'] or m['json']}{MASK}", text)
