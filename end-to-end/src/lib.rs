//! The whole system as processes: the demo and the end-to-end tests.
