"""From raw data to figures: percentiles, intervals, gates, places."""
