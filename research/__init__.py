# SPDX-License-Identifier: Apache-2.0
"""Programs that made the cell models, the flights and the constants of the product (README.md)."""
