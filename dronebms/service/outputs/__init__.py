# SPDX-License-Identifier: Apache-2.0
"""What receives the reports of a service: vehicle, viewers, log, recorder, pack history."""
