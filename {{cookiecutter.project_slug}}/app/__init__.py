"""A FastAPI service and its connection pools."""

__title__ = "{{ cookiecutter.project_slug }}"
__version__ = "0.1.0"
