"""The noise band: what the same server, measured twice in the same rounds of a run, can differ by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.statistics import MIN_BLOCKS, block_means, mean_interval

if TYPE_CHECKING:
    import pandas as pd


def noise_band(table: pd.DataFrame, subject: str, twin: str) -> float | None:
    """The A/A noise of one level as a ratio over 1: an effect up to it may be no server's doing.

    The greater of two: the half-width of the 95 % interval of the twins' mean log ratio over blocks, which
    chance alone stays within in 19 of 20 runs; and the effect that was seen between them. Where the twins'
    own interval excludes 1, something other than chance tells them apart, and the band is that effect.

    Args:
        table: logarithms, from `log_rate_table` or `analysis.leads.lead_table`.
        subject: one of its columns.
        twin: the column of the same server's second copy.

    Returns:
        None where the two have fewer than `MIN_BLOCKS` blocks in common.
    """
    if subject not in table or twin not in table:
        return None
    means = block_means(table[subject] - table[twin])
    if len(means) < MIN_BLOCKS:
        return None
    mean, low, high, _ = mean_interval(means)
    return float(np.exp(max(abs(mean), (high - low) / 2)))
