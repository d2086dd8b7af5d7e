//! The driver as the provisioner's will be: it takes the state, reads the host, decides, appends; and only where nothing
//! follows does it write what `desired` asks for.

use bellhop_domain::id::ReservationId;
use bellhop_domain::reservation::{
    ClaimedHost, Desired, Holding, HostError, HostLeft, Observation, Progress, Release, Resource,
    desired,
};

use super::host::{Consumer, Host, State, Write, secret_of};
use super::sender::IMAGE;

/// What the driver says of the host it read, none where it has nothing to say.
pub(crate) fn observe(state: &Resource, host: Option<&Host>) -> Option<Observation> {
    // A newer decision than ours has been there: our state is old.
    if host.is_some_and(|host| host.fence.is_some_and(|fence| fence > state.version)) {
        return None;
    }
    match desired(state) {
        // No operator says anything in these histories.
        Desired::Nothing | Desired::Adopt(_) | Desired::SwitchOn => None,
        Desired::Wait => host.is_none().then(no_host),
        Desired::Offer { next } => Some(offer(next, host)),
        Desired::Claim(holding) | Desired::Keep(holding) => Some(held(
            holding,
            host.filter(|host| host.reference() == holding.host),
            matches!(desired(state), Desired::Claim(_)),
        )),
        Desired::Release(release) => Some(released(
            release,
            host.filter(|host| host.reference() == release.host),
        )),
    }
}

/// The write that the state asks for on the host that was read.
pub(crate) fn plan(state: &Resource, host: Option<&Host>) -> Option<(ReservationId, Write)> {
    let host = host?;
    if host.paused
        || host.consumer == Some(Consumer::Foreign)
        || host.fence.is_some_and(|fence| fence > state.version)
    {
        return None;
    }
    match desired(state) {
        Desired::Nothing
        | Desired::Adopt(_)
        | Desired::SwitchOn
        | Desired::Offer { .. }
        | Desired::Wait
        | Desired::Keep(_) => None,
        Desired::Claim(holding) => {
            let claims = host.reference() == holding.host && host.is_clean();
            claims.then(|| {
                let secret = holding.secret.clone();
                (holding.reservation.clone(), Write::Claim { secret })
            })
        }
        Desired::Release(release) if host.reference() == release.host => {
            let ours = host.belongs_to(&release.reservation);
            let fenced = host.fence.is_some_and(|fence| fence >= release.ordered);
            let write = match (ours, fenced) {
                (true, false) => Write::Release,
                (true, true) if host.is_empty() => Write::ClearConsumer,
                (false, false) => Write::Fence,
                _ => return None,
            };
            Some((release.reservation.clone(), write))
        }
        Desired::Release(_) => None,
    }
}

fn no_host() -> Observation {
    Observation::NoHost {
        text: "no host".to_owned(),
    }
}

fn offer(next: &ReservationId, host: Option<&Host>) -> Observation {
    match host {
        None => no_host(),
        Some(host) if host.is_clean() && !host.paused => Observation::Clean {
            host: host.reference(),
            secret: secret_of(next, host.uid),
        },
        Some(_) => Observation::NotClean {
            text: "not clean".to_owned(),
        },
    }
}

fn held(holding: &Holding, host: Option<&Host>, claiming: bool) -> Observation {
    let Some(host) = host else {
        return Observation::HostGone;
    };
    if host.belongs_to(&holding.reservation) {
        return Observation::Claimed(claimed(holding, host));
    }
    match (claiming, &host.consumer) {
        (true, Some(_)) => Observation::ClaimRefused {
            text: "foreign".to_owned(),
        },
        _ => Observation::Unclaimed,
    }
}

fn claimed(holding: &Holding, host: &Host) -> ClaimedHost {
    let changed = if host.image.as_deref() != Some(IMAGE) {
        Some("image".to_owned())
    } else if host.user_data.as_ref() != Some(&holding.secret) {
        Some("userData".to_owned())
    } else {
        None
    };
    let suspended = |reason: &str| Progress::Suspended {
        reason: reason.to_owned(),
    };
    let progress = if changed.is_some() {
        suspended("changed by someone else")
    } else if host.paused {
        suspended("paused")
    } else if host.state == State::Provisioned && host.status_image == host.image {
        Progress::Ready { address: None }
    } else {
        Progress::Working
    };
    ClaimedHost {
        progress,
        error: host.error.then(|| HostError {
            kind: "provisioning error".to_owned(),
            message: "no disk".to_owned(),
        }),
        changed,
    }
}

fn released(release: &Release, host: Option<&Host>) -> Observation {
    let Some(host) = host else {
        return Observation::Released {
            left: HostLeft::Gone,
            not_wiped: false,
        };
    };
    // On a host that someone else took meanwhile no fence can be written, so it is waited for: without the fence, a writer
    // that slept could still claim it.
    let fenced = host.fence.is_some_and(|fence| fence >= release.ordered);
    if fenced && host.is_clean() {
        Observation::Released {
            left: HostLeft::Off,
            not_wiped: false,
        }
    } else {
        Observation::Releasing
    }
}
