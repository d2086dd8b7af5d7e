//! The event store over NATS JetStream: streams, subjects, envelopes, dead letters, reports.
