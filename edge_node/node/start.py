"""How this start came about, as far as it changes what the node does or tells."""

from __future__ import annotations

from dataclasses import dataclass

from edge_node.settings import Settings


@dataclass(frozen=True, slots=True)
class Start:
    """`safe_mode` says why the node starts without media, panel and channel; `failed_update` why one was taken back.

    `update` is what became of the last update, for the first start after it. All are for people; None: all is well.
    """

    safe_mode: str | None = None
    failed_update: str | None = None
    update: str | None = None

    def degraded(self) -> list[str]:
        """One sentence for each, as of a part that is not well."""
        told = {"safe mode": self.safe_mode, "update": self.failed_update}
        return [f"{name}: {why}" for name, why in told.items() if why is not None]


NORMAL = Start()


def harmless(settings: Settings) -> Settings:
    """The same settings without anything that opens a device: what is left is telemetry and the control socket."""
    return settings.model_copy(
        update={
            "video": settings.video.model_copy(update={"source": "none"}),
            "audio": settings.audio.model_copy(update={"microphone": "none", "speaker": "none"}),
            "gpio": settings.gpio.model_copy(update={"driver": "none"}),
            "clip": settings.clip.model_copy(update={"enabled": False}),
            "daylight": settings.daylight.model_copy(update={"enabled": False}),
            "agent": settings.agent.model_copy(update={"enabled": False}),
        }
    )
