"""The contract's database routes in Starlette, on SQLAlchemy's asynchronous ORM."""
