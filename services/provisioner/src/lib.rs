//! Deliveries in, Kubernetes driven, facts out.
