"""What every application must answer, and whether a server does."""
