from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.protocol.secrets import scrub


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("wss://h/v1?key=pk_x&token=abc&n=1", "wss://h/v1?key=***&token=***&n=1"),
        ("Credential(api_key='pk_x', n=1)", "Credential(api_key='***', n=1)"),
        ("a=ice-ufrag:ab\r\na=ice-pwd:cd\r\na=mid:0", "a=ice-ufrag:***\r\na=ice-pwd:***\r\na=mid:0"),
        (r'"sdp":"a=ice-pwd:cd\r\na=mid:0"', r'"sdp":"a=ice-pwd:***\r\na=mid:0"'),
        ('{"urls":"turn:a","credential": "x"}', '{"urls":"turn:a","credential": "***"}'),
        ("monkey=5 keys: key", "monkey=5 keys: key"),
    ],
)
def test_secrets_are_masked_and_the_rest_stays(text: str, masked: str) -> None:
    assert scrub(text) == masked


@given(st.text(alphabet="key=token:credential\"'\\ a&\r\n", max_size=60))
def test_masking_twice_changes_nothing(text: str) -> None:
    once = scrub(text)
    assert scrub(once) == once
