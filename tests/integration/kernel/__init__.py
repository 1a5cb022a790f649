# SPDX-License-Identifier: Apache-2.0
"""A guest with Debian's own kernel, in which a Python process is the adapter and the battery."""
