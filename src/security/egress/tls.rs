//! Why there is no TLS connection, in our own words, and what can be done about it.

use std::fmt;

use rustls::{AlertDescription, CertificateError, Error};

/// Why a TLS handshake failed. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Also a certificate that vouches for itself.
    UnknownIssuer,
    Expired,
    NotYetValid,
    OtherName,
    /// That of an authority, say, as `openssl req -x509` makes it.
    Purpose,
    /// Revoked, forged or unreadable.
    Certificate,
    /// Whoever listens there says something else.
    NotSpoken,
    /// No version or cipher that both sides accept.
    NothingInCommon,
    CutOff,
    Other,
}

/// Where the certificates of this machine can be replaced by a file (rustls-native-certs).
const HAS_CERTIFICATE_FILE: bool = cfg!(all(unix, not(target_vendor = "apple"), not(target_os = "android")));

impl Tls {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::InvalidMessage(_) => Self::NotSpoken,
            Error::PeerIncompatible(_)
            | Error::AlertReceived(
                AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity,
            ) => Self::NothingInCommon,
            _ => Self::Other,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } | CertificateError::Other(_) => Self::Purpose,
            _ => Self::Certificate,
        }
    }

    pub fn what(self) -> &'static str {
        match self {
            Self::UnknownIssuer => "its certificate is signed by nobody whom this machine trusts",
            Self::Expired => "its certificate has expired",
            Self::NotYetValid => "its certificate is not valid yet",
            Self::OtherName => "its certificate is for another host name",
            Self::Purpose => "its certificate is not one for servers",
            Self::Certificate => "its certificate is not accepted",
            Self::NotSpoken => "what answers there does not speak TLS",
            Self::NothingInCommon => "it accepts no TLS version and cipher that the proxy has",
            Self::CutOff => "the connection ended in the TLS handshake",
            Self::Other => "the TLS handshake failed",
        }
    }

    pub fn hint(self) -> &'static str {
        match self {
            Self::UnknownIssuer if HAS_CERTIFICATE_FILE => {
                "if you trust who signed it, add that certificate to those of the system, or name a file of all that you trust in `SSL_CERT_FILE`, and start the proxy again; a proxy of your company may be on the way"
            }
            Self::UnknownIssuer => {
                "if you trust who signed it, add that certificate to those of the system, and start the proxy again; a proxy of your company may be on the way"
            }
            Self::Expired => "its owner has to renew it; see that this machine's clock is right",
            Self::NotYetValid => "see that this machine's clock is right",
            Self::OtherName => "use the host name that the certificate is for",
            Self::Purpose => "its owner has to make one for the server (`CA:FALSE`, `serverAuth`), not that of an authority",
            Self::Certificate => "its owner has to replace it; a proxy of your company may be on the way",
            Self::NotSpoken => "check the port, and whether the address should begin with `http:`",
            Self::NothingInCommon => "its owner has to enable TLS 1.2 or 1.3",
            Self::CutOff => "check that TLS is spoken at this port, and that nothing on the way forbids it",
            Self::Other => "its log may say more",
        }
    }
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; hint: {}", self.what(), self.hint())
    }
}
