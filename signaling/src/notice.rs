//! Notices: what people of a visit are told by SMS and e-mail, and when. Nothing here says who they are or why they come: a message
//! names the practice, at most the clinician's first name and the time, and a page or a link.
//!
//! [`plan`] decides what is due, `template` writes it, a [`carrier`] sends it, [`chore`] does both again and again, and
//! [`delivery`] takes in what providers report.

pub mod carrier;
pub mod chore;
pub mod command;
pub mod config;
pub mod contact;
pub mod delivery;
pub(crate) mod gsm;
pub mod hook;
pub mod http;
pub(crate) mod ics;
pub(crate) mod mime;
pub mod outbox;
pub mod plan;
pub mod reach;
pub(crate) mod route;
pub(crate) mod ses;
pub(crate) mod smtp;
pub(crate) mod sns;
pub mod store;
pub(crate) mod template;
#[cfg(test)]
mod tests;

use crate::words::words;

words! {
    /// What a message says.
    Template {
        /// A visit was planned.
        Initial = "INITIAL",
        /// It comes near.
        Reminder = "REMINDER",
        /// Here is the link.
        Link = "LINK",
        /// It has another time.
        Rescheduled = "RESCHEDULED",
        /// It will not be.
        Cancelled = "CANCELLED",
    }
}

words! {
    /// What carries one message. A visit's [`Channel`](crate::visit::Channel) may ask for both.
    Medium {
        /// A text message.
        Sms = "SMS",
        /// An e-mail.
        Email = "EMAIL",
    }
}

words! {
    /// Where a message stands.
    Status {
        /// Waits to be sent.
        Queued = "QUEUED",
        /// The provider has it.
        Sent = "SENT",
        /// The provider says that it arrived.
        Delivered = "DELIVERED",
        /// It did not, or was never sent; the reason says why.
        Failed = "FAILED",
        /// The person wants no messages over this channel.
        OptedOut = "OPTED_OUT",
    }
}

words! {
    /// Why a message failed.
    Reason {
        /// Its channel is not set up here.
        NoCarrier = "NO_CARRIER",
        /// More messages in this time than are allowed.
        FrequencyCap = "FREQUENCY_CAP",
        /// The provider refuses the number, the address or the message.
        Refused = "REFUSED",
        /// The provider reports that it did not arrive.
        Undelivered = "UNDELIVERED",
        /// The provider was away for too long.
        GivenUp = "GIVEN_UP",
        /// The visit was over before it could be sent.
        VisitOver = "VISIT_OVER",
        /// Its link was used, withdrawn or too old before it could be sent.
        LinkGone = "LINK_GONE",
        /// The number or address was changed before it could be sent.
        ContactChanged = "CONTACT_CHANGED",
    }
}
