//! A reservation system.
