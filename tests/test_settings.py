"""Settings: layers, defaults, every problem as one sentence, secrets masked."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from edge_node.errors import SettingsError
from edge_node.protocol.secrets import scrub
from edge_node.settings import Settings, from_dict, json_schema, load
from edge_node.settings.identity import default_node_id
from edge_node.settings.problems import translate

KEY = "pk_live_1234567890abcdef"
LEAST: dict[str, Any] = {"channel": {"name": "home/front-door", "api_key": KEY}}

CONTRACT = """
[node]
id = "front-door"
name = "Front door"
role = "door"
[channel]
url = "wss://rms.metered.ca"
name = "home/front-door"
api_key = "pk_live_1234567890abcdef"
[video]
source = "auto"
url = "rtsp://camera/stream"
file = "clip.mp4"
device = "/dev/video0"
width_px = 1280
height_px = 720
fps = 30
max_kbps = 2000
publish = "always"
[audio]
microphone = "default"
speaker = "default"
echo_cancel = "auto"
publish = "always"
play = "call"
[gpio]
driver = "auto"
board = "auto"
[[gpio.button]]
name = "call"
pin = "GPIO17"
action = "call"
[[gpio.led]]
name = "status"
pin = "GPIO27"
[[gpio.relay]]
name = "door"
pin = "GPIO22"
pulse_ms = 3000
[[rule]]
on = "data"
match = { type = "porch.light", state = "on" }
do = "led:status=blink"
[call]
ring_s = 30
max_talk_s = 120
targets = []
hunt = "parallel"
auto_answer = false
[door]
allow = ["resident-*"]
require_signature = false
[telemetry]
channel = "telemetry/front-door"
interval_s = 10
[log]
level = "info"
"""


def with_(**sections: Any) -> dict[str, Any]:
    """LEAST with some sections changed or added."""
    merged = {**LEAST, **sections}
    if isinstance(sections.get("channel"), dict):
        merged["channel"] = {**LEAST["channel"], **sections["channel"]}
    return merged


def problems(values: Mapping[str, Any]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        from_dict(values, origin="test")
    return list(caught.value.problems)


def problem(values: Mapping[str, Any]) -> str:
    found = problems(values)
    assert len(found) == 1, found
    return found[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "edge-node.toml"
    path.write_text(CONTRACT)
    return path


def test_every_key_of_the_contract_is_known(file: Path) -> None:
    settings = load(file, {})
    for key, value in tomllib.loads(CONTRACT)["video"].items():
        assert str(getattr(settings.video, key)) == str(value)
    assert settings.gpio.button[0].action == "call"
    assert settings.rule[0].match == {"type": "porch.light", "state": "on"}
    assert settings.door.allow == ("resident-*",)
    assert settings.channel.api_key == SecretStr(KEY)


def test_defaults_are_those_of_the_contract(file: Path) -> None:
    given, least = load(file, {}), from_dict(LEAST)
    assert least.audio == given.audio
    assert least.call == given.call
    assert least.log == given.log
    assert least.video.model_copy(update={"url": given.video.url, "file": given.video.file}) == given.video
    assert least.telemetry.interval_s == given.telemetry.interval_s
    assert least.node.role == "door"
    assert least.door.allow == ()
    assert least.gpio.relay == ()


def test_the_node_id_comes_from_the_machine_and_names_the_telemetry_channel(tmp_path: Path) -> None:
    settings = from_dict(LEAST)
    assert re.fullmatch(r"node-[0-9a-f]{8}", settings.node.id)
    assert settings.telemetry.channel == f"telemetry/{settings.node.id}"
    (tmp_path / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    one = default_node_id(tmp_path / "machine-id")
    assert one == default_node_id(tmp_path / "machine-id")
    assert "01234567" not in one
    assert re.fullmatch(r"node-[0-9a-f]{8}", default_node_id(tmp_path / "absent"))
    assert from_dict(with_(node={"id": "x"})).telemetry.channel == "telemetry/x"


def test_without_a_file() -> None:
    env = {"EDGE_NODE_CHANNEL__NAME": "a", "EDGE_NODE_CHANNEL__TOKEN": "abc"}
    assert load(None, env).channel.name == "a"


def test_frozen() -> None:
    settings = from_dict(LEAST)
    with pytest.raises(ValidationError):
        settings.video.fps = 3
    with pytest.raises(ValidationError):
        settings.node = settings.node


def test_layers_lie_over_each_other(file: Path, tmp_path: Path) -> None:
    (tmp_path / "api_key").write_text("pk_live_from_credential\n")
    env = {
        "EDGE_NODE_VIDEO__FPS": "25",
        "EDGE_NODE_CHANNEL__API_KEY": "pk_live_from_environment",
        "EDGE_NODE_CALL__TARGETS": '["anna", "ben"]',
        "EDGE_NODE_CALL__AUTO_ANSWER": "true",
        "EDGE_NODE_GPIO": '{"led": [{"name": "big", "pin": "GPIO5"}]}',
        "EDGE_NODE_RULE": "[]",
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "EDGE_NODE_HOME_OF_SOMEBODY_ELSE": "1",
    }
    settings = load(file, env, defaults={"node": {"name": "D"}, "log": {"level": "debug"}, "video": {"fps": 5}})
    assert settings.video.fps == 25
    assert settings.node.name == "Front door"
    assert settings.call.targets == ("anna", "ben")
    assert settings.call.auto_answer is True
    assert [led.name for led in settings.gpio.led] == ["big"]
    assert [relay.name for relay in settings.gpio.relay] == ["door"]
    assert settings.channel.api_key == SecretStr("pk_live_from_credential")
    origins = {key: origin for key, _, origin in settings.explain()}
    assert origins["video.fps"] == "EDGE_NODE_VIDEO__FPS"
    assert origins["video.width_px"] == str(file)
    assert origins["channel.api_key"] == "credential api_key"
    assert origins["channel.token"] == "default"
    assert origins["gpio.relay.0.pulse_ms"] == str(file)
    over = load(file, env, overrides={"video": {"fps": 10}, "channel": {"token": "abc"}})
    assert over.video.fps == 10
    assert over.channel.api_key is None


def test_the_environment_of_the_process_is_the_default(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_NODE_NODE__NAME", "from outside")
    assert load(file).node.name == "from outside"


def test_a_credential_of_an_upper_layer_replaces_another_kind_below(file: Path) -> None:
    settings = load(file, {"EDGE_NODE_CHANNEL__TOKEN_COMMAND": "mint --for 'front door'"})
    assert settings.channel.api_key is None
    assert settings.channel.token_command == ("mint", "--for", "front door")
    as_json = load(file, {"EDGE_NODE_CHANNEL__TOKEN_COMMAND": '["mint", "a b"]'})
    assert as_json.channel.token_command == ("mint", "a b")


def test_an_empty_table_hides_nothing(file: Path) -> None:
    assert load(file, {}, defaults={"video": {"fps": 5}}, overrides={"video": {}}).video.fps == 30


def test_the_voice_agents_key_is_a_credential_too(file: Path, tmp_path: Path) -> None:
    (tmp_path / "agent_api_key").write_text("sk-1234\n")
    settings = load(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.agent.arguments == {"api_key": "sk-1234"}
    shown = {key: (value, origin) for key, value, origin in settings.explain()}
    assert shown["agent.api_key"] == ("***", "credential agent_api_key")


def test_empty_and_absent_credentials_count_as_none(file: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    assert load(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).channel.api_key == SecretStr(KEY)
    (tmp_path / "api_key").mkdir()
    with pytest.raises(SettingsError, match="LoadCredential="):
        load(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_variables_that_mean_nothing(file: Path) -> None:
    env = {
        "EDGE_NODE_CHANEL__URL": "x",
        "EDGE_NODE_CHANNEL_URL": "x",
        "EDGE_NODE_VIDEO__FSP": "1",
        "EDGE_NODE_VIDEO__ZZZZ": "1",
        "EDGE_NODE_QQQQ__ZZZZ": "1",
        "EDGE_NODE_CALL__TARGETS": "anna",
        "EDGE_NODE_VIDEO": '"x"',
        "EDGE_NODE_VIDEO__FPS": "1",
    }
    with pytest.raises(SettingsError) as caught:
        load(file, env)
    text = str(caught.value)
    assert 'EDGE_NODE_CHANEL__URL is no setting (did you mean "channel"?)' in text
    assert "EDGE_NODE_CHANNEL_URL is no setting: write EDGE_NODE_CHANNEL__URL" in text
    assert 'EDGE_NODE_VIDEO__FSP is no setting (did you mean "fps"?)' in text
    assert "EDGE_NODE_VIDEO__ZZZZ is no setting: known in [video] are" in text
    assert "EDGE_NODE_QQQQ__ZZZZ is no setting: unset it" in text
    assert "EDGE_NODE_CALL__TARGETS has to be JSON" in text
    with pytest.raises(SettingsError, match="FSP"):
        load(file, {"EDGE_NODE_VIDEO__FSP": "1"})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist: create it"):
        load(tmp_path / "absent.toml", {})
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path, {})
    (tmp_path / "bad.toml").write_text("[channel")
    with pytest.raises(SettingsError, match="no valid TOML"):
        load(tmp_path / "bad.toml", {})
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    with pytest.raises(SettingsError, match="save it as UTF-8"):
        load(tmp_path / "latin.toml", {})


def test_nothing_at_all_names_all_that_is_needed() -> None:
    name, credential = problems({})
    assert name.startswith("channel.name is missing: write name")
    assert credential.startswith("channel.api_key is missing: give one credential")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"video": {"sorce": "auto"}}, 'video.sorce is no setting (did you mean "source"?)'),
        ({"fps": 3}, "fps is no setting: fps belongs under [video]"),
        ({"zzzz": 3}, "zzzz is no setting: known here are agent, audio, call"),
        ({"video": {"source": "tst"}}, 'video.source is "tst" but has to be one of auto, camera'),
        ({"video": {"source": "rtsp"}}, 'video.url is missing while video.source = "rtsp"'),
        ({"video": {"source": "file"}}, 'video.file is missing while video.source = "file"'),
        ({"video": {"url": "http://x"}}, "video.url starts with http://: use rtsp://"),
        ({"video": {"url": "rtsp://u:12/4@cam/s"}}, "video.url has an @ behind its host: percent-encode"),
        ({"video": {"url": "rtsp://u:p/4@cam/s"}}, "video.url is not an address: write rtsp://host:554/path, with "),
        ({"video": {"url": "rtsp://cam:0/s"}}, "video.url has port 0"),
        ({"video": {"width_px": 1281}}, "video.width_px is 1281 but has to be a multiple of 2: write 1280"),
        ({"video": {"fps": 0}}, "video.fps is 0 but has to be at least 1"),
        ({"video": {"fps": "fast"}}, 'video.fps is "fast" but has to be a whole number'),
        ({"video": 3}, "video has to be a table"),
        ({"channel": {"token_file": 3, "api_key": None}}, "channel.token_file has to be text"),
        ({"video": {"max_kbps": 2.5}}, "video.max_kbps is 2.5 but has to be a whole number"),
        ({"call": {"ring_s": 0}}, "call.ring_s is 0 but has to be more than 0"),
        ({"call": {"ring_s": "30 s"}}, 'call.ring_s is "30 s" but has to be a number'),
        ({"call": {"targets": "anna"}}, "call.targets has to be a list"),
        ({"call": {"auto_answer": "perhaps"}}, "call.auto_answer is"),
        ({"node": {"id": "Front Door!"}}, 'node.id is "Front Door!" but has to be'),
        ({"node": {"id": "!"}}, 'write "front-door"'),
        ({"node": {"name": ""}}, "node.name is empty"),
        ({"node": {"name": "x" * 101}}, "node.name is too long: use at most 100"),
        ({"node": {"name": 3}}, "node.name has to be text: put it in quotes"),
        ({"audio": {"speaker": "test"}}, "only a microphone can be"),
        ({"audio": {"speaker": "rtsp"}}, "only a microphone can be"),
        ({"audio": {"microphone": "rtsp"}}, 'audio.microphone is "rtsp" while video.source is "auto": set both'),
        ({"audio": {"microphone": " "}}, "audio.microphone is empty"),
        ({"telemetry": {"channel": "_system/x"}}, "the service keeps for itself"),
        ({"rule": [{"on": "data", "do": "shout"}]}, "rule.0.do is refused: do = 'shout' drives nothing"),
        ({"rule": [{"on": "data", "match": {"a": [1]}, "do": "led:x"}]}, "rule.0.match.a"),
        ({"rule": [{"do": "led:x"}]}, "rule.0.on is missing"),
        ({"gpio": {"button": [{"name": "a", "pin": "17"}]}}, 'write "GPIO17"'),
        ({"gpio": {"button": [{"name": "a", "pin": "GPIO99"}]}}, "GPIO0 to GPIO53"),
        ({"gpio": {"button": [{"name": "a", "pin": "GPIO1", "action": "cal"}]}}, '(did you mean "call"?)'),
        ({"gpio": {"button": [{"name": "a", "pin": "GPIO1", "actoin": "call"}]}}, '(did you mean "action"?)'),
        ({"gpio": {"relay": [{"name": "a", "pin": "GPIO1", "pulse_ms": 1}]}}, "at least 50"),
    ],
)
def test_one_sentence_each(values: dict[str, Any], expected: str) -> None:
    text = problem(with_(**values))
    assert expected in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hub.example", 'write "wss://hub.example"'),
        ("hub.example", 'write "wss://rms.metered.ca"'),
        ("wss://hub.example/v1", 'write only "wss://hub.example"'),
        ("wss://a:b@hub.example:99?key=x", 'write only "wss://hub.example:99"'),
        ("wss://hub:port", "is no address"),
        ("wss://hub.example\n", "is no address"),
        ("ws://hub.example", 'in clear to hub.example: write "wss://hub.example"'),
        ("ws://8.8.8.8:80", 'in clear to 8.8.8.8: write "wss://8.8.8.8:80"'),
        ("ws://192.168.1.5:9292", "set channel.allow_insecure_lan = true"),
        ("ws://hub.local", "set channel.allow_insecure_lan = true"),
    ],
)
def test_addresses_that_are_refused(url: str, expected: str) -> None:
    assert expected in problem(with_(channel={"url": url}))


@pytest.mark.parametrize(
    ("url", "lan"),
    [
        ("wss://rms.metered.ca", False),
        ("wss://hub.example:9292/", False),
        ("ws://localhost:9292", False),
        ("ws://127.0.0.1:9292", False),
        ("ws://[::1]:9292", False),
        ("ws://192.168.1.5:9292", True),
        ("ws://hub.local:9292", True),
    ],
)
def test_addresses_that_are_taken(url: str, lan: bool) -> None:
    settings = from_dict(with_(channel={"url": url, "allow_insecure_lan": lan}))
    assert settings.channel.url == url.rstrip("/")


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 257, "_metered/x", "home/*"])
def test_channel_names_that_are_refused(name: str) -> None:
    assert problem(with_(channel={"name": name})).startswith("channel.name is")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ftp://x", "is no web address"),
        ("https://[::1/t", "is no web address"),
        ("https://mint.example/a b", "is no web address"),
        ("http://mint.example/t", "write https://"),
        ("https://keeper@mint.example/t", "leave it out, or fetch the token with channel.token_command"),
        ("https://mint.example:8443/@me", "an @ in the path is written %40"),
        ("https://mint.example/@me", ""),
        ("http://127.0.0.1/t", ""),
        ("https://mint.example/t", ""),
    ],
)
def test_token_addresses(url: str, expected: str) -> None:
    values = {"channel": {"name": "a", "token_url": url}}
    if expected:
        assert expected in problem(values)
    else:
        assert from_dict(values).channel.token_url == url


@pytest.mark.parametrize("password", ["4711", "s3cret", "47#11", "47/11", "47?11", "s3#cret", "s3@cret"])
def test_a_password_in_an_address_is_refused_and_not_told(password: str) -> None:
    for channel in (
        {"name": "a", "token_url": f"https://keeper:{password}@mint.example/t"},
        {"name": "a", "api_key": KEY, "url": f"wss://keeper:{password}@hub.example"},
        {"name": "a", "api_key": KEY, "url": f"http://keeper:{password}@hub.example"},
    ):
        text = problem({"channel": channel})
        assert "keeper:" not in text
        assert not any(part in text for part in re.split("[#/?@]", password))


def test_exactly_one_credential() -> None:
    assert "channel.token_file is given as well as api_key: keep one credential" in problem(
        with_(channel={"token_file": "/t"})
    )
    assert problem({"channel": {"name": "a"}}).startswith("channel.api_key is missing")
    assert problem({"channel": {"name": "a", "token_command": ""}}).startswith("channel.token_command is empty")


def test_pins_names_and_doors_fit_together() -> None:
    relay = {"name": "door", "pin": "GPIO22"}
    button = {"name": "call", "pin": "GPIO17", "action": "open:door"}
    assert from_dict(with_(gpio={"relay": [relay], "button": [button]})).gpio.button[0].action == "open:door"
    twice = problem(with_(gpio={"relay": [relay], "led": [{"name": "on", "pin": "GPIO22"}]}))
    assert 'gpio.relay.0.pin gives relay "door" GPIO22, which led "on" has: give each its own pin' in twice
    named = problem(with_(gpio={"relay": [relay, {"name": "door", "pin": "GPIO4"}]}))
    assert 'gpio.relay.1.name is "door", as another relay is' in named
    lost = problem(with_(gpio={"relay": [relay], "button": [{**button, "action": "open:dor"}]}))
    assert lost.startswith('gpio.button.0.action opens "dor", but no door has that name (did you mean "door"?)')
    indoor = {"role": "indoor"}
    elsewhere = from_dict(with_(node=indoor, gpio={"button": [{**button, "action": "open:front"}]}))
    assert elsewhere.gpio.actions == {"call": "open:front"}, "a door of the node that rings there"
    lamp = {"relay": [{**relay, "door": False}], "button": [button]}
    assert "no door has that name" in problem(with_(gpio=lamp))


def test_rules_pulse_relays_that_are_no_doors() -> None:
    lamp = {"name": "lamp", "pin": "GPIO5", "door": False}
    gpio = {"relay": [{"name": "door", "pin": "GPIO22"}, lamp]}
    assert from_dict(with_(gpio=gpio, rule=[{"on": "call", "do": "relay:lamp=pulse"}])).rule[0].on == "call"
    assert "may not open a door" in problem(with_(gpio=gpio, rule=[{"on": "call", "do": "relay:door=pulse"}]))


def test_rules_drive_outputs_that_exist() -> None:
    led = {"gpio": {"led": [{"name": "status", "pin": "GPIO27"}]}}
    assert from_dict(with_(**led, rule=[{"on": "data", "do": "led:status=blink"}])).rule[0].match == {}
    text = problem(with_(**led, rule=[{"on": "data", "do": "led:statsu=blink"}]))
    assert text.startswith("rule.0.do is refused: no LED is named 'statsu': use status")
    assert "is no LED pattern" in problem(with_(**led, rule=[{"on": "data", "do": "led:status"}]))


def test_all_problems_at_once() -> None:
    found = problems(
        {
            "nme": 1,
            "channel": {"url": "http://x", "name": "a", "api_key": KEY, "token": "b"},
            "video": {"source": "rtsp"},
            "call": {"ring_s": 0},
            "gpio": {
                "led": [{"name": "s", "pin": "GPIO1"}, {"name": "s", "pin": "17"}],
                "button": [{"name": "b", "pin": "GPIO1"}],
            },
            "rule": [{"on": "data", "do": "shout"}],
        }
    )
    keys = [text.split(" ")[0] for text in found]
    assert {"nme", "channel.url", "channel.token", "call.ring_s", "gpio.led.1.pin"} <= set(keys)
    assert len(keys) == len(set(keys))
    assert [text for text in found if not text.endswith("[test]")] == [
        'video.url is missing while video.source = "rtsp": write url = "rtsp://host/path" under [video]'
    ]


def test_tables_that_are_none() -> None:
    found = problems({"node": 3, "telemetry": 3, "channel": 3, "gpio": {"led": [3]}, "rule": 3})
    assert [text.split(" ")[0] for text in found] == ["node", "channel", "gpio.led.0", "rule", "telemetry"]
    assert all("has to be a" in text for text in found)


def test_an_error_without_words_of_its_own_points_to_the_schema() -> None:
    error = ErrorDetails(type="url_parsing", loc=("channel", "url"), msg="", input="x")
    assert translate([error], Settings)[0].reason == "has a value of the wrong kind: see edge-node config schema"


def test_secrets_never_show(file: Path) -> None:
    settings = load(file, {"EDGE_NODE_VIDEO__URL": "rtsp://user:hunter22@camera/stream"})
    shown = json.dumps(settings.explain()) + repr(settings) + str(settings.channel)
    assert KEY not in shown
    assert "hunter22" not in json.dumps(settings.explain())
    for values in (
        with_(channel={"token": KEY + KEY}),
        with_(channel={"api_key": 5551234}),
        with_(channel={"url": f"wss://x/?key={KEY}"}),
        with_(node={"id": f"token={KEY}"}),
    ):
        text = "\n".join(problems(values))
        assert KEY not in text
        assert "5551234" not in text


def test_explain_shows_each_kind_of_value() -> None:
    shown = {key: value for key, value, _ in from_dict(with_(door={"allow": ["a", "b"]})).explain()}
    assert shown["door.allow"] == '["a", "b"]'
    assert shown["channel.api_key"] == "***"
    assert shown["channel.token"] == "-"
    assert shown["call.auto_answer"] == "false"
    assert shown["video.fps"] == "30"


def test_the_schema_asks_only_for_what_has_no_default() -> None:
    schema = json_schema()
    assert schema["required"] == ["channel"]
    assert schema["$defs"]["ChannelSettings"]["required"] == ["name"]
    assert "required" not in schema["$defs"]["TelemetrySettings"]
    assert schema["$defs"]["VideoSettings"]["additionalProperties"] is False
    assert set(schema["properties"]) == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("text", "kept", "gone"),
    [
        ("wss://hub/v1?token=abcdef123&x=1", "&x=1", "abcdef123"),
        ("wss://hub/v1?key=abcdef123", "wss://hub", "abcdef123"),
        ('{"api_key": "abcdef123"}', "api_key", "abcdef123"),
        ("the key pk_live_abcdef123 was refused", "was refused", "abcdef123"),
        ("sk_secret_abcdef123", "sk_", "abcdef123"),
        ("Bearer eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl", "Bearer", "eyJzdWIi"),
        ("bad token: expired", "token: expired", "***"),
        ("token: abcdef123abcdef123", "token", "abcdef123"),
        ("Authorization: Bearer abcdef123", "Authorization", "abcdef123"),
        ("rtsp://user:p@ss@camera:554/s", "camera:554/s", "ss@"),
        ("RTSP://admin:abcdef@camera", "camera", "abcdef"),
        ("monkey=banana2", "banana2", "***"),
        ("the token was refused", "the token was refused", "***"),
    ],
)
def test_scrub(text: str, kept: str, gone: str) -> None:
    clean = scrub(text)
    assert kept in clean
    assert gone not in clean
    assert scrub(clean) == clean


def test_a_panel_with_everything() -> None:
    gpio = from_dict(
        with_(
            gpio={
                "button": [
                    {"name": "call", "pin": "GPIO17", "long_action": "mute", "double_action": "open:door"},
                    {"name": "exit", "pin": "GPIO4", "action": "open:door"},
                ],
                "switch": [{"name": "shutter", "pin": "GPIO5"}],
                "input": [{"name": "case", "pin": "GPIO6", "kind": "tamper"}],
                "led": [{"name": "status", "pins": ["GPIO13", "GPIO19", "GPIO26"], "color": "#ff8000"}],
                "relay": [{"name": "door", "pin": "GPIO22", "active_high": False}],
            }
        )
    ).gpio
    assert gpio.actions == {
        "call": "call",
        "call:long": "mute",
        "call:double": "open:door",
        "exit": "open:door",
        "shutter:on": "mute:hold",
        "shutter:off": "mute:release",
    }
    assert gpio.led[0].all_pins == ("GPIO13", "GPIO19", "GPIO26")


@pytest.mark.parametrize(
    ("gpio", "expected"),
    [
        ({"led": [{"name": "a"}]}, "gpio.led.0.pin is missing"),
        ({"led": [{"name": "a", "pin": "GPIO5", "pins": ["GPIO6", "GPIO7", "GPIO8"]}]}, "as well as pin"),
        ({"led": [{"name": "a", "pin": "GPIO5", "color": "#ffffff"}]}, "gpio.led.0.color needs pins"),
        (
            {"led": [{"name": "a", "pins": ["GPIO5", "GPIO6", "GPIO5"]}]},
            'gpio.led.0.pin gives led "a" GPIO5, which led "a" has',
        ),
        ({"button": [{"name": "a", "pin": "GPIO5", "long_action": "open:door"}]}, "gpio.button.0.long_action opens"),
        (
            {
                "switch": [{"name": "a", "pin": "GPIO5"}],
                "input": [{"name": "a", "pin": "GPIO6", "kind": "light"}],
            },
            'gpio.input.0.name is "a", as another input is',
        ),
        ({"input": [{"name": "a", "pin": "GPIO6", "kind": "smoke"}]}, "gpio.input.0.kind"),
    ],
)
def test_wrong_panels(gpio: dict[str, Any], expected: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(expected)):
        from_dict(with_(gpio=gpio))
