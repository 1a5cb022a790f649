# SPDX-License-Identifier: Apache-2.0
"""The live page of a running service for a browser: read-only, in a process of its own.

`server.serve` needs the extra `web` and is imported from its module.
"""
