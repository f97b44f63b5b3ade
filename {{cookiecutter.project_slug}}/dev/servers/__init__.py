"""The servers around the service, a module each with a function `serve`."""
