# What is done with the monitoring.

.PHONY: rules
rules: .venv ## Write the alerts anew as resources of Kubernetes
	@.venv/bin/python -m dev.alert_rules
