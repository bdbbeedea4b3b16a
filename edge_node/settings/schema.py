"""The tree of settings: every key, its type, its default and its range."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from edge_node.encode_plan.daylight import DAY_ABOVE_LUX, NIGHT_BELOW_LUX
from edge_node.protocol.secrets import MASK, scrub
from edge_node.settings import checks
from edge_node.settings.identity import default_node_id
from edge_node.settings.problems import Problem, Problems, rule_problems

Identifier = Annotated[str, AfterValidator(checks.identifier)]
ChannelName = Annotated[str, AfterValidator(checks.channel_name)]
Pin = Annotated[str, AfterValidator(checks.pin)]
Action = Annotated[str, AfterValidator(checks.action)]
Prompt = Annotated[str, AfterValidator(checks.prompt)]
Argv = Annotated[tuple[str, ...], BeforeValidator(checks.argv), Field(min_length=1)]
Scalar = Annotated[Any, AfterValidator(checks.scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Text = Annotated[str, StringConstraints(min_length=1, max_length=100)]
EvenPx = Annotated[int, Field(ge=64, le=4096, multiple_of=2)]  # 4:2:0 colour needs even sides (H.264 table 6-1)
CREDENTIAL_KEYS = ("api_key", "token", "token_file", "token_url", "token_command", "enrolled")


class Section(BaseModel):
    """One table of the file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class NodeSettings(Section):
    """`[node]`: who this is."""

    id: Identifier = Field(default_factory=default_node_id, description="default: derived from the machine id")
    name: Text = "edge-node"
    role: Literal["door", "indoor", "camera"] = "door"


class ChannelSettings(Section):
    """`[channel]`: where to meet, with exactly one credential."""

    url: Annotated[str, AfterValidator(checks.origin)] = "wss://rms.metered.ca"
    allow_insecure_lan: bool = Field(default=False, description="allow ws:// to a private address")
    name: ChannelName
    ca_file: Path | None = Field(default=None, description="one more authority to trust, such as a hub's ca.crt")
    api_key: SecretStr | None = Field(default=None, min_length=1, description="a publishable key")
    token: SecretStr | None = Field(default=None, min_length=1, description="one JWT")
    token_file: Path | None = Field(default=None, description="a file read for a fresh JWT per connection")
    token_url: Annotated[str, AfterValidator(checks.http_url)] | None = Field(
        default=None, description="an address asked for a fresh JWT per connection"
    )
    token_command: Argv | None = Field(default=None, description="a command that prints a fresh JWT per connection")
    enrolled: bool = Field(default=False, description="tokens for this device's own key, from a hub that knows it")

    @model_validator(mode="after")
    def _check(self) -> ChannelSettings:
        problems = []
        if reason := checks.insecure_origin_problem(self.url, self.allow_insecure_lan):
            problems.append(Problem("channel.url", reason))
        given = [key for key in CREDENTIAL_KEYS if getattr(self, key) not in (None, False)]
        if not given:
            ways = ", ".join(CREDENTIAL_KEYS)
            problems.append(Problem("channel.api_key", f"is missing: give one credential ({ways})", absent=True))
        if len(given) > 1:
            others = " and ".join(given[:-1])
            problems.append(Problem(f"channel.{given[-1]}", f"is given as well as {others}: keep one credential"))
        return Problems.check(self, problems)


class VideoSettings(Section):
    """`[video]`: what is seen."""

    source: Literal["auto", "camera", "v4l2", "rtsp", "file", "test", "none"] = "auto"
    url: Annotated[str, AfterValidator(checks.rtsp_url)] | None = Field(default=None, description="for source rtsp")
    rtsp_transport: Literal["auto", "tcp", "udp"] = Field(
        default="auto", description="auto: tcp, or udp where the camera refuses that"
    )
    file: Path | None = Field(default=None, description="for source file; it loops")
    device: Text = Field(default="/dev/video0", description="for source v4l2")
    width_px: EvenPx = 1280
    height_px: EvenPx = 720
    fps: Annotated[int, Field(ge=1, le=120)] = 30
    max_kbps: Annotated[int, Field(ge=50, le=50_000)] = 2000
    publish: Literal["always", "call"] = "always"
    overlay: Annotated[str, StringConstraints(max_length=80), AfterValidator(checks.overlay)] = Field(
        default="", description="text in pictures that are encoded here, such as {name} {date} {time}"
    )

    @model_validator(mode="after")
    def _check(self) -> VideoSettings:
        problems = []
        if self.source == "rtsp" and self.url is None:
            reason = 'is missing while video.source = "rtsp": write url = "rtsp://host/path" under [video]'
            problems.append(Problem("video.url", reason, absent=True))
        if self.source == "file" and self.file is None:
            reason = 'is missing while video.source = "file": write file = "clip.mp4" under [video]'
            problems.append(Problem("video.file", reason, absent=True))
        return Problems.check(self, problems)


class PromptSettings(Section):
    """`[audio.prompts]`: what the node itself lets hear, as "none", "chime", "ringback", "beeps", "file:…", "say:…"."""

    press: Prompt = Field(default="chime", description="once when somebody is rung")
    ringing: Prompt = Field(default="ringback", description="again and again while somebody is rung")
    incoming: Prompt = Field(default="chime", description="again and again while the node is called")
    answered: Prompt = Field(default="none", description="when the call begins")
    unanswered: Prompt = Field(default="none", description="when nobody answered, or somebody declined")
    ended: Prompt = Field(default="none", description="when the call is over")
    warning: Prompt = Field(default="beeps", description="warn_s before call.max_talk_s ends the call")
    warn_s: Annotated[float, Field(ge=0, le=600)] = Field(default=10, description="0: no warning")
    volume_db: Annotated[float, Field(ge=-60, le=20)] = 0
    language: Annotated[str, StringConstraints(pattern="[A-Za-z][A-Za-z0-9+_-]{0,39}")] = Field(
        default="en", description="of the sentences: a voice of espeak-ng"
    )


class AudioSettings(Section):
    """`[audio]`: what is heard."""

    microphone: Annotated[str, AfterValidator(checks.microphone)] = Field(
        default="default",
        description='an ALSA/PortAudio device, "none", "test" (a tone), "file:PATH" or "rtsp" (that of the camera)',
    )
    speaker: Annotated[str, AfterValidator(checks.speaker)] = Field(
        default="default", description='an ALSA/PortAudio device, "none" or "file:PATH" (a WAV of what was played)'
    )
    microphone_gain_db: Annotated[float, Field(ge=-60, le=40)] = Field(
        default=0, description="louder or softer for everybody who listens; a camera's own sound is not changed"
    )
    speaker_gain_db: Annotated[float, Field(ge=-60, le=20)] = Field(
        default=0, description="voices and prompts, limited where they would clip"
    )
    echo_cancel: Literal["auto", "on", "off", "half-duplex"] = "auto"
    publish: Literal["always", "call"] = "always"
    play: Literal["call", "always"] = "call"
    card: Identifier = Field(default="auto", description="a profile under hardware/sound, whose pins are then its own")
    prompts: PromptSettings = Field(default_factory=PromptSettings)


class ButtonSettings(Section):
    """`[[gpio.button]]`."""

    name: Identifier
    pin: Pin
    action: Action = Field(default="call", description="call, answer, hangup, toggle, mute, wifi or open:DOOR")
    long_action: Action | None = Field(default=None, description="what holding it does; action then waits for release")
    double_action: Action | None = Field(default=None, description="two presses; action then waits for double_ms")
    long_ms: Annotated[int, Field(ge=300, le=30_000)] = 1000
    double_ms: Annotated[int, Field(ge=150, le=2000)] = 400

    def actions(self) -> Iterator[tuple[str, str, str]]:
        """(key of the setting, what the panel reports, action)."""
        yield "action", self.name, self.action
        if self.long_action is not None:
            yield "long_action", f"{self.name}:long", self.long_action
        if self.double_action is not None:
            yield "double_action", f"{self.name}:double", self.double_action


class SwitchSettings(Section):
    """`[[gpio.switch]]`: one that stays in its position, which nothing else can overrule."""

    name: Identifier
    pin: Pin
    action: Literal["mute"] = "mute"
    when: Literal["open", "closed"] = Field(default="closed", description="the contact to ground that means private")


class InputSettings(Section):
    """`[[gpio.input]]`: a contact that tells something."""

    name: Identifier
    pin: Pin
    kind: Literal["tamper", "light"]
    when: Literal["open", "closed"] = Field(
        default="open", description="the contact to ground that means: the case is open, it is dark"
    )


class LedSettings(Section):
    """`[[gpio.led]]`: on one pin, or with three colours on three."""

    name: Identifier
    pin: Pin | None = None
    pins: tuple[Pin, Pin, Pin] | None = Field(default=None, description="red, green and blue instead of pin")
    color: Annotated[str, StringConstraints(pattern="#[0-9a-fA-F]{6}")] | None = Field(
        default=None, description='of one with pins, such as "#ff8000"; default: by what it tells'
    )
    brightness: Annotated[float, Field(gt=0, le=1)] = 1.0
    active_high: bool = Field(default=True, description="false: lights when its pin is low, as with a common anode")

    @property
    def all_pins(self) -> tuple[str, ...]:
        """One pin, or red, green and blue."""
        return self.pins or (() if self.pin is None else (self.pin,))


class RelaySettings(Section):
    """`[[gpio.relay]]`."""

    name: Identifier
    pin: Pin
    active_high: bool = Field(default=True, description="false: the module is energised by a low pin")
    pulse_ms: Annotated[int, Field(ge=50, le=10_000)] = 3000
    door: bool = Field(default=True, description="false: no door but a plain output, which a [[rule]] may pulse")


class GpioSettings(Section):
    """`[gpio]`: buttons, LEDs, relays."""

    driver: Literal["auto", "lgpio", "mock", "none"] = "auto"
    board: Identifier = Field(default="auto", description="a profile under hardware/boards")
    button: tuple[ButtonSettings, ...] = ()
    switch: Annotated[tuple[SwitchSettings, ...], Field(max_length=1)] = ()
    input: tuple[InputSettings, ...] = ()
    led: tuple[LedSettings, ...] = ()
    relay: tuple[RelaySettings, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> GpioSettings:
        return Problems.check(self, [*self._lights(), *self._duplicates(), *self._doors()])

    def _lights(self) -> Iterator[Problem]:
        for index, led in enumerate(self.led):
            key = f"gpio.led.{index}"
            if not led.all_pins:
                reason = 'is missing: write pin = "GPIO27", or pins = ["GPIO5", "GPIO6", "GPIO13"] for red, green, blue'
                yield Problem(f"{key}.pin", reason, absent=True)
            if led.pin is not None and led.pins is not None:
                yield Problem(f"{key}.pins", "is given as well as pin: keep one of them")
            if led.color is not None and led.pins is None:
                yield Problem(f"{key}.color", "needs pins for red, green and blue: give those, or leave it out")

    def _duplicates(self) -> Iterator[Problem]:
        names: set[tuple[str, str]] = set()
        pins: dict[str, str] = {}
        for kind in ("button", "switch", "input", "led", "relay"):
            parts: tuple[Section, ...] = getattr(self, kind)
            for index, part in enumerate(parts):
                key, name = f"gpio.{kind}.{index}", str(getattr(part, "name", ""))
                # A switch and an input report by name in the same way.
                group = "input" if kind == "switch" else kind
                if (group, name) in names:
                    yield Problem(f"{key}.name", f'is "{name}", as another {group} is: give each its own name')
                names.add((group, name))
                for pin in part.all_pins if isinstance(part, LedSettings) else (str(getattr(part, "pin", "")),):
                    if pin in pins:
                        reason = f'gives {kind} "{name}" {pin}, which {pins[pin]} has: give each its own pin'
                        yield Problem(f"{key}.pin", reason)
                    pins.setdefault(pin, f'{kind} "{name}"')

    def _doors(self) -> Iterator[Problem]:
        doors = [relay.name for relay in self.relay if relay.door]
        for index, button in enumerate(self.button):
            for key, _, action in button.actions():
                door = action.removeprefix(checks.OPEN)
                if action != door and door not in doors:
                    reason = f'opens "{door}", but no door has that name{checks.did_you_mean(door, doors)}'
                    where = f"gpio.button.{index}.{key}"
                    yield Problem(where, f"{reason}: add a [[gpio.relay]] for it, or name another", absent=True)

    @property
    def actions(self) -> dict[str, str]:
        """What each report of the panel asks for; a button's own name is its short press."""
        found = {report: action for button in self.button for _, report, action in button.actions()}
        for switch in self.switch:
            found |= {f"{switch.name}:on": "mute:hold", f"{switch.name}:off": "mute:release"}
        return found


class RuleSettings(Section):
    """`[[rule]]`: an event drives an output."""

    on: Literal["data", "presence", "call", "channel", "input"]
    match: dict[str, Scalar] = Field(default_factory=dict, description="fields the event must have")
    do: Text = Field(description='for example "led:status=blink"')


class ClipSettings(Section):
    """`[clip]`: what is kept of a press."""

    enabled: bool = False
    directory: Path | None = Field(default=None, description="default: clips under the daemon's state directory")
    pre_s: Annotated[float, Field(ge=0, le=60)] = Field(default=5, description="seconds before the press")
    post_s: Annotated[float, Field(ge=1, le=300)] = Field(default=15, description="seconds after it")
    max_mb: Annotated[int, Field(ge=10, le=1_000_000)] = Field(default=500, description="then the oldest are deleted")


class DaylightSettings(Section):
    """`[daylight]`: the camera by day and by night; by lux where the board encodes, else by the pictures."""

    enabled: bool = False
    night_below_luma: Annotated[float, Field(ge=0, le=255)] = Field(default=40, description="mean brightness, 0 to 255")
    day_above_luma: Annotated[float, Field(ge=0, le=255)] = 110
    night_below_lux: Annotated[float, Field(ge=0)] = Field(default=NIGHT_BELOW_LUX, description="camera modules: scene")
    day_above_lux: Annotated[float, Field(ge=0)] = DAY_ABOVE_LUX
    settle_s: Annotated[float, Field(ge=1, le=3600)] = 30
    led: Identifier | None = Field(default=None, description="an output that is on at night: IR cut filter, lamp")
    day_controls: dict[str, Scalar] = Field(default_factory=dict, description="picamera2 controls by day")
    night_controls: dict[str, Scalar] = Field(default_factory=dict, description="picamera2 controls by night")

    @model_validator(mode="after")
    def _check(self) -> DaylightSettings:
        problems = []
        if self.day_above_luma <= self.night_below_luma:
            reason = f"is not above night_below_luma: write {min(255, self.night_below_luma + 70):g}"
            problems.append(Problem("daylight.day_above_luma", reason))
        if self.day_above_lux <= self.night_below_lux:
            reason = f"is not above night_below_lux: write {4 * self.night_below_lux + 1:g}"
            problems.append(Problem("daylight.day_above_lux", reason))
        return Problems.check(self, problems)


class CallSettings(Section):
    """`[call]`: who is rung, how, how long."""

    ring_s: Annotated[float, Field(gt=0, le=600)] = 30
    max_talk_s: Annotated[float, Field(gt=0, le=86_400)] = 120
    targets: tuple[Text, ...] = Field(default=(), description="peer ids or roles, in order; empty: everyone")
    hunt: Literal["parallel", "sequential"] = "parallel"
    auto_answer: bool = False


class DoorKeySettings(Section):
    """`[[door.key]]`: a device that may sign requests."""

    name: Identifier
    public: Annotated[str, AfterValidator(checks.public_key)] = Field(
        description="Ed25519, in hex: the console shows it"
    )
    peers: tuple[Text, ...] = Field(default=(), description="ids that may use it; empty: all of door.allow")


class DoorSettings(Section):
    """`[door]`: who may open it; nobody by default."""

    allow: tuple[Text, ...] = Field(default=(), description="server-stamped peer ids (JWT sub); * stands for anything")
    require_signature: bool = Field(default=False, description="true: the request is signed with a [[door.key]], too")
    key: Annotated[tuple[DoorKeySettings, ...], Field(max_length=64)] = ()
    tamper_block_min: Annotated[float, Field(ge=0, le=10_080)] = Field(
        default=30, description="no door opens that long after the case was opened; 0: it is only told"
    )

    @model_validator(mode="after")
    def _check(self) -> DoorSettings:
        return Problems.check(self, [*self._keys()])

    def _keys(self) -> Iterator[Problem]:
        for field in ("name", "public"):
            seen: dict[str, int] = {}
            for index, key in enumerate(self.key):
                value = getattr(key, field)
                if (first := seen.setdefault(value, index)) != index:
                    reason = f'is "{value}", as in door.key.{first} already: each device has a key of its own'
                    yield Problem(f"door.key.{index}.{field}", reason)


class TelemetrySettings(Section):
    """`[telemetry]`: where measurements go, how often."""

    channel: ChannelName = Field(description="default: telemetry/<node id>")
    interval_s: Annotated[float, Field(ge=0.1, le=3600)] = 10


class LogSettings(Section):
    """`[log]`."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Section):
    """Everything a node is told; build it with load() or from_dict()."""

    node: NodeSettings = Field(default_factory=NodeSettings)
    channel: ChannelSettings
    video: VideoSettings = Field(default_factory=VideoSettings)
    audio: AudioSettings = Field(default_factory=AudioSettings)
    gpio: GpioSettings = Field(default_factory=GpioSettings)
    rule: tuple[RuleSettings, ...] = ()
    clip: ClipSettings = Field(default_factory=ClipSettings)
    daylight: DaylightSettings = Field(default_factory=DaylightSettings)
    call: CallSettings = Field(default_factory=CallSettings)
    door: DoorSettings = Field(default_factory=DoorSettings)
    telemetry: TelemetrySettings
    log: LogSettings = Field(default_factory=LogSettings)
    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Settings:
        problems = list(rule_problems(self))
        if self.audio.microphone == "rtsp" and self.video.source != "rtsp":
            reason = f'is "rtsp" while video.source is "{self.video.source}": set both to "rtsp", or name a device'
            problems.append(Problem("audio.microphone", reason))
        return Problems.check(self, problems)

    def explain(self) -> list[tuple[str, str, str]]:
        """(key, value with secrets masked, origin) of every setting, in the order of the tree."""
        return [(key, _shown(value), self._origin(key)) for key, value in _leaves("", self)]

    def _origin(self, key: str) -> str:
        return next((o for k, o in self._origins.items() if key == k or key.startswith(f"{k}.")), "default")


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _leaves(f"{prefix}.{name}" if prefix else name, getattr(value, name))
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        for index, item in enumerate(value):
            yield from _leaves(f"{prefix}.{index}", item)
    else:
        yield prefix, value


def _shown(value: Any) -> str:
    match value:
        case None:
            return "-"
        case SecretStr():
            return MASK
        case bool():
            return "true" if value else "false"
        case tuple():
            return "[" + ", ".join(f'"{scrub(str(item))}"' for item in value) + "]"
        case _:
            return scrub(str(value))
