//! The settings file.

use std::net::SocketAddr;
use std::path::Path;

use bellhop_simulator::cluster::ClusterSettings;
use bellhop_simulator::reservation_system::Settings;
use serde::Deserialize;

use super::Failure;

/// All of the file. Each part may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProgramSettings {
    pub(crate) cluster: ClusterSettings,
    pub(crate) reservation_system: Settings,
    pub(crate) trace_collector: Option<CollectorSettings>,
    pub(crate) schedule: Schedule,
}

/// Where traces are collected.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CollectorSettings {
    pub(crate) listen: SocketAddr,
}

/// What is booked by itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Schedule {
    /// Nothing is booked before this URL answers with a 2xx.
    pub(crate) wait_for: Option<String>,
    pub(crate) bookings: Vec<ScheduledBooking>,
}

/// One booking, by the time when the schedule begins.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduledBooking {
    pub(crate) resource: String,
    pub(crate) user: String,
    pub(crate) starts_in_seconds: u32,
    pub(crate) lasts_seconds: u32,
    #[serde(default = "usual_title")]
    pub(crate) title: String,
}

fn usual_title() -> String {
    "Demo".to_owned()
}

impl ProgramSettings {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|source| Failure::Settings {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|source| Failure::SettingsForm {
            path: path.to_owned(),
            source,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_docker_compose_are_understood_and_fit_together() {
        let text = include_str!("../../../deploy/compose/simulator.json");
        let settings: ProgramSettings = serde_json::from_str(text).unwrap();
        let system = &settings.reservation_system;
        assert!(
            system.scheduler.is_some(),
            "someone must send the starts and ends"
        );
        assert!(!settings.schedule.bookings.is_empty());
        for booking in &settings.schedule.bookings {
            let resource = system
                .resources
                .iter()
                .find(|resource| resource.name == booking.resource);
            assert!(resource.is_some(), "{} is a resource", booking.resource);
            assert!(
                system.users.iter().any(|user| user.id == booking.user),
                "{} is a user",
                booking.user
            );
        }
    }

    #[test]
    fn settings_of_another_form_are_refused_with_their_place() {
        let folder = std::env::temp_dir().join(format!("bellhop-simulator-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("settings.json");
        std::fs::write(&file, "{\"clusters\": {}}").unwrap();
        let failure = ProgramSettings::read(&file).unwrap_err();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(
            super::super::with_causes(&failure).contains("unknown field `clusters`"),
            "{failure:?}"
        );
    }
}
