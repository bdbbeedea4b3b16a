"""The twelve rules, one test each at least."""

from __future__ import annotations

import pytest

from edge_node.encode_plan import rules


@pytest.mark.parametrize(
    ("stream", "level"),
    [
        ((1280, 720, 30, 2000), "3.1"),
        ((1280, 720, 30, 12_000), "4.1"),
        ((1280, 720, 60, 2000), "4.0"),
        ((1920, 1080, 30, 2000), "4.0"),
        ((1920, 1080, 30, 10_001), "4.1"),
        ((1920, 1080, 31, 2000), "4.2"),
        ((3840, 2160, 1, 2000), "4.2"),
    ],
)
def test_1_level_by_macroblocks_a_second_and_by_bit_rate(stream: tuple[int, int, int, int], level: str) -> None:
    assert rules.h264_level(*stream) == level


def test_2_width_ends_before_the_firmware_does() -> None:
    assert [rules.hardware_width_px(width) for width in (1920, 2032, 2560)] == [1920, 2032, 2032]


def test_3_bit_rates_have_a_cap_and_odd_sizes_a_floor() -> None:
    assert rules.hardware_kbps(25_000, 1280, 720) == 20_000
    assert rules.hardware_kbps(500, 820, 616) == 1_000
    assert rules.hardware_kbps(500, 640, 480) == 500
    assert rules.hardware_kbps(500, 1920, 1080) == 500
    assert rules.hardware_kbps(300, 640, 480, floor_kbps=500) == 500


def test_4_main_at_a_constant_rate_becomes_baseline_where_it_hangs() -> None:
    def asked(profile: str = "main", *, cbr: bool = True, height: int = 1080, hangs: bool = True) -> str:
        return rules.safe_profile(profile, constant_rate=cbr, height_px=height, main_cbr_hangs=hangs)

    assert asked() == asked(height=1072) == "constrained baseline"
    assert asked("baseline") == "baseline"
    assert asked(cbr=False) == asked(height=720) == asked(hangs=False) == "main"


@pytest.mark.parametrize(
    ("size", "step", "cut"),
    [
        ((1296, 972), (16, 16), (1296, 960)),
        ((1296, 972), (64, 16), (1280, 960)),
        ((1920, 1080), (16, 16), (1920, 1080)),
        ((1920, 1080), (64, 16), (1920, 1072)),
        ((641, 361), (2, 2), (640, 360)),
    ],
)
def test_5_sizes_are_whole_steps(size: tuple[int, int], step: tuple[int, int], cut: tuple[int, int]) -> None:
    assert rules.aligned(*size, *step) == cut


def test_6_only_ffmpegs_wrapper_forgets_the_parameter_sets() -> None:
    encoders = ("libx264", "v4l2m2m", "h264_v4l2m2m")
    assert [rules.repeats_parameter_sets(name) for name in encoders] == [True, True, False]


def test_7_profiles_are_numbers_for_v4l2() -> None:
    assert rules.profile_option("h264_v4l2m2m", "constrained baseline") == "1"
    assert rules.profile_option("h264_v4l2m2m", "high") == "4"
    assert rules.profile_option("libx264", "constrained baseline") == "baseline"
    assert rules.profile_option("v4l2m2m", "constrained baseline") == "constrained baseline"


@pytest.mark.parametrize(("memory_mb", "buffers"), [(415, 2), (950, 2), (1900, 5), (8000, 5), (None, 5)])
def test_8_little_memory_means_few_camera_buffers(memory_mb: float | None, buffers: int) -> None:
    assert rules.camera_buffers(memory_mb) == buffers
    assert rules.camera_buffers(memory_mb, at_most=1) == 1


def test_9_a_weak_supply_is_told() -> None:
    assert rules.supply_advice(None) is None
    assert rules.supply_advice(["throttled"]) is None
    for name in ("under_voltage", "under_voltage_since_boot"):
        advice = rules.supply_advice([name])
        assert advice is not None and "power supply" in advice


def test_10_nothing_holds_pictures_back() -> None:
    assert rules.low_latency_options("libx264") == {"tune": "zerolatency", "threads": "1", "bf": "0"}
    assert rules.low_latency_options("h264_v4l2m2m")["bf"] == "0"
    assert rules.low_latency_options("v4l2m2m") == {}


def test_11_media_sockets_hold_a_quarter_of_a_second() -> None:
    assert rules.receive_buffer_bytes(100) == 212_992
    assert rules.receive_buffer_bytes(20_000) == 20_000 * 1000 // 16


@pytest.mark.parametrize(
    ("temp_c", "limit_c", "on_wifi", "risky"),
    [(70.0, 70.0, True, True), (69.9, 70.0, True, False), (90.0, 70.0, False, False), (90.0, None, True, False),
     (None, 70.0, True, False)],
)  # fmt: skip
def test_12_heat_takes_the_wifi_first(temp_c: float | None, limit_c: float | None, on_wifi: bool, risky: bool) -> None:
    assert rules.wifi_at_risk(temp_c, limit_c, on_wifi) is risky


def test_the_rate_controls_buffer_grows_with_high_ceilings_only() -> None:
    assert [rules.vbv_kbit(kbps) for kbps in (400, 2000, 3000, 8000)] == [300, 300, 300, 800]


def test_causes_are_named_once() -> None:
    assert rules.named(["heat", "late", "heat"]) == "heat, late"
    assert rules.named([]) is None
