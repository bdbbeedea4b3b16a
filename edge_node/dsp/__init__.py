"""Arithmetic on sound: pure functions of samples and of the time passed in."""
