"""The event log on Apache Kafka, by confluent-kafka."""
