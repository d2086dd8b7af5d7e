//! The broker: one `nats-server`, or a cluster of three that replicate each other's streams, with a proxy in each way between two
//! of them.

use std::net::{Ipv4Addr, SocketAddr};

use bellhop_nats_server::{NatsCluster, NatsServer, Routes};

use super::ChaosError;
use super::proxy::{Proxy, Way};
use crate::HarnessError;

/// How many servers a cluster has; it goes on with one of them away.
pub const CLUSTER: usize = 3;

/// The running broker.
#[derive(Debug)]
pub(super) enum Broker {
    One(Box<NatsServer>),
    Cluster(NatsCluster),
}

/// The ways between its servers, each from one that looks for another one. They hold one connection for each two, whichever of
/// them was quicker.
#[derive(Debug, Default)]
pub(super) struct Between(Vec<(usize, usize, Proxy)>);

impl Between {
    /// Changes all ways of one server to the others.
    pub(super) fn set(&self, server: usize, way: Way) {
        for (from, to, proxy) in &self.0 {
            if *from == server || *to == server {
                proxy.set(way);
            }
        }
    }
}

impl Broker {
    /// Starts it with so many servers.
    pub(super) async fn start(servers: usize) -> Result<(Self, Between), ChaosError> {
        let builder = NatsServer::builder().monitoring();
        if servers == 1 {
            let server = builder.start().map_err(HarnessError::Nats)?;
            return Ok((Self::One(Box::new(server)), Between::default()));
        }
        let mut routes = Routes::between(servers).map_err(HarnessError::Nats)?;
        let mut between = Vec::new();
        for (from, to) in (0..servers).flat_map(|from| (0..servers).map(move |to| (from, to))) {
            if from != to {
                let target = SocketAddr::from((Ipv4Addr::LOCALHOST, routes.listens_at(to)));
                let proxy = Proxy::start(vec![target]).await;
                let proxy = proxy.map_err(HarnessError::Files)?;
                routes = routes.through(from, to, proxy.address().port());
                between.push((from, to, proxy));
            }
        }
        // The proxies work on other threads meanwhile.
        let cluster = tokio::task::block_in_place(|| builder.start_cluster_over(&routes));
        let cluster = cluster.map_err(HarnessError::Nats)?;
        Ok((Self::Cluster(cluster), Between(between)))
    }

    /// Its servers.
    pub(super) fn servers(&self) -> &[NatsServer] {
        match self {
            Self::One(server) => std::slice::from_ref(server),
            Self::Cluster(cluster) => cluster.servers(),
        }
    }

    /// One of them.
    pub(super) fn server(&mut self, node: usize) -> &mut NatsServer {
        match self {
            Self::One(server) => server,
            Self::Cluster(cluster) => cluster.server(node),
        }
    }

    /// Where clients connect that are no part of what fails.
    pub(super) fn url(&self) -> String {
        let urls: Vec<String> = self.servers().iter().map(NatsServer::url).collect();
        urls.join(",")
    }
}
