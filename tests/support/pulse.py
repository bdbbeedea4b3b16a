"""A PulseAudio daemon of our own, whose null sinks stand for a speaker without a sound card."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

Pcm = npt.NDArray[np.int16]
RATE = 48_000
RAW = (f"--rate={RATE}", "--channels=1", "--format=s16le", "--raw")
NEEDED = ("pulseaudio", "pacat", "parec", "pactl")
ALSA_PLUGIN = "alsa-lib/libasound_module_pcm_pulse.so"
START_S = 30.0

# norewinds=1: without it the null sink's clock stutters (facts/audio.md, section 1).
LAB_PA = """\
load-module module-native-protocol-unix socket={native} auth-anonymous=1
load-module module-null-sink sink_name=speaker norewinds=1 rate=48000 channels=1 format=s16le
load-module module-null-sink sink_name=mic norewinds=1 rate=48000 channels=1 format=s16le
set-default-sink speaker
set-default-source mic.monitor
"""
ASOUND_CONF = """\
pcm.speaker {{ type pulse server "unix:{native}" device "speaker" }}
pcm.mic     {{ type pulse server "unix:{native}" device "mic.monitor" }}
pcm.tapout  {{ type pulse server "unix:{native}" device "speaker.monitor" }}
pcm.feedmic {{ type pulse server "unix:{native}" device "mic" }}
pcm.!default {{ type asym playback.pcm "speaker" capture.pcm "mic" }}
"""


def why_not() -> str | None:
    """The reason why this machine cannot run the lab, or None."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed (apt-get install pulseaudio pulseaudio-utils)"
    if not any(Path(lib).glob(f"**/{ALSA_PLUGIN}") for lib in ("/usr/lib", "/usr/lib64") if Path(lib).is_dir()):
        return "ALSA's pulse plugin is not installed (apt-get install libasound2-plugins)"
    return None


class PulseLab:
    """Two null sinks, `speaker` and `mic`, and the ALSA configuration that names them.

    `folder` must have a short path: a Unix socket's is at most 107 characters (unix(7)).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._native = folder / "native"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._feeders: list[subprocess.Popen[bytes]] = []
        (folder / "lab.pa").write_text(LAB_PA.format(native=self._native))
        (folder / "asound.conf").write_text(ASOUND_CONF.format(native=self._native))
        (folder / "run").mkdir(mode=0o700, exist_ok=True)

    @property
    def env(self) -> dict[str, str]:
        """Environment for a process that uses the lab's devices; ALSA reads it when PortAudio initialises."""
        return {
            **os.environ,
            "HOME": str(self._folder),
            "XDG_RUNTIME_DIR": str(self._folder / "run"),
            "PULSE_RUNTIME_PATH": str(self._folder / "run"),
            "PULSE_STATE_PATH": str(self._folder / "run"),
            "ALSA_CONFIG_PATH": str(self._folder / "asound.conf"),
            "PULSE_SERVER": f"unix:{self._native}",
        }

    def start(self) -> None:
        """Starts the daemon, or starts it again after kill(); returns when both sinks are there."""
        with (self._folder / "pulse.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                ["pulseaudio", "-n", "-F", str(self._folder / "lab.pa"), "--daemonize=no", "--exit-idle-time=-1",
                 "--disallow-exit", "--use-pid-file=no", "--disable-shm=no", "--realtime=no", "--high-priority=no",
                 "--log-target=stderr"],
                env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while len(self._sinks()) < 2:
            if time.monotonic() > deadline or self._daemon.poll() is not None:
                raise RuntimeError(f"pulseaudio did not start: {(self._folder / 'pulse.log').read_text()[-2000:]}")
            time.sleep(0.02)

    def _sinks(self) -> list[bytes]:
        listed = subprocess.run(
            ["pactl", "list", "short", "sinks"], env=self.env, capture_output=True, timeout=START_S, check=False
        )
        return listed.stdout.splitlines()

    def kill(self) -> None:
        """Ends the daemon as a crash would (SIGKILL)."""
        if self._daemon is not None:
            self._daemon.send_signal(signal.SIGKILL)
            self._daemon.wait(START_S)
            self._daemon = None

    def freeze(self) -> None:
        """Stops the daemon where it stands (SIGSTOP): its clients wait for ever. Only kill() helps."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """Ends the daemon with everything that plays into it."""
        self.silence_mic()
        self.kill()

    def play_into_mic(self, pcm: Pcm) -> None:
        """Speaks `pcm` (mono, 48 kHz) into the microphone, from a process of its own.

        Returns at once; ends with silence_mic() or when all is played.
        """
        raw = self._folder / f"feed-{len(self._feeders)}.raw"
        raw.write_bytes(pcm.astype("<i2").tobytes())
        command = ["pacat", "--playback", "--device=mic", *RAW]
        with raw.open("rb") as source:
            feeder = subprocess.Popen(
                command, env=self.env, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        self._feeders.append(feeder)

    def silence_mic(self) -> None:
        """Ends what play_into_mic started."""
        for feeder in self._feeders:
            feeder.kill()
            feeder.wait(START_S)
        self._feeders.clear()

    def loop_speaker_into_mic(self, delay_ms: int = 40) -> None:
        """From now on the microphone hears what the speaker plays, about delay_ms later."""
        subprocess.run(
            ["pactl", "load-module", "module-loopback", "source=speaker.monitor", "sink=mic", "adjust_time=0",
             f"latency_msec={delay_ms}", "rate=48000", "channels=1", "format=s16le"],
            env=self.env, capture_output=True, timeout=START_S, check=True,
        )  # fmt: skip

    def record_speaker(self, duration_s: float) -> Pcm:
        """What the speaker plays during the next duration_s seconds: mono, 48 kHz. Blocks that long."""
        wanted = int(duration_s * RATE) * 2
        with subprocess.Popen(
            ["parec", "--device=speaker.monitor", "--latency-msec=20", *RAW],
            env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as recorder:  # fmt: skip
            stopper = _kill_later(recorder, duration_s + START_S)
            assert recorder.stdout is not None
            with stopper:
                heard = recorder.stdout.read(wanted)
            recorder.kill()
        return np.frombuffer(heard[: len(heard) // 2 * 2], "<i2").astype(np.int16)


@contextmanager
def _kill_later(process: subprocess.Popen[bytes], limit_s: float) -> Iterator[None]:
    timer = threading.Timer(limit_s, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


@contextmanager
def pulse_lab() -> Iterator[PulseLab]:
    """A running lab in a short temporary folder; skips the test, with the reason, where it cannot run."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="pa-") as folder:
        lab = PulseLab(Path(folder))
        lab.start()
        try:
            yield lab
        finally:
            lab.stop()
