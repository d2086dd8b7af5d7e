//! The text of a server's configuration file.

use std::fmt::Write as _;
use std::path::Path;

/// What a cluster's member must know of the others.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    /// This server's name, unique in the cluster.
    pub(crate) name: String,
    /// The port that the other members connect to.
    pub(crate) route_port: u16,
    /// The ports at which it looks for the other members.
    pub(crate) looked_for_at: Vec<u16>,
    /// Whether it tells the others where it listens, and they one another.
    pub(crate) is_told_of: bool,
}

/// What a server is started with, besides its port and folders.
#[derive(Debug, Clone, Default)]
pub(crate) struct Configuration {
    /// Added at the top level, as given.
    pub(crate) additions: Vec<String>,
    /// Added inside the `jetstream` block, as given.
    pub(crate) jetstream_additions: Vec<String>,
    /// Whether the monitoring port is opened.
    pub(crate) monitoring: bool,
    /// Set for a member of a cluster.
    pub(crate) membership: Option<Membership>,
}

impl Configuration {
    /// Renders the file. A port of 0 lets the server choose; it writes what it chose into `ports_folder`.
    pub(crate) fn render(&self, port: u16, store: &Path, ports_folder: &Path) -> String {
        let port = if port == 0 {
            "-1".to_owned()
        } else {
            port.to_string()
        };
        let mut text = format!(
            "host: \"127.0.0.1\"\nport: {port}\nports_file_dir: {}\n\
             jetstream {{\n  store_dir: {}\n  sync_interval: always\n",
            quoted(ports_folder),
            quoted(store),
        );
        for addition in &self.jetstream_additions {
            let _ = writeln!(text, "  {addition}");
        }
        text.push_str("}\n");
        if self.monitoring {
            text.push_str("http: \"127.0.0.1:-1\"\n");
        }
        if let Some(membership) = &self.membership {
            let routes: Vec<String> = membership
                .looked_for_at
                .iter()
                .map(|port| format!("\"nats://127.0.0.1:{port}\""))
                .collect();
            let _ = write!(
                text,
                // Clients know the addresses that they were given and no others: there may be a proxy in front of each.
                "server_name: {}\ncluster {{\n  name: bellhop\n  listen: \"127.0.0.1:{}\"\n  routes: [{}]\n  \
                 no_advertise: true\n",
                membership.name,
                membership.route_port,
                routes.join(", "),
            );
            if !membership.is_told_of {
                // They would tell one another where to go past the proxies. Nobody listens there.
                text.push_str("  advertise: \"127.0.0.1:1\"\n");
            }
            text.push_str("}\n");
        }
        for addition in &self.additions {
            let _ = writeln!(text, "{addition}");
        }
        text
    }
}

/// A path as a string of the configuration language.
fn quoted(path: &Path) -> String {
    format!(
        "\"{}\"",
        path.display()
            .to_string()
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_syncs_each_write() {
        let text = Configuration::default().render(0, Path::new("/store"), Path::new("/ports"));
        assert!(text.contains("sync_interval: always"), "{text}");
        assert!(text.contains("port: -1"), "{text}");
    }
}
