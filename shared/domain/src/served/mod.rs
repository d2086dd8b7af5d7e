//! What of the senders' world Bellhop serves: which types of resource, and which sites. All services read it alike.

mod resource_types;
mod sites;

pub use resource_types::{ResourceTypes, ResourceTypesError};
pub use sites::{SiteIds, SiteIdsError};
