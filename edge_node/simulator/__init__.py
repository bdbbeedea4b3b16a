"""A whole appliance on one machine: hub, node and a world that can be steered."""
