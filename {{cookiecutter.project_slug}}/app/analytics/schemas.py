"""What goes out."""

from pydantic import BaseModel


class UserFigures(BaseModel):
    users: int
    created_last_day: int
