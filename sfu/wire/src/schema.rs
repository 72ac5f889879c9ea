//! How ids and masked values look in JSON, for whoever describes an API that carries them.

use std::borrow::Cow;

use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema, json_schema};

use crate::Redacted;
use crate::ids::{OrderId, ParticipantId, PeerId, RecorderId, RecordingId, RoomId, TrackId, VisitId};

macro_rules! uuids {
    ($($name:ident,)*) => {
        $(impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "format": "uuid"})
            }
        })*
    };
}

uuids! { OrderId, ParticipantId, PeerId, RecorderId, RecordingId, RoomId, TrackId, VisitId, }

/// The mask is for logs: in JSON the value is itself.
impl<T: JsonSchema> JsonSchema for Redacted<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
