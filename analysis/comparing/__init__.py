"""Two runs side by side: what changed around them, which cells became faster or slower, which order held."""
