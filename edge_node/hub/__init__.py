"""The self-hosted hub: other people's clients, the control plane, the console."""
