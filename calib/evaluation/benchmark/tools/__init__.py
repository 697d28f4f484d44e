"""Other tools on the same network, calibration and evaluation images, each in an environment of its own below build/."""
