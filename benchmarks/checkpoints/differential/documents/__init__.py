"""The documents of all configurations, by what they are about."""
