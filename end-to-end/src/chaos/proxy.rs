//! A TCP proxy whose way can be cut, slowed and closed while connections are open.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How the way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All passes.
    Open,
    /// Nothing passes either way, new connections too, and none breaks off: what was sent arrives when it is open again, as
    /// TCP does where packets are lost.
    Silent,
    /// No connection is taken, and those that were open break off.
    Refused,
    /// All passes, each piece that much later.
    Late(Duration),
}

/// A proxy in front of one or several addresses. Dropping it closes it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
    trap: Trap,
    targets: watch::Sender<Arc<[SocketAddr]>>,
    task: JoinHandle<()>,
}

/// What must be said for its answer to be lost.
type Trap = Arc<Mutex<Option<Vec<u8>>>>;

/// After this whoever was asked has done what it was asked for.
const DONE_WITHIN: Duration = Duration::from_secs(1);

impl Proxy {
    /// Listens on a free port of this machine. Each connection goes to the next of the targets, and to another one where that
    /// one takes none: as a load balancer does.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(targets: Vec<SocketAddr>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (way, seen) = watch::channel(Way::Open);
        let trap = Trap::default();
        let (targets, known) = watch::channel(targets.into());
        let passing = Passing {
            way: seen,
            turn: way.clone(),
            trap: Arc::clone(&trap),
        };
        let task = tokio::spawn(serve(listener, address, known, passing));
        Ok(Self {
            address,
            way,
            trap,
            targets,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Each further connection goes to one of these; open ones stay where they are.
    pub fn lead_to(&self, targets: Vec<SocketAddr>) {
        self.targets.send_replace(targets.into());
    }

    /// Changes the way, for open connections too.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Proxy {
    /// When a client says this text the next time, it is passed on, but no answer comes: the connection breaks off, and the way is
    /// refused from then on.
    pub fn lose_the_answer_to(&self, text: &str) {
        *self.trap.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.into());
    }

    /// Nothing is waited for any more.
    pub fn lose_no_answer(&self) {
        *self.trap.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Waits until that has happened.
    pub async fn until_the_answer_is_lost(&self) {
        let mut way = self.way.subscribe();
        // It can't be gone: we hold it.
        let _gone = way.wait_for(|way| *way == Way::Refused).await.is_err();
    }
}

/// How things pass.
#[derive(Clone)]
struct Passing {
    way: watch::Receiver<Way>,
    turn: watch::Sender<Way>,
    trap: Trap,
}

impl Passing {
    /// Whether a piece is what was waited for; then nothing comes back from now on.
    fn springs(&self, piece: &[u8]) -> bool {
        let mut trap = self.trap.lock().unwrap_or_else(PoisonError::into_inner);
        let text = trap.as_ref();
        let is_it = text.is_some_and(|text| piece.windows(text.len()).any(|part| part == text));
        if is_it {
            *trap = None;
        }
        is_it
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    first: TcpListener,
    address: SocketAddr,
    targets: watch::Receiver<Arc<[SocketAddr]>>,
    mut passing: Passing,
) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut listener = Some(first);
    let mut connections = JoinSet::new();
    loop {
        if *passing.way.borrow_and_update() == Way::Refused {
            listener = None;
            connections.shutdown().await;
            if passing.way.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(open) = &listener else {
            listener = TcpListener::bind(address).await.ok();
            if listener.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            continue;
        };
        tokio::select! {
            accepted = open.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(connection(client, Arc::clone(&targets.borrow()), Arc::clone(&next), passing.clone()));
            },
            changed = passing.way.changed() => if changed.is_err() {
                return;
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection(
    client: TcpStream,
    targets: Arc<[SocketAddr]>,
    next: Arc<AtomicUsize>,
    mut passing: Passing,
) {
    until_something_passes(&mut passing.way).await;
    let first = next.fetch_add(1, Ordering::Relaxed);
    for place in 0..targets.len() {
        if let Ok(server) = TcpStream::connect(targets[(first + place) % targets.len()]).await {
            let _no_delay = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::join!(
                carry(from_client, to_server, passing.clone(), true),
                carry(from_server, to_client, passing, false)
            );
            return;
        }
    }
}

/// Carries what comes until one of the two sides is closed; the other one is closed then.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut passing: Passing,
    is_asking: bool,
) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let now = *passing.way.borrow();
        if let Way::Late(by) = now {
            tokio::time::sleep(by).await;
        }
        until_something_passes(&mut passing.way).await;
        let loses_its_answer = is_asking && passing.springs(&piece[..read]);
        if loses_its_answer {
            passing.turn.send_replace(Way::Silent);
        }
        if to.write_all(&piece[..read]).await.is_err() {
            break;
        }
        if loses_its_answer {
            tokio::time::sleep(DONE_WITHIN).await;
            passing.turn.send_replace(Way::Refused);
        }
    }
    // Nobody learns of an end while nothing passes.
    until_something_passes(&mut passing.way).await;
    let _already_gone = to.shutdown().await;
}

async fn until_something_passes(way: &mut watch::Receiver<Way>) {
    // The proxy is gone if this fails, and with it this connection.
    let _gone = way.wait_for(|way| *way != Way::Silent).await.is_err();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Answers each connection's first byte with its own letter.
    async fn server(letter: u8) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while client.read_u8().await.is_ok() {
                        client.write_u8(letter).await.unwrap();
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn what_was_sent_while_nothing_passes_arrives_when_the_way_is_open_again() {
        let proxy = Proxy::start(vec![server(b'a').await]).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        client.write_u8(1).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'a');
        proxy.set(Way::Silent);
        client.write_u8(1).await.unwrap();
        let soon = Duration::from_millis(200);
        assert!(tokio::time::timeout(soon, client.read_u8()).await.is_err());
        proxy.set(Way::Open);
        assert_eq!(client.read_u8().await.unwrap(), b'a');
    }

    #[tokio::test]
    async fn a_refused_way_breaks_what_was_open_and_takes_nothing_new_until_it_is_open() {
        let proxy = Proxy::start(vec![server(b'a').await]).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        client.write_u8(1).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'a');
        proxy.set(Way::Refused);
        assert!(client.read_u8().await.is_err());
        assert!(TcpStream::connect(proxy.address()).await.is_err());
        proxy.set(Way::Open);
        let again = crate::wait_for(crate::PATIENCE, async || {
            TcpStream::connect(proxy.address()).await.ok()
        });
        let mut client = again.await.unwrap();
        client.write_u8(1).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'a');
    }

    #[tokio::test]
    async fn what_is_waited_for_reaches_the_other_side_and_its_answer_does_not_come() {
        let proxy = Proxy::start(vec![server(b'a').await]).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        client.write_u8(1).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'a');
        proxy.lose_the_answer_to("now");
        client.write_all(b"not").await.unwrap();
        for _ in 0..3 {
            assert_eq!(client.read_u8().await.unwrap(), b'a');
        }
        client.write_all(b"now").await.unwrap();
        assert!(client.read_u8().await.is_err());
        proxy.until_the_answer_is_lost().await;
    }

    #[tokio::test]
    async fn of_two_targets_the_one_that_listens_is_found_each_time() {
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let refusing = gone.local_addr().unwrap();
        drop(gone);
        let proxy = Proxy::start(vec![refusing, server(b'b').await])
            .await
            .unwrap();
        for _ in 0..4 {
            let mut client = TcpStream::connect(proxy.address()).await.unwrap();
            client.write_u8(1).await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'b');
        }
    }
}
