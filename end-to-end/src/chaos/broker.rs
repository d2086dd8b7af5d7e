//! The broker: one `nats-server`, or a cluster of three that replicate each other's streams.

use bellhop_nats_server::{NatsCluster, NatsServer, StartError};

/// How many servers a cluster has; it goes on with one of them away.
pub const CLUSTER: usize = 3;

/// The running broker.
#[derive(Debug)]
pub(super) enum Broker {
    One(Box<NatsServer>),
    Cluster(NatsCluster),
}

impl Broker {
    /// Starts it with so many servers.
    pub(super) fn start(servers: usize) -> Result<Self, StartError> {
        let builder = NatsServer::builder().monitoring();
        if servers > 1 {
            builder.start_cluster(servers).map(Self::Cluster)
        } else {
            builder.start().map(Box::new).map(Self::One)
        }
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
