"""Gauges on SMBus: raw transfers below, believable values above. Knows nothing of drones."""
