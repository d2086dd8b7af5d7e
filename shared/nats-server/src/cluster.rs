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

/// The ways between the servers of a cluster.
#[derive(Debug, Clone)]
pub struct Routes {
    listen: Vec<u16>,
    /// Where each server looks for each other one, where that is not where that one listens.
    past: Vec<((usize, usize), u16)>,
}

impl Routes {
    /// Between so many servers. Their ports were free just now: another process could take one before the server does; the
    /// start then fails with the server's log, which names the port.
    ///
    /// # Errors
    /// There are no free ports.
    pub fn between(servers: usize) -> Result<Self, StartError> {
        let listen = free_ports(servers).map_err(|source| StartError::Signal {
            what: "find free ports for the routes of",
            source,
        })?;
        Ok(Self {
            listen,
            past: Vec::new(),
        })
    }

    /// Where a server listens for the others, on 127.0.0.1.
    ///
    /// # Panics
    /// There are not so many.
    #[must_use]
    pub fn listens_at(&self, server: usize) -> u16 {
        self.listen[server]
    }

    /// Lets a server look for another one at this port, where a proxy is that leads to it. Where one way is so, all have to be:
    /// no server tells the others where it is any more.
    #[must_use]
    pub fn through(mut self, from: usize, to: usize, port: u16) -> Self {
        self.past.push(((from, to), port));
        self
    }

    fn membership(&self, server: usize) -> Membership {
        let others = (0..self.listen.len()).filter(|other| *other != server);
        let port = |other: usize| {
            let mut past = self.past.iter();
            let past = past.find(|(between, _)| *between == (server, other));
            past.map_or(self.listen[other], |(_, port)| *port)
        };
        Membership {
            name: format!("n{server}"),
            route_port: self.listen[server],
            looked_for_at: others.map(port).collect(),
            is_told_of: self.past.is_empty(),
        }
    }
}

impl NatsCluster {
    pub(crate) fn start(configuration: Configuration, routes: &Routes) -> Result<Self, StartError> {
        let mut servers = Vec::with_capacity(routes.listen.len());
        for server in 0..routes.listen.len() {
            let mut builder = NatsServerBuilder::default();
            builder.configuration = Configuration {
                monitoring: true,
                membership: Some(routes.membership(server)),
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

    /// The servers, each of its own from now on.
    #[must_use]
    pub fn into_servers(self) -> Vec<NatsServer> {
        self.servers
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_looks_for_each_other_one_where_it_is_told_to_and_nobody_tells_it_of_another_way() {
        let routes = Routes {
            listen: vec![10, 11, 12],
            past: Vec::new(),
        };
        let direct = routes.membership(1);
        assert_eq!(
            (direct.looked_for_at, direct.is_told_of),
            (vec![10, 12], true)
        );
        let past = routes.through(1, 0, 99).through(0, 1, 98);
        let past = past.membership(1);
        assert_eq!((past.looked_for_at, past.is_told_of), (vec![99, 12], false));
    }
}
