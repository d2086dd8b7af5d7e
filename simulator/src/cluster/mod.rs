//! A Metal3 cluster.
