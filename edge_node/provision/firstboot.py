"""The first start of a device: what its card says becomes its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_node import durable
from edge_node.errors import EdgeNodeError, RetryLater, SettingsError
from edge_node.host.enrolment import CLAIM_FILE, IDENTITY_FILE, claim_hash, device_key
from edge_node.provision.card import CA_ON_DEVICE, CardClaim
from edge_node.provision.disk import Disk
from edge_node.provision.folder import MANIFEST, parse_toml, read_claim
from edge_node.provision.formats import CLAIM, SETTINGS
from edge_node.settings import Settings, from_dict
from edge_node.settings.checks import WIFI

log = logging.getLogger(__name__)

PLACES = ("boot/firmware", "boot")
USER = "edge-node"
ETC, STATE = "etc/edge-node/edge-node.toml", "var/lib/edge-node"
TAKEN_FILE = "card.json"
WIFI_RULE = "50-edge-node-wifi.rules"
RULES, RULES_IN_USE = "usr/share/edge-node/polkit", "etc/polkit-1/rules.d"
"""Of polkit: NetworkManager asks it whether the daemon may join another network."""
SPENT = ".taken"
"""On the card: already taken over, about to be wiped."""
BUILT_AT = 1_767_225_600.0  # 2026-01-01: no clock that is right tells an earlier time


@dataclass(frozen=True, slots=True)
class Card:
    """What lies on the card, validated; None: that file is not there."""

    boot: Path
    settings: Settings | None
    text: bytes
    claim: CardClaim | None

    @property
    def digest(self) -> str:
        """Tells a card that is still the same from one written anew."""
        code = self.claim.code.get_secret_value() if self.claim else ""
        return hashlib.sha256(self.text + b"\0" + code.encode()).hexdigest()


class FirstBoot:
    """May be cut off anywhere, and run again: each step can be repeated, the card loses nothing before it is safe."""

    def __init__(self, root: Path, disk: Disk, now_wall: float) -> None:
        self._root = root
        self._disk = disk
        self._state = root / STATE
        self._etc = root / ETC
        self._now_wall = now_wall
        self._owner = _owner()

    def run(self) -> bool:
        """True when something was taken over. Raises SettingsError for a card that is wrong: then nothing changes.

        Raises EdgeNodeError when this device's own disk cannot be written: then nothing on the card changes.
        """
        try:
            boot = self._boot()
            if boot is None:
                log.info("the boot partition says nothing new")
                return False
            card = self._read(boot)
        except OSError as err:
            raise EdgeNodeError(f"the card cannot be read ({err.strerror}): write it again, or take another") from err
        if self._now_wall < BUILT_AT:
            log.warning("this device's clock is far behind: enrolling may have to wait until it is set")
        before = durable.read_json(self._state / TAKEN_FILE)
        # A card that cannot be wiped stays as it is: later changes in /etc must not be undone at every start.
        is_new = (card.text or card.claim) and (before is None or before.get("digest") != card.digest)
        try:
            if is_new:
                self._take(card)
        except (OSError, RetryLater) as err:
            reason = getattr(err, "strerror", None) or err
            raise EdgeNodeError(f"nothing was taken from the card ({reason}): make room, check the disk") from err
        if self._clean(boot):
            with contextlib.suppress(OSError):  # what lies there from now on was written anew, even if it says the same
                self._disk.remove(self._state / TAKEN_FILE)
        return bool(is_new)

    def _boot(self) -> Path | None:
        places = [self._root / place for place in PLACES]
        return next((place for place in places if any(_to_wipe(place))), None)

    def _read(self, boot: Path) -> Card:
        """Everything is checked before anything is done."""
        settings, text, claim = None, b"", None
        if (path := boot / SETTINGS).exists():
            settings = from_dict(parse_toml(path), str(path))
            _check_parts(settings)
            text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").encode()
        if (path := boot / CLAIM).exists():
            claim = read_claim(path)
            effective = settings or self._installed()
            if effective is None:
                raise SettingsError(f"{path} has no {SETTINGS} beside it: write the card again")
            if claim.node != effective.node.id or claim.hub != effective.channel.url:
                raise SettingsError(
                    f"{path} is for {claim.node} at {claim.hub}, the settings are for {effective.node.id} at "
                    f"{effective.channel.url}: write the card again"
                )
        return Card(boot, settings, text, claim)

    def _installed(self) -> Settings | None:
        return from_dict(parse_toml(self._etc), str(self._etc)) if self._etc.exists() else None

    def _take(self, card: Card) -> None:
        for folder, mode in ((self._state, 0o700), (self._etc.parent, 0o750)):
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
        if self._owner is not None and self._state.stat().st_uid == 0:
            os.chown(self._state, *self._owner)
        if card.claim is not None:
            self._take_claim(card.claim)
        if card.settings is not None:
            group = (0, self._owner[1]) if self._owner else None
            # Root writes them, the daemon reads them.
            self._disk.put(self._etc, card.text, 0o640, group)
            log.info("the settings of node %s are in %s", card.settings.node.id, self._etc)
            self._allow_wifi(WIFI in card.settings.gpio.actions.values())
        taken = {"digest": card.digest}
        self._disk.put(self._state / TAKEN_FILE, json.dumps(taken).encode(), 0o600, self._owner)

    def _allow_wifi(self, wanted: bool) -> None:
        """Only where a button is for it may the daemon change networks. polkit sees the rule come or go by itself."""
        rule = self._root / RULES_IN_USE / WIFI_RULE
        if not wanted:
            if rule.exists():
                self._disk.remove(rule)
                log.info("no button is for Wi-Fi any more: %s is gone", rule)
            return
        try:
            content = (self._root / RULES / WIFI_RULE).read_bytes()
        except FileNotFoundError:
            content = b""
        if not content or not rule.parent.is_dir():
            log.warning("the button for Wi-Fi will be refused: install the package edge-node, and polkitd")
            return
        self._disk.put(rule, content, 0o644)
        log.info("a button is for Wi-Fi: %s lets the daemon join a network", rule)

    def _take_claim(self, claim: CardClaim) -> None:
        device_key(self._state)
        if claim.ca is not None:
            self._disk.put(self._root / CA_ON_DEVICE[1:], claim.ca.encode(), 0o600, self._owner)
        code = claim.code.get_secret_value()
        identity = durable.read_json(self._state / IDENTITY_FILE) or {}
        if identity.get("claim_sha256") == claim_hash(code):
            log.info("this card's claim was used already, by this device")
            return
        body = {"code": code} | ({"ca_sha256": claim.ca_sha256} if claim.ca_sha256 else {})
        self._disk.put(self._state / CLAIM_FILE, json.dumps(body).encode(), 0o600, self._owner)
        log.info("the claim for %s at %s is taken; enrolling follows when there is a network", claim.node, claim.hub)

    def _clean(self, boot: Path) -> bool:
        """Off the card, as far as that goes: False for a locked one, which is told, and does no harm."""
        try:
            for path in _to_wipe(boot):
                if path.suffix != SPENT:
                    spent = path.with_name(path.name + SPENT)
                    self._disk.rename(path, spent)
                    path = spent
                self._disk.wipe(path)
        except OSError as err:
            log.warning(
                "%s still holds what was taken over (%s): unlock the card, or delete edge-node/ there",
                boot,
                err.strerror,
            )
            return False
        log.info(
            "the card's copies were overwritten and deleted; flash memory may keep old ones: a claim works once, "
            "so whoever finds it can do nothing with it"
        )
        return True


def _to_wipe(boot: Path) -> Iterator[Path]:
    """The claim first: what a cut leaves behind is the least."""
    for name in (CLAIM, SETTINGS, MANIFEST):
        for path in (boot / f"{name}{SPENT}", boot / name):
            if path.exists():
                yield path


def _check_parts(settings: Settings) -> None:
    """What only the devices' rules know, as edge-node config check asks."""
    from edge_node.node.build import check

    check(settings)


def _owner() -> tuple[int, int] | None:
    """Of what the daemon writes; None where the package's user does not exist, or where we may not give away."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid
