"""Reports to a flight controller and the ground by MAVLink, and the vehicle's state back."""
