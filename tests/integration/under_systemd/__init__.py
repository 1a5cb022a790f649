# SPDX-License-Identifier: Apache-2.0
"""A Debian 12 of its own under QEMU, with systemd: the package as a user installs it."""
