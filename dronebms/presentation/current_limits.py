# SPDX-License-Identifier: Apache-2.0
"""The current limits of a pack: estimated discharge limits, and what the governor commands."""

from dronebms.core.report import Report


def discharge_limits(report: Report) -> list[tuple[float, str]]:
    """Estimated discharge limits of the pack in amperes, each with its duration."""
    estimate = report.estimate
    rows = (
        (estimate.max_discharge_2s_a, "for 2 s"),
        (estimate.max_discharge_a, "for 10 s"),
        (estimate.max_discharge_30s_a, "for 30 s"),
    )
    return [(limit_a, name) for limit_a, name in rows if limit_a is not None]


def binding_current_limit(report: Report) -> tuple[float | None, str]:
    """The lowest of the discharge limits and the commanded limit, with its name."""
    asked_a = report.status.asked_max_a
    commanded = [] if asked_a is None else [(asked_a, "commanded")]
    return min([*commanded, *discharge_limits(report)], default=(None, ""))
