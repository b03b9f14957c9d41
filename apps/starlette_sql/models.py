"""The lab's tables as SQLAlchemy's declarative models."""

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """What all models have."""


class Entry(Base):
    """A row that is read."""

    __tablename__ = "entry"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


class Counter(Base):
    """A row that is updated."""

    __tablename__ = "counter"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


class Fortune(Base):
    """A message."""

    __tablename__ = "fortune"
    id: Mapped[int] = mapped_column(primary_key=True)
    message: Mapped[str]
