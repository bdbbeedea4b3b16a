"""What a secret looks like in text, for everything that prints or logs."""

from __future__ import annotations

import re

MASK = "***"
_NAME = r"(?:api_?|access_?|client_?)?(?:key|token|secret|password|passwd|credential)"
_END = r"\s\"'\\&;,)}\]"
_PATTERNS = (
    # `?key=…`, `token=…`, `api_key='…'`: in addresses, and in what a program logs of its own values
    (re.compile(rf"(?i)(?<![a-z0-9])({_NAME}=[\"']?)[^{_END}]+"), rf"\1{MASK}"),
    # `token = "…"`, `"token": "…"` as in TOML and JSON, also JSON inside JSON; after a bare colon only what is too long
    # for a word
    (
        re.compile(
            rf"""(?ix) (?<![a-z0-9]) ({_NAME})
            (\s*=\s*["']? | \\?["']\s*[:=]\s*\\?["'] | :\s*(?=[^\s"']{{16}})) (?!\*\*\*)[^{_END}]+"""
        ),
        rf"\1\2{MASK}",
    ),
    # RFC 9110 section 11.6.2
    (
        re.compile(r"(?i)\b(authorization[\"']?\s*[:=]\s*[\"']?)(?:(?:bearer|basic)\s+)?(?!\*\*\*)[^\s\"']+"),
        rf"\1{MASK}",
    ),
    # RFC 8839 section 5.4: session descriptions, also inside JSON text, where line ends are escaped
    (re.compile(r"(?i)\b(ice-(?:pwd|ufrag):)[^\s\"'\\]+"), rf"\1{MASK}"),
    (re.compile(r"\b([ps]k)_[A-Za-z0-9_-]{4,}"), rf"\1_{MASK}"),
    # RFC 7519 section 3.1: three base64url parts, the first an encoded `{"`
    (re.compile(r"\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"), MASK),
    # RFC 3986 section 3.2.1: user:password@ in any URL, also where the password holds an @ or a slash
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@:]*:(?:[^\s/]*@|[^\s@]*@)", re.IGNORECASE), rf"\1{MASK}@"),
)


def scrub(text: str) -> str:
    """The text with every credential in it replaced by `***`."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
