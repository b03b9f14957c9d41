"""The contract's database routes on asyncpg, without a framework."""
