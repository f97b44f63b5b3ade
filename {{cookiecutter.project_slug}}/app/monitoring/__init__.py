"""What Prometheus asks for: the pools' figures and the requests' durations."""
