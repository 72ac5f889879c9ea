//! Where recordings rest: keys that wrap keys, the sealed format, the stores that hold it, and the reader that plays from it.
//!
//! Shared by the recorder, which writes, and by playback, which reads ranges:
//!
//! - [`keys`]: [`KeyProvider`] wraps the data key that each Recording and each organisation has;
//! - [`seal`]: the format, AES-256-GCM in chunks of 64 KiB that can be opened one by one;
//! - [`store`]: a folder or a bucket that holds sealed objects and never sees a plaintext byte;
//! - [`bucket`]: buckets of others, for what their applications read;
//! - [`reader`]: [`SealedObject`], plaintext ranges out of a store.

pub mod bucket;
pub mod keys;
pub mod name;
pub mod reader;
pub mod seal;
pub mod store;

pub use bucket::Buckets;
pub use keys::{DataKey, KeyContext, KeyError, KeyProvider, KeysConfig, KmsKeys, LocalKeys, WrappedKey};
pub use name::{NameError, ObjectName};
pub use reader::{ReadError, SealedObject};
pub use seal::{SealError, SealWriter, Sealed};
pub use store::{Store, StoreConfig, StoreError, StoreKind};
