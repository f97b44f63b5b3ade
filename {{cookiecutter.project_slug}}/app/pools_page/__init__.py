"""A page for people, with what each pool does now, drawn from what /metrics says."""
