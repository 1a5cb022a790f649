"""What each gauge of `metrics.py` is made of. Base units, as OpenMetrics wants them."""

from dronebms.protection.limits import Severity

# fmt: off
LINE = (  # key of the predictions contract, name, times what, what it is
    ("voltage_v",        "voltage_volts",         1.0,   "of the pack"),
    ("current_a",        "current_amperes",       1.0,   "of the pack; discharge is positive"),
    ("temperature_degc", "temperature_celsius",   1.0,   "of the pack"),
    ("soc_pct",          "charge_ratio",          0.01,  "charge left"),
    ("soh_pct",          "health_ratio",          0.01,  "health, 1 is new"),
    ("remaining_s",      "remaining_seconds",     1.0,   "time left at this load, median"),
    ("remaining_low_s",  "remaining_low_seconds", 1.0,   "time left that is 95 % sure"),
    ("home_reserve_s",   "home_reserve_seconds",  1.0,   "time left after the way home"),
    ("resistance_ohm",   "resistance_ohms",       1.0,   "of the pack"),
    ("max_discharge_a",  "max_discharge_amperes", 1.0,   "that the pack can give for 10 s"),
    ("asked_max_a",      "asked_max_amperes",     1.0,   "that the vehicle is asked to stay below"),
    ("used_mah",         "used_ampere_hours",     0.001, "since the service was started"),
)
MORE = (  # name, what it is, further labels
    ("age_seconds", "since the voltage was read", ()),
    ("severity",    ", ".join(f"{level.value} {level.label}" for level in Severity), ()),
    ("tripped",     "1 for each limit that is tripped", ("limit",)),
    ("cell_volts",  "of each cell, from 1", ("cell",)),
)
ROWS = (*((name, what, ()) for _, name, _, what in LINE), *MORE)
# fmt: on
