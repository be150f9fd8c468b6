"""Incoming: REST and RabbitMQ."""
