# SPDX-License-Identifier: Apache-2.0
"""The cells of a pack: model, parameter identification of the weakest one, states of the others."""
