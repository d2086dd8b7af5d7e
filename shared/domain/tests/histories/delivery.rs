//! What the broker hands out: the sender's words about bookings and of deleted resources, and the words of operators.

use bellhop_domain::id::{DeliveryId, ReservationId};
use bellhop_domain::reservation::{DeliveryRef, OperatorWord};

use super::sender::Sent;

#[derive(Clone, Debug)]
pub(crate) enum Delivery {
    /// The sender says something of a booking.
    Said(Box<Sent>),
    /// The sender deleted a resource.
    ResourceDeleted(DeletedResource),
    /// An operator says what shall be.
    Ordered(Ordered),
}

#[derive(Clone, Debug)]
pub(crate) struct DeletedResource {
    pub(crate) resource: usize,
    pub(crate) number: i64,
    pub(crate) reference: DeliveryRef,
}

#[derive(Clone, Debug)]
pub(crate) struct Ordered {
    pub(crate) word: OperatorWord,
    pub(crate) place: OrderPlace,
    pub(crate) sequence: u64,
}

/// Where an operator's word is decided.
#[derive(Clone, Debug)]
pub(crate) enum OrderPlace {
    Resource(usize),
    Reservation(ReservationId),
}

impl Delivery {
    pub(crate) fn sequence(&self) -> u64 {
        match self {
            Self::Said(sent) => sent.word.delivery.sequence,
            Self::ResourceDeleted(deleted) => deleted.reference.sequence,
            Self::Ordered(ordered) => ordered.sequence,
        }
    }

    pub(crate) fn said(&self) -> Option<&Sent> {
        match self {
            Self::Said(sent) => Some(sent),
            Self::ResourceDeleted(_) | Self::Ordered(_) => None,
        }
    }
}

/// The broker's `sequence`-th delivery.
pub(crate) fn reference(sequence: u64) -> DeliveryRef {
    DeliveryRef {
        sequence,
        id: DeliveryId::new(format!("o{sequence}")),
    }
}
