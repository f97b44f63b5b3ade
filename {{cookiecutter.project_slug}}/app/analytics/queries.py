"""All SQL of the figures."""

# Goes with the examples.

from sqlalchemy import func, select

from app.analytics.reader import AnalyticsReader
from app.analytics.schemas import UserFigures
from app.users.models import User

IS_NEW = User.created_at > func.now() - func.make_interval(0, 0, 0, 1)
FIGURES = select(func.count(User.id), func.count(User.id).filter(IS_NEW))


async def user_figures(reader: AnalyticsReader) -> UserFigures:
    [(users, new_today)] = await reader.all(FIGURES)
    return UserFigures(users=users, created_last_day=new_today)
