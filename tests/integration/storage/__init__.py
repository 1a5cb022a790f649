# SPDX-License-Identifier: Apache-2.0
"""Storage under torture: failing calls and power cuts, for every file that the product writes."""
