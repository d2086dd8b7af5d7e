//! A collector of OpenTelemetry traces.
