# Goes with the examples.
