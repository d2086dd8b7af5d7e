//! The provisioner against a real `nats-server` and the simulated Metal3 cluster, over real sockets; the tests of
//! `kubernetes` also against a real API server (`cargo xtask test --kubernetes`).

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "provisioner/adoption.rs"]
mod adoption;
#[path = "provisioner/capacity.rs"]
mod capacity;
#[path = "provisioner/changes.rs"]
mod changes;
#[path = "provisioner/clocks.rs"]
mod clocks;
#[path = "provisioner/cluster_faults.rs"]
mod cluster_faults;
#[path = "provisioner/dead_letters.rs"]
mod dead_letters;
#[path = "provisioner/hosts_of_others.rs"]
mod hosts_of_others;
#[path = "provisioner/images.rs"]
mod images;
#[path = "provisioner/installation.rs"]
mod installation;
#[path = "provisioner/interrupted.rs"]
mod interrupted;
#[path = "provisioner/kubernetes/mod.rs"]
mod kubernetes;
#[path = "provisioner/orders.rs"]
mod orders;
#[path = "provisioner/outward.rs"]
mod outward;
#[path = "provisioner/permits.rs"]
mod permits;
#[path = "provisioner/replicas.rs"]
mod replicas;
#[path = "provisioner/reservations.rs"]
mod reservations;
#[path = "provisioner/shadow.rs"]
mod shadow;
#[path = "provisioner/sites.rs"]
mod sites;
#[path = "provisioner/ten_hosts.rs"]
mod ten_hosts;
#[path = "provisioner/world.rs"]
mod world;
