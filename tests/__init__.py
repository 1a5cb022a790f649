# SPDX-License-Identifier: Apache-2.0
"""The tests, as a package, so that one folder can use the helpers of another."""
