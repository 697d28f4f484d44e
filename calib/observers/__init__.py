"""What is measured of a network on its calibration images."""
