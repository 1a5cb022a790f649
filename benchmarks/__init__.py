# SPDX-License-Identifier: Apache-2.0
"""Programs that measure and judge the product (README.md has the map)."""
