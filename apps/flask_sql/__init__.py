"""The contract's database routes in Flask, on SQLAlchemy's ORM."""
