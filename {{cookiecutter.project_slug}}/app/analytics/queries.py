"""All SQL of the figures."""

# Goes with the examples.

from sqlalchemy import func, select

from app.analytics.reader import AnalyticsReader
from app.analytics.schemas import UserFigures
from app.users.models import User


async def user_figures(reader: AnalyticsReader) -> UserFigures:
    is_new = User.created_at > func.now() - func.make_interval(0, 0, 0, 1)
    statement = select(func.count(User.id), func.count(User.id).filter(is_new))
    [(users, new_today)] = await reader.all(statement)
    return UserFigures(users=users, created_last_day=new_today)
