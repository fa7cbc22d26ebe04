use std::fmt::Write;

use sha2::Digest;

/// A digest algorithm by its name in `algorithm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Algorithm {
    Md5,
    Md5Sess,
    Sha256,
    Sha256Sess,
}

impl Algorithm {
    /// By name, without case; a challenge without `algorithm` means MD5.
    pub fn parse(name: Option<&str>) -> Option<Self> {
        let Some(name) = name else { return Some(Self::Md5) };
        [Self::Md5, Self::Md5Sess, Self::Sha256, Self::Sha256Sess]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Md5Sess => "MD5-sess",
            Self::Sha256 => "SHA-256",
            Self::Sha256Sess => "SHA-256-sess",
        }
    }

    pub(super) fn is_session(self) -> bool {
        matches!(self, Self::Md5Sess | Self::Sha256Sess)
    }

    /// Length of its result in hexadecimal digits.
    pub(super) fn hex_len(self) -> usize {
        match self {
            Self::Md5 | Self::Md5Sess => 32,
            Self::Sha256 | Self::Sha256Sess => 64,
        }
    }

    /// `H(data)` as lower-case hexadecimal digits.
    pub(super) fn hash(self, data: &[u8]) -> String {
        match self {
            Self::Md5 | Self::Md5Sess => hex(&md5::Md5::digest(data)),
            Self::Sha256 | Self::Sha256Sess => hex(&sha2::Sha256::digest(data)),
        }
    }
}

/// `HA1 = H(user:realm:password)` as hexadecimal digits (RFC 7616 §3.4.2, without the session part).
pub fn ha1(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> String {
    algorithm.hash(format!("{user}:{realm}:{password}").as_bytes())
}

/// Everything that goes into `response` besides HA1.
pub(super) struct Input<'a> {
    pub algorithm: Algorithm,
    pub nonce: &'a str,
    pub cnonce: &'a str,
    /// `nc` as eight digits, and `auth` or `auth-int`; none for RFC 2069.
    pub qop: Option<(&'a str, &'a str)>,
    pub method: &'a str,
    pub uri: &'a str,
    pub body: &'a [u8],
}

/// `response` (RFC 7616 §3.4.1).
pub(super) fn response(ha1: &str, input: &Input<'_>) -> String {
    let h = |text: String| input.algorithm.hash(text.as_bytes());
    let session;
    let ha1 = if input.algorithm.is_session() {
        session = h(format!("{ha1}:{}:{}", input.nonce, input.cnonce));
        &session
    } else {
        ha1
    };
    let ha2 = if input.qop.is_some_and(|(_, qop)| qop == "auth-int") {
        h(format!("{}:{}:{}", input.method, input.uri, input.algorithm.hash(input.body)))
    } else {
        h(format!("{}:{}", input.method, input.uri))
    };
    match input.qop {
        Some((nc, qop)) => h(format!("{ha1}:{}:{nc}:{}:{qop}:{ha2}", input.nonce, input.cnonce)),
        None => h(format!("{ha1}:{}:{ha2}", input.nonce)),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Compares without telling by its time where the first difference is.
pub(super) fn same_secret(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0u8, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response_of(algorithm: Algorithm) -> String {
        let ha1 = ha1(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life");
        response(
            &ha1,
            &Input {
                algorithm,
                nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
                cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
                qop: Some(("00000001", "auth")),
                method: "GET",
                uri: "/dir/index.html",
                body: b"",
            },
        )
    }

    /// RFC 7616 §3.9.1.
    #[test]
    fn rfc7616_vectors() {
        assert_eq!(response_of(Algorithm::Md5), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(
            response_of(Algorithm::Sha256),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    /// RFC 2617 §3.5, and the same without qop as RFC 2069 reckons it.
    #[test]
    fn rfc2617_vectors() {
        let ha1 = ha1(Algorithm::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
        assert_eq!(ha1, "939e7578ed9e3c518a452acee763bce9");
        let mut input = Input {
            algorithm: Algorithm::Md5,
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            cnonce: "0a4f113b",
            qop: Some(("00000001", "auth")),
            method: "GET",
            uri: "/dir/index.html",
            body: b"",
        };
        assert_eq!(response(&ha1, &input), "6629fae49393a05397450978507c4ef1");
        input.qop = None;
        assert_eq!(response(&ha1, &input), "670fd8c2df070c60b045671b8b24ff02");
    }
}
