"""STUN and TURN servers told to clients, with credentials that end."""

from __future__ import annotations

import base64
import hmac
from typing import Any

from pydantic import Field, SecretStr, model_validator

from edge_node.settings.section import Section


class IceServer(Section):
    """`[[ice_server]]`: a STUN or TURN server told to every client."""

    urls: str | tuple[str, ...]
    username: str | None = None
    credential: SecretStr | None = None
    secret: SecretStr | None = Field(
        default=None, min_length=1, description="coturn's static-auth-secret: a credential per client that ends"
    )
    ttl_s: int = Field(default=86_400, ge=60, le=30 * 86_400, description="how long such a credential lasts")

    @model_validator(mode="after")
    def _one_way(self) -> IceServer:
        each = [self.urls] if isinstance(self.urls, str) else self.urls
        if self.secret is not None and (self.username is not None or self.credential is not None):
            raise ValueError("has a secret beside a username or a credential: keep one of the two ways")
        if self.secret is not None and not all(url.lower().startswith(("turn:", "turns:")) for url in each):
            raise ValueError("has a secret for a STUN server: give it to turn: and turns: urls only")
        return self

    def as_json(self, peer_id: str, now_wall: float) -> dict[str, Any]:
        """As in `iceServers` of welcome.metadata, for this peer."""
        urls = self.urls if isinstance(self.urls, str) else list(self.urls)
        username, credential = self.username, self.credential.get_secret_value() if self.credential else None
        if self.secret is not None:
            username, credential = timed_credential(self.secret.get_secret_value(), peer_id, int(now_wall) + self.ttl_s)
        pairs = {"username": username, "credential": credential}
        return {"urls": urls} | {k: v for k, v in pairs.items() if v is not None}


def timed_credential(secret: str, peer_id: str, expires_at: int) -> tuple[str, str]:
    """User name and password of TURN's REST scheme (draft-uberti-behave-turn-rest-00 section 2.2)."""
    username = f"{expires_at}:{peer_id}"
    digest = hmac.digest(secret.encode(), username.encode(), "sha1")
    return username, base64.b64encode(digest).decode()
