"""The bench of sound: delay measured at the devices, the cost of mixing, the cost of publishing."""
