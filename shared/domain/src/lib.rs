//! Reservations, facts and the decision: pure, without I/O or a clock.
