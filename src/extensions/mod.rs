//! The extensions: one file each, one [`Entry`] each in [`ALL`].

pub mod basicauth;
pub mod bearertokenauth;
pub mod file_storage;
pub mod health_check;
mod htpasswd;
pub mod oidc;
mod pages;
pub mod pprof;
mod secret_header;
#[cfg(feature = "aws")]
pub mod sigv4auth;
mod watched;
pub mod zpages;

use crate::component::{Entry, ExtensionConfig};

/// Every extension type, by canonical name.
pub const ALL: &[Entry<dyn ExtensionConfig>] = &[
    basicauth::ENTRY,
    bearertokenauth::ENTRY,
    file_storage::ENTRY,
    health_check::ENTRY,
    health_check::ENTRY_V2,
    oidc::ENTRY,
    pprof::ENTRY,
    #[cfg(feature = "aws")]
    sigv4auth::ENTRY,
    zpages::ENTRY,
];

/// Those that queues and journals may name.
pub const STORAGES: &[&str] = &["file_storage"];

/// Those that receivers may name in `auth`.
pub const SERVER_AUTHENTICATORS: &[&str] = &["basicauth", "bearertokenauth", "oidc"];

/// Those that exporters may name in `auth`.
pub const AUTHENTICATORS: &[&str] = &[
    "basicauth",
    "bearertokenauth",
    #[cfg(feature = "aws")]
    "sigv4auth",
];
