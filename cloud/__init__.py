"""What runs in the cloud: the refiner that looks again at what the edge sends."""
