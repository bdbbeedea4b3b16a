"""GStreamer's RTSP server as a camera, for the system's Python: gi is no PyPI wheel."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

SOURCE = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1"
STREAMS = {
    "h264": (
        "x264enc tune=zerolatency speed-preset=ultrafast bitrate=1000 key-int-max=30 ! "
        "video/x-h264,profile=constrained-baseline ! rtph264pay name=pay0 pt=96 config-interval=-1"
    ),
    "b-frames": (
        "x264enc speed-preset=veryfast bframes=2 b-adapt=false rc-lookahead=5 key-int-max=30 ! "
        "video/x-h264,profile=main ! rtph264pay name=pay0 pt=96"
    ),
    "vp8": "vp8enc deadline=1 ! rtpvp8pay name=pay0",
}


def require_login(server: Any, factory: Any, user: str, password: str) -> None:
    """Digest only."""
    rtsp_server = import_module("gi.repository.GstRtspServer")
    auth = rtsp_server.RTSPAuth()
    auth.set_supported_methods(import_module("gi.repository.GstRtsp").RTSPAuthMethod.DIGEST)
    token = rtsp_server.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest(user, password, token)
    server.set_auth(auth)
    may = "viewer, media.factory.access=(bool)true, media.factory.construct=(bool)true"
    factory.add_role_from_structure(import_module("gi.repository.Gst").Structure.new_from_string(may))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stream", choices=sorted(STREAMS), default="h264")
    parser.add_argument("--login", metavar="USER:PASSWORD")
    arguments = parser.parse_args()
    gi = import_module("gi")
    for name in ("Gst", "GstRtsp", "GstRtspServer"):
        gi.require_version(name, "1.0")
    import_module("gi.repository.Gst").init(None)
    rtsp_server = import_module("gi.repository.GstRtspServer")
    server = rtsp_server.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    factory = rtsp_server.RTSPMediaFactory()
    factory.set_launch(f"( {SOURCE} ! {STREAMS[arguments.stream]} )")
    factory.set_shared(True)
    if arguments.login:
        require_login(server, factory, *arguments.login.split(":"))
    server.get_mount_points().add_factory("/stream", factory)
    server.attach(None)
    print(f"ready rtsp://127.0.0.1:{server.get_bound_port()}/stream", flush=True)
    import_module("gi.repository.GLib").MainLoop().run()


if __name__ == "__main__":
    main()
