//! What every service needs to run: settings, telemetry, metrics, health, shutdown.
