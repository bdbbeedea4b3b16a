"""What publishing costs, beside the official SDK, aiortc's own sender and Janus."""
