"""What the node is doing, in one line for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def status_line(status: Mapping[str, Any]) -> str:
    """The line of `systemctl status`, from the document that `edge-node status --json` prints."""
    if safe_mode := status.get("safe_mode"):
        return f"SAFE MODE, only telemetry: {safe_mode}"
    channel, call, video = status["channel"], status["call"], status["video"]
    words = [f"{channel['state']} {channel['name']}"]
    if channel["state"] == "joined":
        words[0] = f"on {channel['name']}, {_count(channel['peers'], 'other')} here"
    words.append({"idle": "no call"}.get(call["state"], f"call {call['state']}"))
    if status.get("privacy"):
        words.append("privacy on: camera and microphone are shut")
    elif video["state"] == "live":
        words.append(f"{video['source']} {video['fps']:.0f} fps to {_count(video['viewers'], 'viewer')}")
    else:
        words.append(f"video {video['state']}")
    degraded = [problem.partition(":")[0] for problem in status["degraded"]]
    if degraded:
        words.append(f"degraded: {', '.join(degraded)}")
    return ", ".join(words)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
