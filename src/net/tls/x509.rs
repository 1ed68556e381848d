//! Reads validity, usage and key of certificates that webpki refuses, because they are those of an
//! authority or of X.509 version 1.
//!
//! Anything unexpected is an error, so a certificate that cannot be read is never trusted.

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, Error};

const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0]`: the version; absent in version 1.
const VERSION: u8 = 0xA0;
/// `[3]`: the extensions.
const EXTENSIONS: u8 = 0xA3;

/// 2.5.29.37, extended key usage.
const KEY_USAGES: &[u8] = &[0x55, 0x1D, 0x25];
/// 2.5.29.37.0, any usage.
const ANY_USAGE: &[u8] = &[0x55, 0x1D, 0x25, 0x00];

/// What a certificate is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    Server,
    Client,
}

impl Usage {
    /// 1.3.6.1.5.5.7.3.1 and 1.3.6.1.5.5.7.3.2.
    const fn oid(self) -> &'static [u8] {
        match self {
            Usage::Server => &[0x2B, 6, 1, 5, 5, 7, 3, 1],
            Usage::Client => &[0x2B, 6, 1, 5, 5, 7, 3, 2],
        }
    }
}

/// The parts of a certificate that are needed.
#[derive(Debug)]
pub(super) struct Certificate<'c> {
    /// First and last second of the validity, since 1970.
    validity: (i64, i64),
    /// Subject public key info, with its tag.
    key: &'c [u8],
    /// The allowed usages; `None` means any.
    usages: Option<&'c [u8]>,
}

impl<'c> Certificate<'c> {
    pub(super) fn parse(certificate: &'c CertificateDer<'_>) -> Result<Self, Error> {
        Self::read(certificate.as_ref()).ok_or(CertificateError::BadEncoding.into())
    }

    fn read(der: &'c [u8]) -> Option<Self> {
        let mut outer = Der(Der(der).take(SEQUENCE)?);
        let mut body = Der(outer.take(SEQUENCE)?);
        if body.peek() == Some(VERSION) {
            body.next()?;
        }
        // Serial number, signature algorithm, issuer.
        for _ in 0..3 {
            body.next()?;
        }
        let mut validity = Der(body.take(SEQUENCE)?);
        let validity = (time(&validity.next()?)?, time(&validity.next()?)?);
        body.take(SEQUENCE)?;
        let key = body.next().filter(|field| field.tag == SEQUENCE)?.whole;
        let mut usages = None;
        while let Some(field) = body.peek().and_then(|_| body.next()) {
            if field.tag == EXTENSIONS {
                usages = key_usages(field.value)?;
            }
        }
        Some(Certificate { validity, key, usages })
    }

    /// Checks the validity at `now` and the usage.
    pub(super) fn check(&self, usage: Usage, now: UnixTime) -> Result<(), Error> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let wrong = if now < self.validity.0 {
            CertificateError::NotValidYet
        } else if now > self.validity.1 {
            CertificateError::Expired
        } else if !self.is_for(usage) {
            CertificateError::InvalidPurpose
        } else {
            return Ok(());
        };
        Err(wrong.into())
    }

    fn is_for(&self, usage: Usage) -> bool {
        let Some(mut usages) = self.usages.map(Der) else { return true };
        std::iter::from_fn(|| usages.take(OID)).any(|oid| oid == usage.oid() || oid == ANY_USAGE)
    }

    /// The public key.
    pub(super) fn key(&self) -> SubjectPublicKeyInfoDer<'c> {
        SubjectPublicKeyInfoDer::from(self.key)
    }
}

/// The list of usages, if there is one.
#[expect(clippy::option_option, reason = "it may be unreadable, or not there")]
fn key_usages(extensions: &[u8]) -> Option<Option<&[u8]>> {
    let mut extensions = Der(Der(extensions).take(SEQUENCE)?);
    while extensions.peek().is_some() {
        let mut extension = Der(extensions.take(SEQUENCE)?);
        let oid = extension.take(OID)?;
        if extension.peek() == Some(BOOLEAN) {
            extension.next()?;
        }
        if oid == KEY_USAGES {
            return Der(extension.take(OCTET_STRING)?).take(SEQUENCE).map(Some);
        }
    }
    Some(None)
}

/// Reads consecutive DER fields.
struct Der<'d>(&'d [u8]);

struct Field<'d> {
    tag: u8,
    value: &'d [u8],
    whole: &'d [u8],
}

impl<'d> Der<'d> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self) -> Option<Field<'d>> {
        let (tag, first) = (*self.0.first()?, *self.0.get(1)?);
        let (head, len) = match first {
            0..=0x7F => (2, usize::from(first)),
            0x81..=0x84 => {
                let bytes = self.0.get(2..2 + usize::from(first & 0x7F))?;
                let len = bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
                (2 + bytes.len(), len)
            }
            _ => return None,
        };
        let (whole, rest) = self.0.split_at_checked(head.checked_add(len)?)?;
        self.0 = rest;
        Some(Field { tag, value: &whole[head..], whole })
    }

    /// The value of the next field, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'d [u8]> {
        self.next().filter(|field| field.tag == tag).map(|field| field.value)
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` in seconds since 1970.
fn time(field: &Field<'_>) -> Option<i64> {
    let text = std::str::from_utf8(field.value).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (field.tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: i64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let two = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day) = (two(0)?, two(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Counts years from March on, so that the leap day is the last day of a year.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    Some(((days * 24 + two(4)?) * 60 + two(6)?) * 60 + two(8)?)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2024, 2, 29);
        params.not_after = date_time_ymd(2061, 1, 1);
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
    }

    #[test]
    fn a_certificate_is_valid_from_its_first_second_to_its_last() {
        let der = made(|_| {});
        let certificate = Certificate::parse(&der).unwrap();
        let wrong = |seconds| certificate.check(Usage::Server, at(seconds)).err();
        let (first, last) = (1_709_164_800, 2_871_763_200);
        assert_eq!(wrong(first - 1), Some(CertificateError::NotValidYet.into()));
        assert_eq!((wrong(first), wrong(last)), (None, None));
        assert_eq!(wrong(last + 1), Some(CertificateError::Expired.into()));
    }

    #[test]
    fn a_certificate_is_accepted_only_for_its_usages() {
        let check = |purposes: Vec<ExtendedKeyUsagePurpose>| {
            let der = made(|params| params.extended_key_usages = purposes);
            let certificate = Certificate::parse(&der).unwrap();
            [Usage::Server, Usage::Client]
                .map(|usage| certificate.check(usage, at(1 << 31)).is_ok())
        };
        assert_eq!(check(vec![]), [true, true]);
        assert_eq!(check(vec![ExtendedKeyUsagePurpose::Any]), [true, true]);
        assert_eq!(check(vec![ExtendedKeyUsagePurpose::ServerAuth]), [true, false]);
        assert_eq!(check(vec![ExtendedKeyUsagePurpose::ClientAuth]), [false, true]);
        assert_eq!(check(vec![ExtendedKeyUsagePurpose::CodeSigning]), [false, false]);
    }

    #[test]
    fn truncated_or_changed_certificates_never_panic() {
        let der = made(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        for end in 0..der.len() {
            assert!(Certificate::read(&der[..end]).is_none(), "{end}");
        }
        for at in 0..der.len() {
            for byte in [0, 0x30, 0x7F, 0x80, 0x84, 0xFF] {
                let mut changed = der.to_vec();
                changed[at] = byte;
                let _ = Certificate::read(&changed);
            }
        }
    }
}
