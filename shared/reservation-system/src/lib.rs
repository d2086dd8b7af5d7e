//! Wire formats and signatures of the reservation system.
