"""This Linux machine: its service manager, its log, its measurements."""
