"""A Raspberry Pi's camera module through picamera2 (not yet run on hardware)."""

from __future__ import annotations

import fcntl
import inspect
import logging
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av

from edge_node.encode_plan.plan import Plan
from edge_node.encode_plan.rules import profile_option, repeats_parameter_sets
from edge_node.errors import DeviceMissing, SourceLost
from edge_node.media import h264
from edge_node.media.source_thread import run_in_thread
from edge_node.media.stall_watch import FIRST_PICTURE_S, STALL_S, StallWatch
from edge_node.ports import VIDEO_CLOCK, AccessUnit, Clock, Demand, VideoSink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

# linux/videodev2.h, linux/v4l2-controls.h
VIDIOC_S_CTRL = 0xC008561C
CID_MPEG_VIDEO_BITRATE = 0x009909CF
# Without a way to ask, a keyframe comes this often; with one, only as a safety.
IPERIOD_S, IPERIOD_ASKED_S = 2, 10
IDLE_S = 0.5
LUX_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Library:
    """The classes of picamera2 that are used here."""

    camera: Any
    encoder: Any
    output: Any


def picamera2_library() -> Library:
    """Imports picamera2; DeviceMissing when that is impossible."""
    try:
        from picamera2 import Picamera2
        from picamera2.encoders import H264Encoder
        from picamera2.outputs import Output
    except ImportError as err:
        raise DeviceMissing(
            f"picamera2 cannot be imported ({err}): run `sudo apt install -y python3-picamera2 --no-install-recommends`"
        ) from err
    return Library(Picamera2, H264Encoder, Output)


class CameraSource:
    """The source `camera`.

    With the plan's encoder `v4l2m2m` the board encodes and its pictures are handed through; otherwise (Pi 5) raw ones
    go to our own encoder. run() raises DeviceMissing without picamera2 or a camera, SourceLost when it stands still.
    """

    label = "camera"

    def __init__(
        self,
        plan: Plan,
        clock: Clock,
        *,
        buffers: int | None = None,
        library: Callable[[], Library] = picamera2_library,
        stall_s: float = STALL_S,
        first_picture_s: float = FIRST_PICTURE_S,
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._buffers = plan.buffers if buffers is None else buffers
        self._library = library
        self._stall_s = stall_s
        self._first_picture_s = first_picture_s
        self._inside = False
        self._demand: Demand | None = None
        self._camera: Any = None
        self._controls: dict[str, Any] = {}
        self._on_lux: Callable[[float], None] | None = None

    @property
    def demand(self) -> Demand | None:
        """The board's encoder, when it can be asked for keyframes."""
        return self._demand

    def set_plan(self, plan: Plan) -> None:
        """Another rate at once; another size or encoder with the next run(). From any thread."""
        before, self._plan = self._plan, plan
        camera = self._camera
        if camera is not None and plan.fps != before.fps:
            camera.set_controls({"FrameRate": plan.fps})
        if isinstance(self._demand, EncoderDemand):
            self._demand.set_plan(plan)

    def set_controls(self, controls: Mapping[str, Any]) -> None:
        """Controls of libcamera by name, now and whenever the camera is opened again. From any thread."""
        self._controls.update(controls)
        camera = self._camera
        if camera is not None:
            camera.set_controls(dict(controls))

    def watch_light(self, on_lux: Callable[[float], None]) -> None:
        """While the board encodes, `on_lux(illuminance as libcamera estimates it)` about once in LUX_EVERY_S.

        In picamera2's thread, from the next run() on.
        """
        self._on_lux = on_lux

    async def run(self, sink: VideoSink) -> None:
        """Delivers until cancelled."""
        if self._inside:
            raise SourceLost("the camera's driver does not let go: restart the board")
        watch = StallWatch(sink, self._clock, self._stall_s, self._first_picture_s)
        lost = "the camera module gives no pictures any more: check its ribbon cable"
        await watch.run(lambda to: run_in_thread(lambda stop: self._film(to, stop), "video-camera"), lost)

    def _film(self, sink: VideoSink, stop: threading.Event) -> None:
        library = self._library()
        self._inside = True
        try:
            self._run_camera(library, sink, stop)
        except IndexError as err:  # picamera2 without a camera
            raise DeviceMissing("no camera module answers: check its ribbon cable, then reboot") from err
        except PermissionError as err:  # a weak supply shows up like this (raspberrypi/linux#3467)
            raise SourceLost(
                "the camera or its encoder may not be used: add the service's user to the group video; "
                "if it is in it, see `edge-node doctor` for the power supply"
            ) from err
        except (RuntimeError, OSError) as err:
            raise SourceLost(f"the camera module failed ({err}): check its ribbon cable, end other programs") from err
        finally:
            self._demand = None
            self._inside = False

    def _run_camera(self, library: Library, sink: VideoSink, stop: threading.Event) -> None:
        camera = library.camera()
        try:
            config = camera.create_video_configuration(
                main={"size": (self._plan.width_px, self._plan.height_px), "format": "YUV420"},
                controls={"FrameRate": self._plan.fps},
                buffer_count=self._buffers,
            )
            camera.align_configuration(config)
            camera.configure(config)
            self._camera = camera
            if self._controls:
                camera.set_controls(dict(self._controls))
            if self._plan.encoder == "v4l2m2m":
                self._record(library, camera, sink, stop)
            else:
                self._capture(camera, sink, stop)
        finally:
            self._camera = None
            camera.close()

    def _record(self, library: Library, camera: Any, sink: VideoSink, stop: threading.Event) -> None:
        encoder = make_encoder(library.encoder, self._plan)
        if hasattr(encoder, "force_key_frame"):
            self._demand = EncoderDemand(encoder, self._plan)
        if self._on_lux is not None:
            camera.post_callback = LuxReader(self._on_lux, self._clock)
        camera.start_recording(encoder, _make_output(library.output, sink, self._clock))
        try:
            while not stop.wait(IDLE_S):
                continue
        finally:
            camera.stop_recording()

    def _capture(self, camera: Any, sink: VideoSink, stop: threading.Event) -> None:
        camera.start()
        try:
            while not stop.is_set():
                pixels = camera.capture_array("main")
                captured_at = self._clock.monotonic()
                sink.picture(av.VideoFrame.from_ndarray(pixels, "yuv420p"), captured_at)
        finally:
            camera.stop()


class LuxReader:
    """picamera2's post_callback: looks at the metadata of a picture now and then, at none of its pixels."""

    def __init__(self, on_lux: Callable[[float], None], clock: Clock) -> None:
        self._on_lux = on_lux
        self._clock = clock
        self._due = float("-inf")

    def __call__(self, request: Any) -> None:
        now = self._clock.monotonic()
        if now < self._due:
            return
        self._due = now + LUX_EVERY_S
        lux = request.get_metadata().get("Lux")
        if isinstance(lux, int | float):
            self._on_lux(float(lux))


class EncoderDemand:
    """The board's encoder as a Demand."""

    def __init__(self, encoder: Any, plan: Plan) -> None:
        self._encoder = encoder
        self._plan = plan
        self._kbps = plan.max_kbps
        self._rate_refused = False

    def request_keyframe(self) -> None:
        """V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME, by picamera2."""
        self._encoder.force_key_frame()

    def set_plan(self, plan: Plan) -> None:
        """Another ceiling at once; a higher one is reached when the viewers' paths carry it."""
        self._plan = plan
        self.set_bitrate(self._kbps)

    def set_bitrate(self, kbps: int) -> None:
        """The same control that picamera2 sets at the start, on the encoder while it runs."""
        kbps = min(max(kbps, self._plan.min_kbps), self._plan.max_kbps)
        device = getattr(self._encoder, "vd", None)
        if kbps == self._kbps or device is None or self._rate_refused:
            return
        try:
            fcntl.ioctl(device, VIDIOC_S_CTRL, struct.pack("=Ii", CID_MPEG_VIDEO_BITRATE, kbps * 1000))
        except OSError as err:
            self._rate_refused = True
            log.warning("the board's encoder does not change its bit rate while it runs: %s", err)
        else:
            self._kbps = kbps


def make_encoder(encoder_class: Any, plan: Plan) -> Any:
    """picamera2's H264Encoder for conversation, with the arguments that this version of it knows."""
    asked = IPERIOD_ASKED_S if hasattr(encoder_class, "force_key_frame") else IPERIOD_S
    wishes = {
        "bitrate": plan.max_kbps * 1000,
        "repeat": repeats_parameter_sets(plan.encoder),
        "iperiod": asked * plan.fps,
        "framerate": plan.fps,
        "profile": profile_option(plan.encoder, plan.profile),
    }
    known = inspect.signature(encoder_class).parameters
    return encoder_class(**{name: value for name, value in wishes.items() if name in known})


def _make_output(output_class: Any, sink: VideoSink, clock: Clock) -> Any:
    class SinkOutput(output_class):  # type: ignore[misc]  # picamera2 has no types
        """Hands coded pictures to the sink, in picamera2's thread."""

        def outputframe(self, frame: bytes, keyframe: bool = True, timestamp: int | None = None, **_: Any) -> None:
            now = clock.monotonic()
            microseconds = round(now * 1_000_000) if timestamp is None else timestamp
            data = bytes(frame)
            sink.unit(AccessUnit(data, h264.has_idr(data), microseconds * VIDEO_CLOCK // 1_000_000, now))

    return SinkOutput()
