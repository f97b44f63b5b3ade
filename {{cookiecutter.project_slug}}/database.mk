# What is done with the database.

.PHONY: migrate
migrate: .venv ## Migrate the database of DATABASE_URL
	@.venv/bin/alembic upgrade head

.PHONY: budget
budget: .venv ## Print how many connections the pools may open, and how many the server has room for
	@.venv/bin/python -m app.budget
