# SPDX-License-Identifier: Apache-2.0
"""The command `dronebms packs`: the history of packs, and what was learned of them."""
