"""What is signed, part by part."""

from __future__ import annotations

from edge_node.protocol.enrolment import enrol_message, token_message


def test_no_two_requests_have_the_same_bytes() -> None:
    assert enrol_message("a", "b", "c") == (
        b"\0\0\0\x12edge-node enrol v1" + b"\0\0\0\x01a" + b"\0\0\0\x01b" + b"\0\0\0\x01c"
    )
    assert enrol_message("ab", "", "c") != enrol_message("a", "b", "c")
    assert token_message("a", "bc") != token_message("ab", "c")
    assert token_message("\udcff", "n") == token_message("?", "n"), "never raises"
