//! Bookings that are made by themselves, so that a demo shows something.

use std::time::Duration;

use bellhop_simulator::reservation_system::{
    NewBooking, ReservationSystem, ReservationSystemError,
};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::settings::{Schedule, ScheduledBooking};

const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// Books and announces all that is scheduled; starts and ends follow by the reservation system's clock. Never ends.
pub(crate) async fn play(system: &ReservationSystem, schedule: Schedule) {
    if let (Some(url), false) = (&schedule.wait_for, schedule.bookings.is_empty()) {
        info!("nothing is booked before {url} answers");
        wait_for(url).await;
    }
    let began = Timestamp::now();
    for booking in schedule.bookings {
        if let Err(error) = book(system, booking, began).await {
            warn!("a scheduled booking was not made: {error}");
        }
    }
    std::future::pending().await
}

async fn book(
    system: &ReservationSystem,
    scheduled: ScheduledBooking,
    began: Timestamp,
) -> Result<(), ReservationSystemError> {
    let ScheduledBooking {
        resource,
        user,
        starts_in_seconds,
        lasts_seconds,
        title,
    } = scheduled;
    let start = began
        .saturating_add(SignedDuration::from_secs(starts_in_seconds.into()))
        .unwrap_or(began);
    let end = start
        .saturating_add(SignedDuration::from_secs(lasts_seconds.into()))
        .unwrap_or(start);
    let booking = system.book(NewBooking::new(&user, &resource, start, end).title(title))?;
    info!(
        "{user} books {resource} from {start:.0} to {end:.0}: booking {}",
        booking.id
    );
    system.announce(booking.id).await?;
    Ok(())
}

/// Until it answers with a 2xx.
async fn wait_for(url: &str) {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(LOOK_TIMEOUT)
        .build();
    let Ok(client) = client else {
        warn!("{url} can't be asked: not waiting");
        return;
    };
    loop {
        let answer = client.get(url).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
