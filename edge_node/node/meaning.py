"""What the settings mean to the call, the rules, the people on the channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_node.call import messages
from edge_node.call.config import CallConfig
from edge_node.call.policy import DoorPolicy
from edge_node.call.rules import Outputs as RuleOutputs
from edge_node.call.rules import Rule, RuleEngine, parse_rule
from edge_node.call.signed import DoorKey, Signing
from edge_node.devices.patterns import PATTERNS
from edge_node.errors import SettingsError
from edge_node.settings import Settings
from edge_node.version import __version__


def call_config(settings: Settings, challenge: str = "") -> CallConfig:
    """The call's part of the settings; `challenge` is what door requests are signed with."""
    call = settings.call
    return CallConfig(
        node_id=settings.node.id,
        name=settings.node.name,
        ring_s=call.ring_s,
        max_talk_s=call.max_talk_s,
        warn_s=settings.audio.prompts.warn_s,
        targets=call.targets,
        sequential=call.hunt == "sequential",
        auto_answer=call.auto_answer,
        is_rung=settings.node.role == "indoor",
        attend_s=settings.agent.max_talk_s if settings.agent.enabled else None,
        door=DoorPolicy(doors=doors(settings), allow=settings.door.allow, signing=signing(settings, challenge)),
    )


def signing(settings: Settings, challenge: str) -> Signing | None:
    """What door requests must be signed with, if they must."""
    door = settings.door
    if not door.require_signature:
        return None
    keys = tuple(DoorKey(key.name, key.public, key.peers or door.allow) for key in door.key)
    return Signing(settings.node.id, challenge, keys)


def night_output(settings: Settings) -> None:
    leds = [led.name for led in settings.gpio.led]
    if settings.daylight.led is not None and settings.daylight.led not in leds:
        known = ", ".join(leds) or "none"
        raise SettingsError(
            f'daylight.led is "{settings.daylight.led}", but the outputs are {known}: add a [[gpio.led]] for it'
        )


def doors(settings: Settings) -> tuple[str, ...]:
    """The relays that open something."""
    return tuple(relay.name for relay in settings.gpio.relay if relay.door)


def rule_engine(settings: Settings) -> RuleEngine:
    """The `[[rule]]` tables. Raises SettingsError with a sentence for each that drives nothing."""
    outputs = RuleOutputs(
        leds=[led.name for led in settings.gpio.led],
        relays=[relay.name for relay in settings.gpio.relay],
        doors=doors(settings),
        patterns=tuple(PATTERNS),
    )
    parsed = [parse_rule(rule.on, rule.match, rule.do, outputs) for rule in settings.rule]
    problems = [f"rule.{index}: {found}" for index, found in enumerate(parsed) if isinstance(found, str)]
    if problems:
        raise SettingsError(problems)
    return RuleEngine(rule for rule in parsed if isinstance(rule, Rule))


def description(settings: Settings, challenge: str = "") -> Mapping[str, Any]:
    """The node.description message; `challenge` is told when door requests must be signed."""
    node = settings.node
    return messages.description(
        node=node.id,
        name=node.name,
        role=node.role,
        version=__version__,
        media={
            "stream": f"node:{node.id}",
            "video": settings.video.source != "none",
            "microphone": settings.audio.microphone != "none",
            "speaker": settings.audio.speaker != "none",
        },
        doors=doors(settings),
        buttons=[button.name for button in settings.gpio.button],
        capabilities={
            "call": True,
            "door": bool(doors(settings)),
            "signature": settings.door.require_signature,
            "snapshot": settings.video.source != "none",
        },
        challenge=challenge if settings.door.require_signature else None,
    )
