"""A camera module that is not there: as much of picamera2 as CameraSource uses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from edge_node.media.camera_source import Library
from tests.support.h264 import make_units

UNITS = make_units(30, gop=15)


class FakeModule:
    """The environment's side: what was asked of the camera, and a cable to pull."""

    def __init__(self) -> None:
        self.configured: dict[str, Any] = {}
        self.encoder_arguments: dict[str, Any] = {}
        self.controls: dict[str, Any] = {}
        self.keyframes_forced = 0
        self.open = 0
        self.plugged = True
        self.unplugged_at_start = False
        self.metadata: dict[str, Any] = {"ExposureTime": 33_000, "AnalogueGain": 1.0, "Lux": 400.0}

    def library(self, *, askable: bool = True) -> Library:
        """The classes, bound to this module; an old picamera2 cannot be asked for keyframes."""
        module = self

        class Output:
            def outputframe(self, frame: bytes, keyframe: bool = True, timestamp: int | None = None) -> None:
                raise NotImplementedError

        class OldEncoder:
            def __init__(self, bitrate: int, repeat: bool = True, iperiod: int | None = None) -> None:
                module.encoder_arguments = {"bitrate": bitrate, "repeat": repeat, "iperiod": iperiod}

        class Encoder(OldEncoder):
            def __init__(self, bitrate: int, repeat: bool, iperiod: int, framerate: int, profile: str) -> None:
                super().__init__(bitrate, repeat, iperiod)
                module.encoder_arguments |= {"framerate": framerate, "profile": profile}

            def force_key_frame(self) -> None:
                module.keyframes_forced += 1

        return Library(lambda: FakeCamera(module), Encoder if askable else OldEncoder, Output)


class FakeCamera:
    """The program's side: a Picamera2 object."""

    def __init__(self, module: FakeModule) -> None:
        if module.unplugged_at_start:
            raise IndexError("list index out of range")
        self._module = module
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.post_callback: Callable[[Any], None] | None = None
        module.open += 1

    def get_metadata(self) -> dict[str, Any]:
        """Of the request that post_callback gets."""
        return dict(self._module.metadata)

    def create_video_configuration(self, **configuration: Any) -> dict[str, Any]:
        return configuration

    def align_configuration(self, configuration: dict[str, Any]) -> None:
        width, height = configuration["main"]["size"]
        configuration["main"]["size"] = (width // 32 * 32, height)

    def configure(self, configuration: dict[str, Any]) -> None:
        self._module.configured = configuration

    def set_controls(self, controls: dict[str, Any]) -> None:
        self._module.controls.update(controls)

    def start_recording(self, encoder: object, output: Any) -> None:
        def film() -> None:
            index = 0
            while not self._stop.wait(1 / 60):
                if self._module.plugged:
                    if self.post_callback is not None:
                        self.post_callback(self)
                    unit = UNITS[index % len(UNITS)]
                    output.outputframe(unit.data, unit.keyframe, index * 33_333, packet=None, audio=False)
                    index += 1

        self._thread = threading.Thread(target=film, daemon=True)
        self._thread.start()

    def stop_recording(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def start(self) -> None:
        self._stop.clear()

    def stop(self) -> None:
        self._stop.set()

    def capture_array(self, name: str) -> Any:
        assert name == "main"
        width, height = self._module.configured["main"]["size"]
        self._stop.wait(1 / 60)
        if not self._module.plugged:
            raise RuntimeError("camera frontend has timed out")
        return np.full((height * 3 // 2, width), 128, dtype=np.uint8)

    def close(self) -> None:
        self._module.open -= 1
