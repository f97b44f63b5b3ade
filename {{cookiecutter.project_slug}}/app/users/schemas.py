"""What goes in and out."""

# Goes with the examples.

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

# PostgreSQL's text holds every character but NUL.
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
# Whether an address exists is found out by writing to it; this only keeps nonsense out.
Email = Annotated[str, StringConstraints(max_length=320, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$")]


class UserCreate(BaseModel):
    name: Name
    email: Email


class Visits(BaseModel):
    visits: int


class UserRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    email: str
