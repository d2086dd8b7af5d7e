//! Facts in, reports out.
