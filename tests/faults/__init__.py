"""Faults made on real servers, and what a service does meanwhile, over HTTP."""
