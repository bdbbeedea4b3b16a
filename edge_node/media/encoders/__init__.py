"""H.264 encoders behind one small interface."""
