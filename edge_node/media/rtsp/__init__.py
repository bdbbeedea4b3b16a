"""H.264 from RTSP cameras, handed through without decoding."""
