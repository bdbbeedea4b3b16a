"""What a node takes of a small board: memory, and writes to its card."""
