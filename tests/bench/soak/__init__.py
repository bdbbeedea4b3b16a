"""Half a day in the life of a node in a few minutes: the real node, a simulated world that fails by turns."""
