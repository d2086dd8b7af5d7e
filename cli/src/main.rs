//! Runs the services of Bellhop; the operator's commands.

fn main() {}
