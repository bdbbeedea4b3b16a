"""What the node touches on this machine: the concrete edges that the settings name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edge_node.call.indicator import Indicator
from edge_node.devices.cards import recognised_pins, taken_pins
from edge_node.devices.panel import make_panel
from edge_node.devices.patterns import INDICATOR_COLOURS, INDICATOR_PATTERNS
from edge_node.devices.pins import ButtonSpec, InputSpec, LedSpec, RelaySpec, Wiring
from edge_node.devices.profiles import Profile, load_profile
from edge_node.encode_plan.limits import board_limits
from edge_node.encode_plan.plan import Source
from edge_node.host.identity import board_model
from edge_node.host.probes import LinuxProbe
from edge_node.media.auto_source import AutoSource, Choice
from edge_node.media.camera_source import CameraSource
from edge_node.media.echo.control import EchoControl
from edge_node.media.encoders.cards import offered_cards
from edge_node.media.file_source import FileSource
from edge_node.media.microphone import CardMicrophone, FileMicrophone, ToneMicrophone
from edge_node.media.pattern import PatternSource
from edge_node.media.rtsp.source import RtspSource
from edge_node.media.rtsp_microphone import RtspMicrophone
from edge_node.media.sound_pair import SoundPair
from edge_node.media.speaker import CardSpeaker, WavSpeaker
from edge_node.media.v4l2_source import V4l2Source
from edge_node.node.outputs import status_led
from edge_node.node.planning import Planner
from edge_node.ports import AudioSink, AudioSource, Clock, Panel, Probe, VideoSource
from edge_node.realtime import wire
from edge_node.settings import Settings

WHITE = "#ffffff"


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
        panel=make_panel(wiring(settings), settings.gpio.driver, partial(recognised_pins, settings.audio.card)),
        probe=LinuxProbe(state_dir=state_dir()),
        connect=wire.trust(settings.channel.ca_file),
        state_dir=state_dir(),
    )


def _profile(settings: Settings) -> Profile:
    return load_profile(settings.gpio.board, board_model())


def video_planner(settings: Settings) -> Planner:
    """What this board can encode of what the settings ask for."""
    board = board_limits(_profile(settings), offered_cards().values())
    return Planner(board, settings.video, LinuxProbe().memory_mb())


def state_dir() -> Path | None:
    found = os.environ.get("STATE_DIRECTORY")
    return Path(found.split(":")[0]) if found else None


def _camera(settings: Settings, clock: Clock) -> VideoSource | None:
    video = settings.video
    planner = video_planner(settings)

    def module() -> VideoSource:
        return CameraSource(planner.plan(Source.CAMERA), clock)

    def v4l2(device: str) -> VideoSource:
        chosen = planner.plan(Source.RAW)
        coded = not video.overlay  # text is drawn into pictures, H.264 has none
        return V4l2Source(device, chosen.width_px, chosen.height_px, chosen.fps, clock, coded=coded)

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
            return RtspSource(str(video.url), transport=video.rtsp_transport, sound=settings.audio.microphone == "rtsp")
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


def indicator_looks(settings: Settings) -> Mapping[Indicator, str]:
    """What the status light shows in each state; with three colours and none of its own, in the state's colour."""
    name = status_led([led.name for led in settings.gpio.led])
    coloured = any(led.name == name and led.pins and led.color is None for led in settings.gpio.led)
    return {
        state: pattern + (INDICATOR_COLOURS[state] if coloured else "") for state, pattern in INDICATOR_PATTERNS.items()
    }
