//! One suite, two servers: what Bellhop relies on in a Kubernetes API server and in Metal3, tried on the simulated cluster
//! in every test run, and by `cargo xtask test --kubernetes` on a real API server, under the role that is shipped.
//!
//! Everything here goes over HTTP: the stage is set by an administrator's requests, the provisioner has a token of its own. Each
//! of its requests goes through a go-between that writes it down; at the end of every test all are judged ([`record`]).
//! What only one of the two servers can be asked to do (refuse for lack of room, forget a version) has its place in [`server`]
//! and [`refusing`]; nothing else knows which server it is. Where the two differ, the simulator is wrong.

mod answers;
mod between;
mod held_hosts;
mod hosts_of_others;
mod late_secrets;
mod leaving;
mod moving_over;
mod operator;
mod other_writers;
mod pages;
mod readiness;
mod record;
mod refusals;
mod refusing;
mod requests;
mod reservations;
mod role;
mod server;
mod stage;
mod types;
mod watches;
mod wording;
