"""The contract's database routes on psycopg 3, without a framework."""
