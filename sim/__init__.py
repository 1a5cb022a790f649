"""A virtual smart battery: cells, gauge, wire, faults and flights. Knows no MAVLink."""
