"""The state of the database pools, for people who look into a problem."""
