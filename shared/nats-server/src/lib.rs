//! A real nats-server for tests and the demo: found or installed, started on a free port, ended.
