//! What can be done to each part.

use std::fmt;
use std::time::Duration;

use crate::service::ServiceKind;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A replica of a service.
    Service(ServiceKind, usize),
    /// A server of the broker.
    Broker(usize),
}

/// A way between two parts, with a proxy in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// From a replica of a service to all servers of the broker.
    ToBroker(ServiceKind, usize),
    /// From a provisioner to the Kubernetes API server.
    ToKubernetes(usize),
    /// From a notifier to the receiver.
    ToReceiver(usize),
    /// From all services to one server of the broker.
    OfBrokerNode(usize),
    /// From one server of the broker to its others; all services reach all of them.
    BetweenBrokers(usize),
    /// The same of the server that leads the ledger at that time.
    OfLeader,
}

/// What the API server of the cluster does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kubernetes {
    /// 500.
    Errors,
    /// 429 with `Retry-After`.
    Throttles,
    /// 409 to each write.
    Conflicts,
    /// Every watch is expired.
    ExpiresWatches,
    /// Carries out, and cuts the connection before the answer.
    LosesAnswers,
    /// Answers late.
    Slow,
    /// Takes no connection.
    Away,
    /// Metal3 can't write the image, once for each host.
    HostsFail,
}

/// What the receiver of the reports does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Receiver {
    /// Reads, and never answers.
    Hangs,
    /// 500.
    Errors,
    /// Takes no connection.
    Refuses,
    /// Takes the report, and cuts the connection before the answer.
    LosesAnswers,
    /// Answers late.
    Slow,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL, and a start some time later.
    Kill(Part),
    /// SIGSTOP, and SIGCONT some time later.
    Stop(Part),
    /// Nothing passes, and no connection breaks off.
    Cut(Link),
    /// All that passes is late.
    Slow(Link),
    /// Of the API server, or of Metal3 behind it.
    Kubernetes(Kubernetes),
    /// Of the receiver.
    Receiver(Receiver),
}

impl Fault {
    /// How long it lasts where there is time, in milliseconds.
    pub(super) fn lasts(self) -> std::ops::Range<u64> {
        match self {
            Self::Kill(_) => 200..4000,
            // The longest time-out that anything here has is 20 s: twice the ping to the broker.
            Self::Stop(Part::Service(..)) => 4000..26_000,
            Self::Stop(Part::Broker(_)) => 3000..14_000,
            Self::Cut(_) => 4000..26_000,
            Self::Slow(_) | Self::Kubernetes(_) | Self::Receiver(_) => 2000..9000,
        }
    }
}

/// How late what passes a slow link is.
pub const LATE: Duration = Duration::from_millis(120);

/// As a row of the table names it: for all replicas alike.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(part) => write!(f, "kill {part}"),
            Self::Stop(part) => write!(f, "stop {part}"),
            Self::Cut(link) => write!(f, "partition {link}"),
            Self::Slow(link) => write!(f, "slow {link}"),
            Self::Kubernetes(kubernetes) => f.write_str(match kubernetes {
                Kubernetes::Errors => "Kubernetes answers 500",
                Kubernetes::Throttles => "Kubernetes answers 429",
                Kubernetes::Conflicts => "Kubernetes answers 409",
                Kubernetes::ExpiresWatches => "Kubernetes expires watches",
                Kubernetes::LosesAnswers => "Kubernetes loses answers",
                Kubernetes::Slow => "Kubernetes is slow",
                Kubernetes::Away => "Kubernetes is away",
                Kubernetes::HostsFail => "hosts fail once",
            }),
            Self::Receiver(receiver) => f.write_str(match receiver {
                Receiver::Hangs => "receiver hangs",
                Receiver::Errors => "receiver answers 500",
                Receiver::Refuses => "receiver refuses",
                Receiver::LosesAnswers => "receiver loses answers",
                Receiver::Slow => "receiver is slow",
            }),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(kind, _) => write!(f, "{kind}"),
            Self::Broker(_) => f.write_str("broker server"),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToBroker(kind, _) => write!(f, "{kind} – broker"),
            Self::ToKubernetes(_) => f.write_str("provisioner – Kubernetes"),
            Self::ToReceiver(_) => f.write_str("notifier – receiver"),
            Self::OfBrokerNode(_) => f.write_str("one broker server – services"),
            Self::BetweenBrokers(_) => f.write_str("one broker server – the others"),
            Self::OfLeader => f.write_str("the ledger's leader – the other broker servers"),
        }
    }
}
