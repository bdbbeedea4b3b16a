"""What a secret looks like in text, for everything that prints or logs."""

from __future__ import annotations

import re

MASK = "***"
_PATTERNS = (
    # key=… token=… secret=… password=… api_key: … as in query strings, JSON and TOML
    (
        re.compile(
            r"""(?ix) (?<![a-z0-9]) ((?:api_?|access_?|client_?)?(?:key|token|secret|password|passwd|authorization))
            (["']?\s*[=:]\s*["']?) (?:(bearer|basic)\s+)? (?!\*\*\*)[^\s"'&;,)}\]]{4,}"""
        ),
        rf"\1\2{MASK}",
    ),
    (re.compile(r"\b((?:pk|sk)_(?:live|test|id|secret)?_?)[A-Za-z0-9_-]{4,}"), rf"\1{MASK}"),
    # RFC 7519 section 3.1: three base64url parts, the first an encoded `{"`
    (re.compile(r"\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"), MASK),
    # RFC 3986 section 3.2.1: user:password@ in any URL
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s@]*@", re.IGNORECASE), rf"\1{MASK}@"),
)


def scrub(text: str) -> str:
    """The text with every credential in it replaced by `***`."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
