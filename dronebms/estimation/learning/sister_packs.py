# SPDX-License-Identifier: Apache-2.0
"""Prior of a pack that has not flown yet, from its sister packs: those of the same model."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dronebms.estimation.cell.cell_model import FAST, OFFSET
from dronebms.estimation.cell.cell_parameters import CellParameters, matrix, relative
from dronebms.estimation.model_parameters import FITTED, KNOTS_FRAC, ModelParameters

MAX_SISTERS = 5  # newest


def sister_prior(
    sisters: Sequence[CellParameters], parameters: ModelParameters = FITTED
) -> CellParameters:
    """Fuse what is known of sister packs, one or more, as the prior of another pack.

    Each counts as known for a pack that differs from it by `sd_sister`. What they have in common,
    such as an error of the circuit, is unknown: covariance intersection with equal weights (Julier
    and Uhlmann, Proc. American Control Conference 1997, 2369) never makes the prior surer than
    that allows. Sister packs differ in resistance, so that only its change with temperature within
    each of them counts for the dependence on temperature.
    """
    c = parameters
    sisters = [cells.of_median() for cells in sisters]
    warm = [relative(cells.warm) for cells in sisters]
    sds_v = np.full(len(KNOTS_FRAC), c.sd_sister_v)
    size = len(sisters[0].mean)
    information = np.zeros((size, size))
    push = np.zeros(size)
    for own, cells in enumerate(sisters):
        others = tuple([point for k, points in enumerate(warm) if k != own for point in points])
        of_all = replace(cells, sister_warm=others)
        x, covariance = of_all.carried_over(np.array(c.sd_sister), sds_v, c)
        covariance[OFFSET - FAST, OFFSET - FAST] += c.sd_offset_v**2  # of that flight alone
        inverse = np.linalg.inv(covariance) / len(sisters)
        information += inverse
        push += inverse @ x
    fused = np.linalg.inv(information)
    mean = fused @ push
    return CellParameters(
        mean=tuple(mean.tolist()),
        covariance=matrix((fused + fused.T) / 2),
        sister_warm=tuple([point for points in warm for point in points]),
    )
