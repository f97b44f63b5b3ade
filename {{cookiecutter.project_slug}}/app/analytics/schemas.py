"""What goes out."""

# Goes with the examples.

from pydantic import BaseModel


class UserFigures(BaseModel):
    users: int
    created_last_day: int
