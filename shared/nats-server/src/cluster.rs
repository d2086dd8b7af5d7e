//! Several servers that replicate each other's streams.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::configuration::{Configuration, Membership};
use crate::server::{NatsServer, NatsServerBuilder, StartError};

/// Three servers agree on a leader some 5 s after their start.
const HEALTH_LIMIT: Duration = Duration::from_secs(60);

/// A running cluster on loopback. Dropping it kills every server.
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<NatsServer>,
}

impl NatsCluster {
    pub(crate) fn start(configuration: Configuration, size: usize) -> Result<Self, StartError> {
        let all_route_ports = free_ports(size).map_err(|source| StartError::Signal {
            what: "find free ports for the routes of",
            source,
        })?;
        let mut servers = Vec::with_capacity(size);
        for (index, route_port) in all_route_ports.iter().enumerate() {
            let mut builder = NatsServerBuilder::default();
            builder.configuration = Configuration {
                monitoring: true,
                membership: Some(Membership {
                    name: format!("n{index}"),
                    route_port: *route_port,
                    all_route_ports: all_route_ports.clone(),
                }),
                ..configuration.clone()
            };
            servers.push(builder.start()?);
        }
        let mut cluster = Self { servers };
        cluster.wait_until_healthy()?;
        Ok(cluster)
    }

    /// All servers, in the order of their names (`n0`, `n1`, …).
    #[must_use]
    pub fn servers(&self) -> &[NatsServer] {
        &self.servers
    }

    /// One server, to kill or pause it.
    ///
    /// # Panics
    /// There are not so many.
    pub fn server(&mut self, index: usize) -> &mut NatsServer {
        &mut self.servers[index]
    }

    /// All addresses, separated by commas, as clients take them.
    #[must_use]
    pub fn url(&self) -> String {
        self.servers
            .iter()
            .map(NatsServer::url)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Waits until every running server reports healthy: it is connected, and JetStream has a leader and is up to date.
    ///
    /// # Errors
    /// One of them does not within a minute, or ends.
    pub fn wait_until_healthy(&mut self) -> Result<(), StartError> {
        let deadline = Instant::now() + HEALTH_LIMIT;
        for server in self
            .servers
            .iter_mut()
            .filter(|server| server.process_id().is_some())
        {
            let Some(address) = server.monitoring_url().and_then(|url| {
                url.strip_prefix("http://")
                    .and_then(|address| address.parse::<SocketAddr>().ok())
            }) else {
                continue;
            };
            server.poll_until(deadline, "report healthy", || healthy(address))?;
        }
        Ok(())
    }
}

/// Ports that were free just now. Another process could take one before the server does; the start then fails with
/// the server's log, which names the port.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<io::Result<_>>()?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}

/// Whether the server's own health page answers 200.
fn healthy(address: SocketAddr) -> Option<()> {
    let limit = Some(Duration::from_secs(2));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(limit).ok()?;
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").ok()?;
    let mut status_line = [0_u8; 12];
    stream.read_exact(&mut status_line).ok()?;
    status_line.ends_with(b" 200").then_some(())
}
