//! The remedy for a failed handshake.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Finds the TLS error in an error of a connection, and its remedy.
pub(in crate::net) fn find(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        let inner = io.and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref::<Error>());
        if let Some(error) = inner.or_else(|| error.downcast_ref::<Error>()) {
            return remedy(error);
        }
        // The HTTP/2 library keeps only the text of an error.
        if let Some(remedy) = io.and_then(|io| of_words(&io.to_string())) {
            return Some(remedy);
        }
        next = error.source();
    }
    None
}

fn of_words(text: &str) -> Option<&'static str> {
    let alert = text.strip_prefix("received fatal alert: ")?;
    // rustls writes the names of alerts.
    let known = (0..=u8::MAX).map(AlertDescription::from);
    known.into_iter().find(|known| format!("{known:?}") == alert).and_then(of_alert)
}

fn remedy(error: &Error) -> Option<&'static str> {
    let text = match error {
        Error::InvalidCertificate(wrong) => return of_certificate(wrong),
        Error::AlertReceived(alert) => return of_alert(*alert),
        Error::InvalidMessage(_) => {
            "the server does not speak TLS there: write `http://` in the URL, for gRPC set \
             `tls.insecure: true`, or use another port"
        }
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => {
            "both sides have no TLS version in common: see `tls.min_version` and `tls.max_version`"
        }
        Error::NoApplicationProtocol => {
            "the server does not speak this protocol (gRPC needs HTTP/2): check the port"
        }
        _ => return None,
    };
    Some(text)
}

fn of_certificate(error: &CertificateError) -> Option<&'static str> {
    let text = match error {
        CertificateError::UnknownIssuer => {
            "the certificate's authority is not trusted, name it in `tls.ca_file`"
        }
        CertificateError::BadSignature => {
            "another authority of the same name has signed it, name the right one in `tls.ca_file`"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another name, set `tls.server_name_override`"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired: renew it on the server, or correct the clock of this machine"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet: is the clock of this machine right?"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not for servers (extended key usage): issue one that is"
        }
        CertificateError::BadEncoding => "the server's certificate is damaged: issue another one",
        CertificateError::Revoked => "the certificate was revoked: renew it on the server",
        CertificateError::Other(_) => {
            "the server shows a certificate that cannot be checked (an authority's own, or of an \
             old version): name this very certificate in `tls.ca_file`, or issue one of version 3 \
             that is not an authority's"
        }
        _ => return None,
    };
    Some(text)
}

fn of_alert(alert: AlertDescription) -> Option<&'static str> {
    let text = match alert {
        AlertDescription::CertificateRequired => {
            "the server wants a client certificate, set `tls.cert_file` and `tls.key_file`"
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => {
            "the server does not trust our certificate: is `tls.cert_file` signed by an authority \
             that the server knows?"
        }
        AlertDescription::CertificateExpired | AlertDescription::CertificateRevoked => {
            "our certificate has expired or was revoked: renew `tls.cert_file`"
        }
        AlertDescription::HandshakeFailure => {
            "the server found no common cipher suite, or wants a client certificate \
             (`tls.cert_file` and `tls.key_file`)"
        }
        AlertDescription::ProtocolVersion => {
            "both sides have no TLS version in common: see `tls.min_version` and `tls.max_version`"
        }
        AlertDescription::UnrecognisedName => {
            "the server does not know the name: check `endpoint` and `tls.server_name_override`"
        }
        AlertDescription::NoApplicationProtocol => {
            "the server does not speak this protocol (gRPC needs HTTP/2): check the port"
        }
        _ => return None,
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_recognised_by_their_text() {
        let words = |alert| Error::AlertReceived(alert).to_string();
        for alert in [AlertDescription::CertificateRequired, AlertDescription::UnknownCA] {
            assert!(of_alert(alert).is_some());
            assert_eq!(find(&io::Error::other(words(alert))), of_alert(alert));
        }
        assert_eq!(find(&io::Error::other("broken pipe")), None);
    }
}
