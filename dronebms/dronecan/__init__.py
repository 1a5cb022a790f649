# SPDX-License-Identifier: Apache-2.0
"""DroneCAN: batteries to and from a CAN bus.

`CanBus` is the node of this service on one bus, shared by everything that sends or receives there.
The package `dronecan` (extra `dronecan`) brings the data types; it is imported by `dsdl` alone.
"""
