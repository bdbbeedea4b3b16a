"""Two application slots, signed bundles, a guard that always finds a working one.

This room is installed outside the slots, too (in /usr/lib/edge-node), and run there by the distribution's own Python:
so it imports the standard library, `edge_node.errors`, `edge_node.durable`, nothing else.
"""
