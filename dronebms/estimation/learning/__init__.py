# SPDX-License-Identifier: Apache-2.0
"""What flights have taught of packs, models and vehicles, kept as plain data."""
