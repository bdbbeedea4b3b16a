"""Joins the pieces of a node: the core, the machinery, what the settings mean."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_node.aio.clock import SystemClock
from edge_node.call.machine import CallMachine
from edge_node.dsp.pcm import Pcm
from edge_node.encode_plan.daylight import DaylightRule, Light
from edge_node.encode_plan.plan import Plan, Refusal, Source
from edge_node.host.enrolment import DeviceTokens
from edge_node.host.signatures import DeviceSigner, is_signed
from edge_node.host.tokens import token_provider
from edge_node.host.wifi import join_wifi
from edge_node.media.audio_publication import AudioPublication
from edge_node.media.encoders.calibration import Calibration
from edge_node.media.looks import Looks
from edge_node.media.overlay import Overlay
from edge_node.media.playback import Playback
from edge_node.media.prompts import Prompts
from edge_node.media.qr_reader import decode_jpeg
from edge_node.media.rtsp_microphone import RtspMicrophone
from edge_node.media.snapshot import LatestPicture
from edge_node.media.video_publication import VideoPublication
from edge_node.node.announcer import MOMENTS, Announcer
from edge_node.node.gates import AudioGate, VideoGate
from edge_node.node.inputs import Inputs
from edge_node.node.intercom import Intercom
from edge_node.node.light import LightKeeper
from edge_node.node.machinery import Devices, indicator_looks, real_devices, video_planner, wiring
from edge_node.node.meaning import call_config, description, night_output, rule_engine
from edge_node.node.node import Node, Pieces
from edge_node.node.outputs import NodeOutputs
from edge_node.node.parts import background_part, microphone_part, panel_part, speaker_part, video_part
from edge_node.node.planning import PlanKeeper, Planner
from edge_node.node.privacy import CAPTURES, Privacy, shut_while_private
from edge_node.node.publishing import Published, Publishing
from edge_node.node.readings import MediaReadings
from edge_node.node.start import NORMAL, Start, harmless
from edge_node.node.supervisor import Part
from edge_node.node.tamper import Tamper
from edge_node.node.wifi_setup import WifiSetup
from edge_node.ports import Clock
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.options import ReconnectOptions
from edge_node.realtime.peer import MeteredPeer
from edge_node.realtime.streams import MediaStream
from edge_node.settings import Settings
from edge_node.settings.checks import WIFI

if TYPE_CHECKING:
    from edge_node.node.reception import Reception

log = logging.getLogger(__name__)

MAX_CODE_BYTES = 400_000
"""Enough of a JPEG for the small squares of a code."""
RECONNECT = ReconnectOptions(initial_delay=0.3, max_delay=2.0, max_attempts=float("inf"))
"""A node is whole again soon after its hub is; there is no crowd of clients on one door."""


def build_node(settings: Settings, start: Start = NORMAL) -> Node:
    """A node on this machine's real devices, not yet started. Raises SettingsError."""
    clock = SystemClock()
    if start.safe_mode is not None:
        settings = harmless(settings)
    return assemble(settings, real_devices(settings, clock), clock, start)


def check(settings: Settings) -> None:
    """What only devices, call and agent know of the settings; opens nothing. Raises SettingsError."""
    rule_engine(settings)
    wiring(settings)
    night_output(settings)
    video_planner(settings).plan(Source.RAW)
    if settings.agent.enabled:
        from edge_node.node.reception import transport

        transport(settings)


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
    privacy = Privacy(devices.state_dir)
    planner = video_planner(settings)
    overlay = Overlay(settings.video.overlay, settings.node.name, clock) if settings.video.overlay else None
    video = _video(planner, devices, clock, overlay)
    sound = _sound(settings, devices, clock)
    challenge = secrets.token_hex(16)
    outputs = _outputs(settings, devices, clock, video, sound, privacy, challenge)
    # What reaches for a node not yet made is asked for when it happens only.
    intercom = _intercom(settings, outputs, clock, privacy, challenge, devices.state_dir)
    light = _light_keeper(settings, devices, clock, outputs) if settings.daylight.enabled else None
    tamper = _tamper(settings, devices, clock, intercom, outputs)
    intercom.on_press(_inputs(settings, outputs, tamper, light).report)
    looks = _looks(settings, devices, clock, video, sound, overlay, light, intercom)
    if devices.camera is not None:
        outputs.show_pictures(looks.for_channel)
    if looks.clips is not None:
        outputs.on_ring(partial(looks.clips.press, "ring"))
    looks.shut(privacy.on)
    privacy.observe(looks.shut)
    how = {**credentials(settings, devices.state_dir, clock), "connect": devices.connect}
    publishing = _publishing(settings, devices, video, sound, intercom, how, lambda: node.changed())
    reception = _reception(settings, clock, outputs, sound, intercom)
    wifi = _wifi(settings, devices, clock, publishing, looks, intercom)
    node = Node(
        Pieces(
            settings=settings,
            clock=clock,
            intercom=intercom,
            outputs=outputs,
            publishing=publishing,
            readings=MediaReadings(
                video, sound.audio, sound.playback, devices.microphone, devices.speaker, devices.echo,
                lambda: privacy.on, looks.own_views,
            ),
            probe=devices.probe,
            devices=[
                *_device_parts(devices, intercom, outputs, looks, sound, privacy, reception),
                *_own_parts(privacy, tamper, looks, wifi, sound),
                *([reception.part] if reception is not None else ()),
                *_plan_parts(planner, video, devices, clock),
            ],
            make_telemetry_client=lambda: SignallingClient(**how),
            take_snapshot=looks.latest.take if devices.camera is not None else None,
            clips=looks.clips,
            tamper=tamper,
            start=start,
        )
    )  # fmt: skip
    return node


def _video(planner: Planner, devices: Devices, clock: Clock, overlay: Overlay | None) -> VideoPublication:
    # What the source turns out to give, the keeper of the plan learns from its first pictures.
    first = planner.plan(Source.RAW)
    return VideoPublication(
        first, clock, devices.camera, decorate=overlay, vp8_plan=_vp8_plan(planner, first), judge=planner.undecodable
    )


@dataclass(frozen=True, slots=True)
class _Sound:
    audio: AudioPublication
    playback: Playback
    prompts: Prompts
    announcer: Announcer


def _sound(settings: Settings, devices: Devices, clock: Clock) -> _Sound:
    audio = AudioPublication(clock, gain_db=settings.audio.microphone_gain_db)
    if isinstance(devices.microphone, RtspMicrophone):
        devices.microphone.on_opus = audio.opus
    spoken = settings.audio.prompts
    playback = Playback(clock, prompts_db=spoken.volume_db, gain_db=settings.audio.speaker_gain_db)
    playback.allow(None if settings.audio.play == "always" else frozenset())
    prompts = Prompts({moment: getattr(spoken, moment) for moment in MOMENTS}, spoken.language)
    return _Sound(audio, playback, prompts, Announcer(playback, audio, prompts.get))


def _outputs(
    settings: Settings,
    devices: Devices,
    clock: Clock,
    video: VideoPublication,
    sound: _Sound,
    privacy: Privacy,
    challenge: str,
) -> NodeOutputs:
    outputs = NodeOutputs(
        panel=devices.panel,
        leds=[led.name for led in settings.gpio.led],
        doors={relay.name: relay.pulse_ms for relay in settings.gpio.relay},
        patterns=indicator_looks(settings),
        rules=rule_engine(settings),
        gates=[
            VideoGate(video, only_in_call=settings.video.publish == "call"),
            AudioGate(sound.audio, only_in_call=settings.audio.publish == "call"),
            privacy,
        ],
        allow_audio=(lambda peers: None) if settings.audio.play == "always" else sound.playback.allow,
        describe=lambda: description(settings, challenge),
        clock=clock,
        muted=privacy.on,
    )
    outputs.on_call(sound.announcer.call_changed)
    outputs.on_limit_near(sound.announcer.limit_near)
    return outputs


def _intercom(
    settings: Settings, outputs: NodeOutputs, clock: Clock, privacy: Privacy, challenge: str, state_dir: Path | None
) -> Intercom:
    calling = {button: action for button, action in settings.gpio.actions.items() if action != WIFI}
    sign = DeviceSigner(state_dir) if state_dir is not None else None
    machine = CallMachine(call_config(settings, challenge), muted=privacy.on, verify=is_signed, sign=sign)
    return Intercom(machine, outputs, clock, buttons=calling)


def _looks(
    settings: Settings,
    devices: Devices,
    clock: Clock,
    video: VideoPublication,
    sound: _Sound,
    overlay: Overlay | None,
    light: LightKeeper | None,
    intercom: Intercom,
) -> Looks:
    return Looks(
        video,
        sound.audio if devices.microphone is not None else None,
        clock,
        settings.clip,
        devices.state_dir,
        overlay=overlay,
        on_luma=light.luma if light is not None else None,
        on_saved=lambda clip: intercom.tell(None, {"type": "clip.saved", "node": settings.node.id, **clip.told()}),
    )


def _publishing(
    settings: Settings,
    devices: Devices,
    video: VideoPublication,
    sound: _Sound,
    intercom: Intercom,
    how: Mapping[str, Any],
    on_change: Callable[[], None],
) -> Publishing:
    published = [Published(video.track, "camera")] if devices.camera is not None else []
    if devices.microphone is not None:
        published.append(Published(sound.audio.track, "microphone"))
    return Publishing(
        # A node has no screen: pictures from others are not even decoded.
        lambda: MeteredPeer(**how, receive=("audio",) if devices.speaker is not None else ()),
        settings.channel.name,
        settings.node.id,
        published,
        intercom,
        on_audio=sound.playback.add,
        on_peer_gone=sound.playback.remove,
        on_change=on_change,
        make_stream=lambda stream_id: MediaStream(id=stream_id),
    )


def _reception(
    settings: Settings, clock: Clock, outputs: NodeOutputs, sound: _Sound, intercom: Intercom
) -> Reception | None:
    if not settings.agent.enabled:
        return None
    from edge_node.node.reception import reception  # memory for those who have one

    found = reception(settings, clock, sound.playback, intercom)
    outputs.on_call(found.call_changed)
    return found


def _wifi(
    settings: Settings, devices: Devices, clock: Clock, publishing: Publishing, looks: Looks, intercom: Intercom
) -> WifiSetup | None:
    actions = settings.gpio.actions
    if devices.camera is None or WIFI not in actions.values():
        return None
    wifi = WifiSetup(clock, lambda: publishing.online, partial(_codes, looks.latest), join_wifi)
    intercom.on_press(lambda button: wifi.arm() if actions.get(button) == WIFI else None)
    return wifi


def _tamper(
    settings: Settings, devices: Devices, clock: Clock, intercom: Intercom, outputs: NodeOutputs
) -> Tamper | None:
    if not any(part.kind == "tamper" for part in settings.gpio.input):
        return None

    def tell(message: Mapping[str, Any]) -> None:
        intercom.tell(None, {**message, "node": settings.node.id, "at": clock.wall()})

    tamper = Tamper(settings.door.tamper_block_min * 60, clock, devices.state_dir, tell)
    outputs.guard_doors(tamper.guard)
    return tamper


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


def _plan_parts(planner: Planner, video: VideoPublication, devices: Devices, clock: Clock) -> list[Part]:
    """Without a place to remember it, no speed is measured: the board's profile counts."""
    if devices.camera is None:
        return []
    calibrate = Calibration(devices.state_dir) if devices.state_dir is not None else None
    return [background_part("plan", PlanKeeper(planner, video, devices.probe, clock, calibrate).run)]


def _light_keeper(settings: Settings, devices: Devices, clock: Clock, outputs: NodeOutputs) -> LightKeeper:
    day = settings.daylight
    led = day.led
    keeper = LightKeeper(
        DaylightRule(day.night_below_luma, day.day_above_luma, day.settle_s),
        clock,
        {Light.DAY: day.day_controls, Light.NIGHT: day.night_controls},
        getattr(devices.camera, "set_controls", None),
        (lambda night: outputs.light(led, night)) if led is not None else lambda night: None,
        DaylightRule(day.night_below_lux, day.day_above_lux, day.settle_s),
    )
    watch_light = getattr(devices.camera, "watch_light", None)
    if watch_light is not None:  # a camera whose board encodes shows nobody here its pictures
        watch_light(keeper.lux)
    return keeper


def _vp8_plan(planner: Planner, running: Plan) -> Plan | None:
    chosen = planner.vp8(running)
    if isinstance(chosen, Refusal):
        log.warning("viewers without H.264 get no pictures: %s", chosen.reason)
        return None
    return chosen


def _device_parts(
    devices: Devices,
    intercom: Intercom,
    outputs: NodeOutputs,
    looks: Looks,
    sound: _Sound,
    privacy: Privacy,
    reception: Reception | None,
) -> list[Part]:
    def hear(pcm: Pcm) -> None:
        sound.audio.block(pcm)
        if reception is not None:
            reception.hear(pcm)

    parts = [panel_part(devices.panel, intercom.press, outputs.panel_ready, outputs.panel_gone)]
    if devices.speaker is not None:
        parts.append(speaker_part(devices.speaker, sound.playback.pull))
    if devices.microphone is not None:
        parts += [background_part("sound", sound.audio.run), microphone_part(devices.microphone, hear)]
    if devices.camera is not None:
        parts.append(video_part(devices.camera, looks.sink))
    return [shut_while_private(part, privacy) if part.name in CAPTURES else part for part in parts]


def _own_parts(
    privacy: Privacy, tamper: Tamper | None, looks: Looks, wifi: WifiSetup | None, sound: _Sound
) -> list[Part]:
    """Those that hold no device."""
    parts = [Part("privacy", privacy.run)]
    if tamper is not None:
        parts.append(Part("tamper", tamper.run))
    if looks.clips is not None:
        parts.append(Part("clips", looks.clips.run))
    if wifi is not None:
        parts.append(Part("wifi code", wifi.run))
    if sound.prompts.slow:
        parts.append(background_part("prompts", sound.prompts.run))
    return parts
