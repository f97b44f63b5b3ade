"""The upstream and the webhook, called through the aiohttp pool."""

# Goes with the examples.
