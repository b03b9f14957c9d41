"""From raw slices to figures: loading, statistics, charts and the report."""
