//! Which clients may call, see [`super::signature`].
//!
//! The id of the key is checked before the body is read, the signature after that.

use std::time::{SystemTime, UNIX_EPOCH};

use subtle::ConstantTimeEq as _;

use super::{
    answer::{Fault, Kind},
    settings::{AccessKey, Mode, SigV4},
    signature::{Signature, Signed},
};

/// Decides upon calls.
#[derive(Debug)]
pub(super) struct Gate {
    mode: Mode,
    keys: Vec<AccessKey>,
    /// Seconds.
    skew: i64,
}

impl Gate {
    pub(super) fn new(settings: &SigV4) -> Self {
        Gate {
            mode: settings.mode(),
            keys: settings.keys.clone(),
            skew: i64::try_from(settings.max_clock_skew.0.as_secs()).unwrap_or(i64::MAX),
        }
    }

    /// Whether a client with this signature may call, as far as can be told without the body.
    pub(super) fn admit(&self, signature: Option<&Signature<'_>>) -> Result<(), Fault> {
        self.key(signature).map(drop)
    }

    /// Whether the call is the one that was signed.
    pub(super) fn verify(
        &self,
        signature: Option<&Signature<'_>>,
        call: Signed<'_>,
    ) -> Result<(), Fault> {
        let (Some(signature), Some(key)) = (signature, self.key(signature)?) else { return Ok(()) };
        if self.mode != Mode::Verify {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        call.verify(signature, key.secret_access_key.expose(), (now, self.skew))
    }

    /// The key that a call is signed with; none if that does not matter.
    fn key(&self, signature: Option<&Signature<'_>>) -> Result<Option<&AccessKey>, Fault> {
        if self.mode == Mode::None {
            return Ok(None);
        }
        let Some(signature) = signature else {
            let message = "the call is not signed; give the client credentials \
                           (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)";
            return Err(Fault::new(Kind::MissingToken, message));
        };
        let id = signature.key.as_bytes();
        let key = self.keys.iter().find(|key| key.access_key_id.as_bytes().ct_eq(id).into());
        key.map(Some).ok_or_else(|| {
            let message = "the access key of the call is not among `sigv4::keys`";
            Fault::new(Kind::UnrecognizedClient, message)
        })
    }
}
