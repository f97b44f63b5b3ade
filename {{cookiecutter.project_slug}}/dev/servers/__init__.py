"""What is around the service here, a module each with a function `serve` that gives variables."""
