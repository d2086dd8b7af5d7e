//! HTTP in, deliveries out.
