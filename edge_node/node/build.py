"""The one place that picks concrete edges and joins them to the core."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edge_node.aio.clock import SystemClock
from edge_node.call import messages
from edge_node.call.indicator import Indicator
from edge_node.call.machine import CallConfig, CallMachine
from edge_node.call.policy import DoorPolicy
from edge_node.call.rules import Outputs as RuleOutputs
from edge_node.call.rules import Rule, RuleEngine, parse_rule
from edge_node.devices.cards import taken_pins
from edge_node.devices.panel import make_panel
from edge_node.devices.patterns import INDICATOR_COLOURS, INDICATOR_PATTERNS, PATTERNS
from edge_node.devices.pins import ButtonSpec, InputSpec, LedSpec, RelaySpec, Wiring
from edge_node.devices.profiles import Profile, load_profile
from edge_node.encode_plan.daylight import DaylightRule, Light
from edge_node.encode_plan.limits import board_limits
from edge_node.encode_plan.plan import Plan, Refusal, Source
from edge_node.errors import SettingsError
from edge_node.host.enrolment import DeviceTokens
from edge_node.host.identity import board_model
from edge_node.host.probes import LinuxProbe
from edge_node.host.tokens import token_provider
from edge_node.host.wifi import join_wifi
from edge_node.media.audio_publication import AudioPublication
from edge_node.media.auto_source import AutoSource, Choice
from edge_node.media.camera_source import CameraSource
from edge_node.media.echo.control import EchoControl
from edge_node.media.encoders.calibration import Calibration
from edge_node.media.encoders.cards import offered_cards
from edge_node.media.file_source import FileSource
from edge_node.media.looks import Looks
from edge_node.media.microphone import CardMicrophone, FileMicrophone, ToneMicrophone
from edge_node.media.overlay import Overlay
from edge_node.media.pattern import PatternSource
from edge_node.media.playback import Playback
from edge_node.media.prompts import Prompts
from edge_node.media.qr_reader import decode_jpeg
from edge_node.media.rtsp.source import RtspSource
from edge_node.media.rtsp_microphone import RtspMicrophone
from edge_node.media.snapshot import LatestPicture
from edge_node.media.sound_pair import SoundPair
from edge_node.media.speaker import CardSpeaker, WavSpeaker
from edge_node.media.v4l2_source import V4l2Source
from edge_node.media.video_publication import VideoPublication
from edge_node.node.announcer import MOMENTS, Announcer
from edge_node.node.gates import AudioGate, VideoGate
from edge_node.node.inputs import Inputs
from edge_node.node.intercom import Intercom
from edge_node.node.light import LightKeeper
from edge_node.node.node import Node, Pieces
from edge_node.node.outputs import NodeOutputs, status_led
from edge_node.node.parts import background_part, microphone_part, panel_part, speaker_part, video_part
from edge_node.node.planning import PlanKeeper, Planner
from edge_node.node.privacy import CAPTURES, Privacy, shut_while_private
from edge_node.node.publishing import Published, Publishing
from edge_node.node.readings import MediaReadings
from edge_node.node.start import NORMAL, Start, harmless
from edge_node.node.supervisor import Part
from edge_node.node.tamper import Tamper
from edge_node.node.wifi_setup import WifiSetup
from edge_node.ports import AudioSink, AudioSource, Clock, Panel, Probe, VideoSink, VideoSource
from edge_node.realtime import wire
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.options import ReconnectOptions
from edge_node.realtime.peer import MeteredPeer
from edge_node.realtime.streams import MediaStream
from edge_node.settings import Settings
from edge_node.settings.checks import WIFI
from edge_node.version import __version__

log = logging.getLogger(__name__)

WHITE = "#ffffff"

MAX_CODE_BYTES = 400_000
"""Enough of a JPEG for the small squares of a code."""
RECONNECT = ReconnectOptions(initial_delay=0.3, max_delay=2.0, max_attempts=float("inf"))
"""A node is whole again soon after its hub is; there is no crowd of clients on one door."""


@dataclass(frozen=True, slots=True)
class Devices:
    """What the node touches; the simulator puts its own in place. None: there shall be none."""

    camera: VideoSource | None
    microphone: AudioSource | None
    speaker: AudioSink | None
    panel: Panel
    probe: Probe
    connect: Callable[[str], Any] = wire.connect
    state_dir: Path | None = None
    """What is remembered over restarts lies here; None: nothing is."""
    echo: EchoControl | None = None
    """What keeps the speaker's sound out of the microphone's; None where they are not both real."""


def build_node(settings: Settings, start: Start = NORMAL) -> Node:
    """A node on this machine's real devices, not yet started. Raises SettingsError."""
    clock = SystemClock()
    if start.safe_mode is not None:
        settings = harmless(settings)
    return assemble(settings, real_devices(settings, clock), clock, start)


def check(settings: Settings) -> None:
    """What only the devices' and the call's own rules know of the settings; opens nothing. Raises SettingsError."""
    rule_engine(settings)
    wiring(settings)
    _night_output(settings)
    video_planner(settings).plan(Source.RAW)


def real_devices(settings: Settings, clock: Clock) -> Devices:
    """The devices that the settings name."""
    camera = _camera(settings, clock)
    microphone, speaker = _microphone(settings.audio.microphone, camera, clock), _speaker(settings.audio.speaker)
    echo = None
    if isinstance(microphone, CardMicrophone) and isinstance(speaker, CardSpeaker):
        echo = EchoControl(settings.audio.echo_cancel)
        pair = SoundPair(microphone.label, speaker.label, echo=echo)
        microphone, speaker = pair.microphone, pair.speaker
    return Devices(
        camera=camera,
        microphone=microphone,
        speaker=speaker,
        echo=echo,
        panel=make_panel(wiring(settings), settings.gpio.driver),
        probe=LinuxProbe(state_dir=_state_dir()),
        connect=wire.trust(settings.channel.ca_file),
        state_dir=_state_dir(),
    )


def _profile(settings: Settings) -> Profile:
    return load_profile(settings.gpio.board, board_model())


def video_planner(settings: Settings) -> Planner:
    """What this board can encode of what the settings ask for."""
    board = board_limits(_profile(settings), offered_cards().values())
    return Planner(board, settings.video, LinuxProbe().memory_mb())


def _state_dir() -> Path | None:
    found = os.environ.get("STATE_DIRECTORY")
    return Path(found.split(":")[0]) if found else None


def _camera(settings: Settings, clock: Clock) -> VideoSource | None:
    video = settings.video
    planner = video_planner(settings)

    def module() -> VideoSource:
        return CameraSource(planner.plan(Source.CAMERA), clock)

    def v4l2(device: str) -> VideoSource:
        chosen = planner.plan(Source.RAW)
        return V4l2Source(device, chosen.width_px, chosen.height_px, chosen.fps, clock)

    def found(choice: Choice) -> VideoSource:
        return module() if choice.kind == "camera" else v4l2(choice.device or video.device)

    match video.source:
        case "none":
            return None
        case "auto":
            return AutoSource(found)
        case "camera":
            return module()
        case "v4l2":
            return v4l2(video.device)
        case "rtsp":
            return RtspSource(str(video.url), sound=settings.audio.microphone == "rtsp")
        case "file":
            return FileSource(Path(str(video.file)), clock)
        case "test":
            chosen = planner.plan(Source.RAW)
            return PatternSource(chosen.width_px, chosen.height_px, chosen.fps, clock)


def _microphone(name: str, camera: VideoSource | None, clock: Clock) -> AudioSource | None:
    kind, _, path = name.partition(":")
    match kind:
        case "none":
            return None
        case "rtsp":
            assert isinstance(camera, RtspSource), "the settings make sure of it"
            return RtspMicrophone(camera, clock)
        case "test":
            return ToneMicrophone()
        case "file":
            return FileMicrophone(Path(path))
        case _:
            return CardMicrophone(name)


def _speaker(name: str) -> AudioSink | None:
    kind, _, path = name.partition(":")
    match kind:
        case "none":
            return None
        case "file":
            return WavSpeaker(Path(path))
        case _:
            return CardSpeaker(name)


def wiring(settings: Settings) -> Wiring:
    """The pins of the settings."""
    gpio = settings.gpio
    return Wiring(
        buttons=[
            ButtonSpec(
                b.name,
                b.pin,
                long_ms=b.long_ms if b.long_action else None,
                double_ms=b.double_ms if b.double_action else None,
            )
            for b in gpio.button
        ],
        inputs=[
            *(InputSpec(switch.name, switch.pin, switch.when) for switch in gpio.switch),
            *(InputSpec(contact.name, contact.pin, contact.when) for contact in gpio.input),
        ],
        leds=[
            LedSpec(led.name, led.all_pins[0], led.active_high, led.all_pins[1:], led.brightness, led.color or WHITE)
            for led in gpio.led
        ],
        relays=[RelaySpec(r.name, r.pin, r.active_high) for r in gpio.relay],
        taken=taken_pins(settings.audio.card),
    )


def _indicator_looks(settings: Settings) -> Mapping[Indicator, str]:
    """What the status light shows in each state; with three colours and none of its own, in the state's colour."""
    name = status_led([led.name for led in settings.gpio.led])
    coloured = any(led.name == name and led.pins and led.color is None for led in settings.gpio.led)
    return {
        state: pattern + (INDICATOR_COLOURS[state] if coloured else "") for state, pattern in INDICATOR_PATTERNS.items()
    }


def call_config(settings: Settings) -> CallConfig:
    """The call's part of the settings."""
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
        door=DoorPolicy(
            doors=doors(settings), allow=settings.door.allow, require_signature=settings.door.require_signature
        ),
    )


def _night_output(settings: Settings) -> None:
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


def credentials(settings: Settings, state_dir: Path | None, clock: Clock) -> Mapping[str, Any]:
    """Arguments for the clients: one credential, the origin, how to come back."""
    channel = settings.channel
    key = channel.api_key.get_secret_value() if channel.api_key is not None else None
    tokens = DeviceTokens.of(settings, state_dir, clock) if channel.enrolled else token_provider(channel)
    return {
        "api_key": key,
        "token_provider": tokens,
        "url": channel.url,
        "allow_insecure_lan": channel.allow_insecure_lan,
        "reconnect": RECONNECT,
        "connect_retry": True,
    }


def assemble(settings: Settings, devices: Devices, clock: Clock, start: Start = NORMAL) -> Node:
    """Joins the pieces; on the event loop."""
    rules = rule_engine(settings)
    privacy = Privacy(devices.state_dir)
    planner = video_planner(settings)
    # What the source turns out to give, the keeper learns from its first pictures.
    overlay = Overlay(settings.video.overlay, settings.node.name, clock) if settings.video.overlay else None
    first = planner.plan(Source.RAW)
    video = VideoPublication(
        first, clock, devices.camera, decorate=overlay, vp8_plan=_vp8_plan(planner, first), judge=planner.undecodable
    )
    audio = AudioPublication(clock)
    if isinstance(devices.microphone, RtspMicrophone):
        devices.microphone.on_opus = audio.opus
    spoken = settings.audio.prompts
    playback = Playback(clock, prompts_db=spoken.volume_db)
    prompts = Prompts({moment: getattr(spoken, moment) for moment in MOMENTS}, spoken.language)
    announcer = Announcer(playback, audio, prompts.get)
    always = settings.audio.play == "always"
    playback.allow(None if always else frozenset())
    outputs = NodeOutputs(
        panel=devices.panel,
        leds=[led.name for led in settings.gpio.led],
        doors={relay.name: relay.pulse_ms for relay in settings.gpio.relay},
        patterns=_indicator_looks(settings),
        rules=rules,
        gates=[
            VideoGate(video, only_in_call=settings.video.publish == "call"),
            AudioGate(audio, only_in_call=settings.audio.publish == "call"),
            privacy,
        ],
        allow_audio=(lambda peers: None) if always else playback.allow,
        describe=lambda: description(settings),
        clock=clock,
        muted=privacy.on,
        picture=(lambda: looks.for_channel()) if devices.camera is not None else None,
        door_guard=lambda: tamper.guard() if tamper is not None else None,
    )
    outputs.on_call(announcer.call_changed)
    outputs.on_limit_near(announcer.limit_near)
    machine = CallMachine(call_config(settings), muted=privacy.on)
    actions = settings.gpio.actions
    calling = {button: action for button, action in actions.items() if action != WIFI}
    intercom = Intercom(machine, outputs, clock, buttons=calling)
    light = _light_keeper(settings, devices, clock, outputs) if settings.daylight.enabled else None
    tamper = _tamper(settings, devices, clock, intercom)
    intercom.on_press(_inputs(settings, outputs, tamper, light).report)
    looks = Looks(
        video,
        audio if devices.microphone is not None else None,
        clock,
        settings.clip,
        devices.state_dir,
        overlay=overlay,
        on_luma=light.luma if light is not None else None,
        on_saved=lambda clip: intercom.tell(None, {"type": "clip.saved", "node": settings.node.id, **clip.told()}),
    )
    if looks.clips is not None:
        outputs.on_ring(partial(looks.clips.press, "ring"))
    looks.shut(privacy.on)
    privacy.observe(looks.shut)
    how = {**credentials(settings, devices.state_dir, clock), "connect": devices.connect}
    published = [Published(video.track, "camera")] if devices.camera is not None else []
    if devices.microphone is not None:
        published.append(Published(audio.track, "microphone"))
    publishing = Publishing(
        # A node has no screen: pictures from others are not even decoded.
        lambda: MeteredPeer(**how, receive=("audio",) if devices.speaker is not None else ()),
        settings.channel.name,
        settings.node.id,
        published,
        intercom,
        on_audio=playback.add,
        on_peer_gone=playback.remove,
        on_change=lambda: node.changed(),
        make_stream=lambda stream_id: MediaStream(id=stream_id),
    )
    wifi = None
    if devices.camera is not None and WIFI in actions.values():
        wifi = WifiSetup(clock, lambda: publishing.online, partial(_codes, looks.latest), join_wifi)
        intercom.on_press(lambda button: wifi.arm() if actions.get(button) == WIFI else None)
    node = Node(
        Pieces(
            settings=settings,
            clock=clock,
            intercom=intercom,
            outputs=outputs,
            publishing=publishing,
            readings=MediaReadings(
                video,
                audio,
                playback,
                devices.microphone,
                devices.speaker,
                devices.echo,
                lambda: privacy.on,
                looks.own_views,
            ),
            probe=devices.probe,
            devices=[
                *(
                    shut_while_private(part, privacy) if part.name in CAPTURES else part
                    for part in _parts(devices, intercom, outputs, looks.sink, audio, playback)
                ),
                Part("privacy", privacy.run),
                *([Part("tamper", tamper.run)] if tamper is not None else []),
                *([Part("clips", looks.clips.run)] if looks.clips is not None else []),
                *([Part("wifi code", wifi.run)] if wifi is not None else []),
                *([background_part("prompts", prompts.run)] if prompts.slow else []),
                *(
                    [background_part("plan", _plan_keeper(planner, video, devices, clock).run)]
                    if devices.camera is not None
                    else []
                ),
            ],
            make_telemetry_client=lambda: SignallingClient(**how),
            take_snapshot=looks.latest.take if devices.camera is not None else None,
            clips=looks.clips,
            tamper=tamper,
            start=start,
        )
    )
    return node


def _tamper(settings: Settings, devices: Devices, clock: Clock, intercom: Intercom) -> Tamper | None:
    if not any(part.kind == "tamper" for part in settings.gpio.input):
        return None

    def tell(message: Mapping[str, Any]) -> None:
        intercom.tell(None, {**message, "node": settings.node.id, "at": clock.wall()})

    return Tamper(settings.door.tamper_block_min * 60, clock, devices.state_dir, tell)


def _inputs(settings: Settings, outputs: NodeOutputs, tamper: Tamper | None, light: LightKeeper | None) -> Inputs:
    act: dict[str, Callable[[str, bool], None]] = {}
    if tamper is not None:
        act["tamper"] = tamper.changed
    if light is not None:
        act["light"] = lambda name, dark: light.sensor(dark)
    kinds: dict[str, str] = {part.name: part.kind for part in settings.gpio.input}
    kinds |= {switch.name: "switch" for switch in settings.gpio.switch}
    return Inputs(kinds, outputs.event, act)


async def _codes(latest: LatestPicture) -> tuple[str, ...]:
    shot = await latest.take(MAX_CODE_BYTES)
    return await asyncio.to_thread(decode_jpeg, shot.jpeg)


def _plan_keeper(planner: Planner, video: VideoPublication, devices: Devices, clock: Clock) -> PlanKeeper:
    """Without a place to remember it, nothing is measured: the board's profile counts."""
    calibrate = Calibration(devices.state_dir) if devices.state_dir is not None else None
    return PlanKeeper(planner, video, devices.probe, clock, calibrate)


def _light_keeper(settings: Settings, devices: Devices, clock: Clock, outputs: NodeOutputs) -> LightKeeper:
    day = settings.daylight
    led = day.led
    return LightKeeper(
        DaylightRule(day.night_below_luma, day.day_above_luma, day.settle_s),
        clock,
        {Light.DAY: day.day_controls, Light.NIGHT: day.night_controls},
        getattr(devices.camera, "set_controls", None),
        (lambda night: outputs.light(led, night)) if led is not None else lambda night: None,
    )


def _vp8_plan(planner: Planner, running: Plan) -> Plan | None:
    chosen = planner.vp8(running)
    if isinstance(chosen, Refusal):
        log.warning("viewers without H.264 get no pictures: %s", chosen.reason)
        return None
    return chosen


def _parts(
    devices: Devices,
    intercom: Intercom,
    outputs: NodeOutputs,
    video: VideoSink,
    audio: AudioPublication,
    playback: Playback,
) -> list[Part]:
    parts = [panel_part(devices.panel, intercom.press, outputs.panel_ready, outputs.panel_gone)]
    if devices.speaker is not None:
        parts.append(speaker_part(devices.speaker, playback.pull))
    if devices.microphone is not None:
        parts += [background_part("sound", audio.run), microphone_part(devices.microphone, audio.block)]
    if devices.camera is not None:
        parts.append(video_part(devices.camera, video))
    return parts


def description(settings: Settings) -> Mapping[str, Any]:
    """The node.description message."""
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
    )
