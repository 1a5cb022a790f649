# SPDX-License-Identifier: Apache-2.0
"""The only manufacturer-access selectors that are sent to a gauge: each of them only reads."""

READ_SELECTORS = frozenset({
    0x0001, 0x0002, 0x0003, 0x0006,  # device type, firmware, hardware, chemistry
    *range(0x0050, 0x0058),          # the status words
    *range(0x0060, 0x0065),          # lifetime blocks 1 to 5
    *range(0x0070, 0x0079),          # measurements, gauging, balancing, health
    0x007B,                          # DAStatus3 of a BQ40Z80; a text of the maker on R4 and R5
    0x0341,                          # cell voltages of a BQ41Z90
})  # fmt: skip
# Left out:
# 0x0000               selects nothing.
# 0x0004, 5, 8, 9      compute checksums over the flash: slow.
# 0x000A, 0x0010-0041  act: storage, shutdown, sleep, reset, fuse, transistors, learning, logs,
#                      calibration, sealing, keys.
# 0x0058               registers of the analogue front end, for the maker's debugging.
# 0x005A               not on every revision.
# 0x0079               RSOCWrite: sets the state of charge, in the middle of the reads.
# 0x007A, 0x007C-007E  texts and tables that nothing here needs.
# 0x0080 and up        air transport, first words of keys, temperature, flash, calibration.
