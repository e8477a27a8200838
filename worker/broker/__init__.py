"""Brokers to run innerloop on: an embedded one for demos, a real Apache Kafka for the rest."""
